//! The check that the kernel holds what was written, and what is told of it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use super::attach::interface;
use super::host::Host;
use crate::control::view::{DifferenceRow, ProofStatus, ProvedSince};
use crate::control::{ErrorKind, Reply};
use crate::dataplane::Dataplane;
use crate::proof::{Digests, differences, measured};

/// More are counted, and not listed.
const LISTED_MAX: usize = 10_000;

impl Host {
    /// Whether there is something to mend.
    pub(super) fn prove(&mut self) -> bool {
        let began = Instant::now();
        let (differs, work) = measured(|| self.look_for_differences());
        self.proof.last_check = began.elapsed();
        self.proof.last_work = work;
        differs
    }

    fn look_for_differences(&mut self) -> bool {
        let read = self.kernel.installed_but_macs().and_then(|rest| Ok((rest, self.kernel.digests()?)));
        match read {
            Ok((mut rest, digests)) => {
                forgive(&mut rest, &self.installed);
                self.compare_with(&rest, &digests)
            }
            Err(error) => {
                if self.complaints.is_news("proof", &error) {
                    error!(error = &error as &dyn std::error::Error, "the kernel's tables cannot be read");
                }
                false
            }
        }
    }

    fn compare_with(&mut self, rest: &Dataplane, digests: &Digests) -> bool {
        let is_rest = rest.is_equal_but_macs(&self.installed);
        let doubts = self.proof.check(digests, is_rest, self.installed.networks.keys().copied());
        if !doubts.is_empty() {
            self.reread();
        }
        !doubts.is_empty()
    }

    /// What the kernel holds from now on is what was read back.
    pub(super) fn correct(&mut self, kernel: Dataplane) {
        let interface = |ifindex| interface(&self.links, ifindex);
        let count = self.proof.correct(&self.installed, &kernel, &interface);
        warn!(
            entries = count,
            "the kernel's tables are not what was written; correcting (`vtep-agent diff --past`)"
        );
        self.installed = kernel;
    }

    pub(super) fn differences(&mut self, past: bool) -> Reply {
        if past {
            let rows = self.proof.mended().map(|(at, difference)| DifferenceRow {
                seconds_ago: Some(at.elapsed().as_secs()),
                difference: difference.clone(),
            });
            return Reply::rows(rows.collect::<Vec<_>>());
        }
        match self.kernel.installed() {
            Ok(mut kernel) => {
                forgive(&mut kernel, &self.installed);
                let interface = |ifindex| interface(&self.links, ifindex);
                let (rows, _) = differences(&self.installed, &kernel, &interface, LISTED_MAX);
                let rows = rows.into_iter().map(|difference| DifferenceRow { seconds_ago: None, difference });
                Reply::rows(rows.collect::<Vec<_>>())
            }
            Err(error) => Reply::error(ErrorKind::Failed, error.to_string()),
        }
    }

    pub(super) fn proof_status(&self) -> ProofStatus {
        let vnis = || self.installed.networks.keys().copied();
        let settled = self.outcome.complete && self.outcome.pending == 0 && self.kernel_alarms.is_empty();
        let since = self.proof.all_since(vnis()).filter(|_| settled);
        ProofStatus {
            in_sync_since: since.map(unix_secs),
            checks: self.proof.checks,
            last_check_ms: self.proof.last_check.as_secs_f64() * 1000.0,
            differences: self.proof.found,
        }
    }

    pub(super) fn proved_since(&self) -> Vec<ProvedSince> {
        self.proof.since().map(|(vni, since)| ProvedSince { vni, since: unix_secs(since) }).collect()
    }
}

/// A VTEP that the programs hold for silent is no difference. Whoever watches it tells us; taken for one before, it would be
/// cleared as an error, and the dead VTEP would serve again.
pub(super) fn forgive(kernel: &mut Dataplane, written: &Dataplane) {
    for (index, row) in &mut kernel.vteps {
        row.suspect &= written.vteps.get(index).is_none_or(|written| written.suspect);
    }
}

pub(super) fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use vtep_abi::VtepAdj;

    use super::*;
    use crate::dataplane::VtepRow;

    #[test]
    fn what_the_programs_found_out_of_a_vtep_is_no_difference_and_all_else_is() {
        let of = |up, suspect| {
            let row = VtepRow { adj: VtepAdj::zeroed(), up, suspect };
            Dataplane { vteps: [(1, row)].into(), ..Dataplane::default() }
        };
        let differs = |mut kernel: Dataplane, written: &Dataplane| {
            forgive(&mut kernel, written);
            !kernel.is_equal_but_macs(written)
        };
        assert!(!differs(of(true, true), &of(true, false)), "taken down by the programs");
        assert!(differs(of(true, false), &of(true, true)), "our own word is gone");
        assert!(differs(of(false, false), &of(true, false)));
        assert!(!differs(of(true, true), &of(true, true)));
    }
}
