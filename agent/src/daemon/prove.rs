//! The check that the kernel holds what was written, and what is told of it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use super::host::Host;
use crate::control::view::{DifferenceRow, ProofStatus, ProvedSince};
use crate::control::{ErrorKind, Reply};
use crate::dataplane::Dataplane;
use crate::proof::{Digests, differences};

/// More are counted, and not listed.
const LISTED_MAX: usize = 10_000;

impl Host {
    /// Whether there is something to mend.
    pub(super) fn prove(&mut self) -> bool {
        let began = Instant::now();
        let read = self.kernel.installed_but_macs().and_then(|rest| Ok((rest, self.kernel.digests()?)));
        let differs = match read {
            Ok((rest, digests)) => self.compare_with(&rest, &digests),
            Err(error) => {
                if self.complaints.is_news("proof", &error) {
                    error!(error = &error as &dyn std::error::Error, "the kernel's tables cannot be read");
                }
                false
            }
        };
        self.proof.last_check = began.elapsed();
        differs
    }

    fn compare_with(&mut self, rest: &Dataplane, digests: &Digests) -> bool {
        let is_rest = is_equal_but_macs(rest, &self.installed);
        let doubts = self.proof.check(digests, is_rest, self.installed.networks.keys().copied());
        if !doubts.is_empty() {
            self.reread();
        }
        !doubts.is_empty()
    }

    /// What the kernel holds from now on is what was read back.
    pub(super) fn correct(&mut self, kernel: Dataplane) {
        let count = self.proof.correct(&self.installed, &kernel);
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
            Ok(kernel) => {
                let (rows, _) = differences(&self.installed, &kernel, LISTED_MAX);
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

fn is_equal_but_macs(one: &Dataplane, other: &Dataplane) -> bool {
    let Dataplane {
        config,
        vteps,
        senders,
        networks,
        local_ports,
        ports,
        fdb: _,
        neighbours,
        seen: _,
        allowed,
    } = one;
    *config == other.config
        && *vteps == other.vteps
        && *senders == other.senders
        && *networks == other.networks
        && *local_ports == other.local_ports
        && *ports == other.ports
        && *neighbours == other.neighbours
        && *allowed == other.allowed
}

pub(super) fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
