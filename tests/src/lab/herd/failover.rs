//! A physical controller is killed, and everybody has to go on by the other one; then it comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use vtep_api::MacAddr;

use super::{HerdCluster, Member};
use crate::deadline::wait_for;

const PATIENCE: Duration = Duration::from_mins(2);

/// What came of it.
#[derive(Debug)]
pub struct Failover {
    /// Of how many agents the controller was killed that served them.
    pub bereft: usize,
    /// Of each agent, from the kill until the other one serves it and it has all MACs that appeared after the kill.
    pub synced: Vec<Duration>,
    /// Agents that were told a table as a whole.
    pub told_whole: usize,
    /// Connections that agents began while it was gone.
    pub gone: Rush,
    /// And since it is back, until each has a standby again.
    pub back: Rush,
    /// Processor time of the other controller until all were synced.
    pub processor: Duration,
}

/// The most at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rush {
    pub in_all: usize,
    pub per_second: usize,
    pub per_100_ms: usize,
}

impl Rush {
    fn of(mut at: Vec<Instant>) -> Self {
        at.sort();
        let most = |span: Duration| {
            let behind = |first: &Instant| at.partition_point(|at| *at < *first + span);
            at.iter().enumerate().map(|(index, first)| behind(first) - index).max().unwrap_or(0)
        };
        Self {
            in_all: at.len(),
            per_second: most(Duration::from_secs(1)),
            per_100_ms: most(Duration::from_millis(100)),
        }
    }
}

impl HerdCluster {
    /// Kills one of `pc1` and `pc2` by SIGKILL, and starts it again when all are synced. Calm before and after.
    pub fn fail_over(&mut self, victim: &'static str) -> Result<Failover> {
        let other = if victim == "pc1" { "pc2" } else { "pc1" };
        let servers = self.servers()?;
        let snapshots = |member: &Member| member.known().snapshots();
        let before: Vec<_> = self.herd.agents().iter().map(snapshots).collect();
        let used = processor(self, other)?;
        let struck = Instant::now();
        self.named(victim)?.kill()?;
        let news = self.appear(&servers, victim);
        let synced = self.await_synced(other, struck, &news)?;
        let processor = processor(self, other)?.saturating_sub(used);
        let after = self.herd.agents().iter().map(snapshots);
        let told_whole = after.zip(before).filter(|(after, before)| after != before).count();
        self.expect_truth()?;
        let again = Instant::now();
        self.named(victim)?.start()?;
        self.await_calm()?;
        let calm = Instant::now();
        Ok(Failover {
            bereft: servers.iter().filter(|server| **server == victim).count(),
            synced,
            told_whole,
            gone: self.rush(struck, again),
            back: self.rush(again, calm),
            processor,
        })
    }

    /// In each network a MAC behind an agent that the victim served, and one behind one that it did not.
    fn appear(&mut self, servers: &[&str], victim: &str) -> Vec<(usize, MacAddr)> {
        let mut claimants = BTreeMap::new();
        for (agent, server) in servers.iter().enumerate() {
            let network = self.herd.agents()[agent].recruit.network.clone();
            claimants.entry((network, *server == victim)).or_insert(agent);
        }
        claimants.into_values().map(|agent| (agent, self.claim(agent))).collect()
    }

    fn await_synced(
        &self,
        server: &str,
        struck: Instant,
        news: &[(usize, MacAddr)],
    ) -> Result<Vec<Duration>> {
        let agents = self.herd.agents();
        let mut synced: Vec<Option<Duration>> = vec![None; agents.len()];
        let mut waiting: BTreeSet<usize> = (0..agents.len()).collect();
        wait_for("news of all agents from the other controller", PATIENCE, || {
            waiting.retain(|&agent| {
                if !is_synced(agents, agent, server, news) {
                    return true;
                }
                synced[agent] = Some(struck.elapsed());
                false
            });
            waiting.is_empty().then_some(())
        })
        .with_context(|| format!("{} of {} agents are not synced", waiting.len(), agents.len()))?;
        synced.into_iter().map(|at| at.context("an agent that was not looked at")).collect()
    }

    fn rush(&self, from: Instant, to: Instant) -> Rush {
        let known = self.herd.agents().iter().map(Member::known);
        let attempts = known.flat_map(|known| known.attempts.clone());
        Rush::of(attempts.filter(|at| (from..to).contains(at)).collect())
    }

    fn named(&mut self, name: &str) -> Result<&mut crate::lab::Controller> {
        self.controllers.get_mut(name).context("no such controller")
    }
}

/// What is behind it itself it is not told.
fn is_synced(agents: &[Member], agent: usize, server: &str, news: &[(usize, MacAddr)]) -> bool {
    let (known, network) = (agents[agent].known(), &agents[agent].recruit.network);
    let obeys = known.session.controller.as_ref().is_some_and(|name| name.as_str() == server);
    let Some(switch) = known.table.logical_switches.get(network) else { return false };
    let of_others = news.iter().filter(|(by, _)| *by != agent && agents[*by].recruit.network == *network);
    let mut macs = of_others.map(|(_, mac)| mac);
    known.session.open && obeys && known.is_installed() && macs.all(|mac| switch.macs.contains_key(mac))
}

fn processor(cluster: &mut HerdCluster, name: &str) -> Result<Duration> {
    cluster.named(name)?.daemon()?.processor_time()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_is_the_most_within_any_such_time() {
        let start = Instant::now();
        let at = [0, 990, 1010, 1050, 1080, 1995].map(|ms| start + Duration::from_millis(ms));
        assert_eq!(Rush::of(at.into()), Rush { in_all: 6, per_second: 4, per_100_ms: 4 });
        assert_eq!(Rush::of(Vec::new()), Rush::default());
    }
}
