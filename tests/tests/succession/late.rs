//! How often somebody tried to say or write something by a term that was over, by the counters of whoever kept it back.

use std::collections::BTreeMap;

use super::rig::Rig;

/// What is counted of attempts. `tor_locks_lost` is none: whose lock is taken may not try anything.
const ATTEMPTS: [&str; 8] = [
    "vtepd_controller_late_withheld",
    "vtepd_controller_store_fenced",
    "vtepd_controller_claims_fenced",
    "vtepd_controller_physical_refused_welcomes",
    "vtepd_controller_physical_refused_outlines",
    "vtepd_controller_physical_refused_tables",
    "vtepd_controller_tor_writes_refused",
    "vtepd_agent_controller_refused",
];
const LOCKS_LOST: &str = "vtepd_controller_tor_locks_lost";

/// Over all processes, and all lives of each.
#[derive(Default)]
pub(crate) struct Late {
    /// By process and counter: what it was last, and what was counted by those that begun anew before.
    counts: BTreeMap<(String, &'static str), (u64, u64)>,
}

impl Late {
    /// Who does not answer counts nothing.
    pub(crate) fn look(&mut self, rig: &Rig) {
        let controllers = rig.controllers.iter().map(|(name, one)| ((*name).to_owned(), one.metrics()));
        let agents = ["host1", "host2"].into_iter().zip(&rig.agents);
        let agents = agents.map(|(name, agent)| (name.to_owned(), agent.metrics()));
        for (name, text) in controllers.chain(agents) {
            let Ok(text) = text else { continue };
            for counter in ATTEMPTS.into_iter().chain([LOCKS_LOST]) {
                let total = format!("{counter}_total");
                let of = |line: &&str| line.split(['{', ' ']).next() == Some(total.as_str());
                let values =
                    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
                let value: Vec<_> = values.collect();
                if value.is_empty() {
                    continue;
                }
                let now: u64 = value.iter().sum();
                let (last, before) = self.counts.entry((name.clone(), counter)).or_default();
                if now < *last {
                    *before += *last;
                }
                *last = now;
            }
        }
    }

    /// Of one counter, over all processes; `None`: nobody has it.
    fn sum(&self, counter: &str) -> Option<u64> {
        let counts = self.counts.iter().filter(|((_, of), _)| *of == counter);
        let counts: Vec<_> = counts.map(|(_, (last, before))| last + before).collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }

    pub(crate) fn attempts(&self) -> BTreeMap<&'static str, u64> {
        let sum = |counter| (counter, self.sum(counter).unwrap_or_else(|| panic!("nobody has {counter}")));
        ATTEMPTS.into_iter().map(sum).collect()
    }

    pub(crate) fn locks_lost(&self) -> u64 {
        self.sum(LOCKS_LOST).unwrap_or_default()
    }
}
