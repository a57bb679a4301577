//! A failover that is rehearsed: a VTEP is called suspect for a while, as if it were silent, and what its slaves then get
//! is counted. Nothing is dropped: what no slave can take goes to it all the same.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use vtep_abi::Target;

use super::host::Host;
use crate::control::view::DrillRow;
use crate::control::{ErrorKind, Reply};

const LONGEST: Duration = Duration::from_hours(1);

/// One that runs.
pub(super) struct Drill {
    pub(super) until: Instant,
    started: Instant,
    vtep: u32,
    /// Frames that slaves of whichever VTEP had got before.
    served: u64,
    /// Frames that the VTEP had got when its slaves served.
    sent: u64,
    reply: oneshot::Sender<Reply>,
}

/// What the VTEP got while its slaves served.
pub(super) struct Ended {
    drill: Drill,
    sent: u64,
    length: Duration,
}

impl Drill {
    /// The VTEP is suspect from the next comparison on. `None`: it was refused, and the asker knows why.
    pub(super) fn begin(
        host: &mut Host,
        vtep: &str,
        seconds: u64,
        reply: oneshot::Sender<Reply>,
    ) -> Option<Self> {
        let length = Duration::from_secs(seconds);
        let found = host.vteps_called(vtep);
        let refusal = match found.first().and_then(|index| host.installed.vteps.get(index)) {
            None => Some((ErrorKind::NotFound, format!("there is no VTEP {vtep}"))),
            Some(_) if host.drill.is_some() => Some((ErrorKind::Failed, "a drill runs already".to_owned())),
            Some(_) if length.is_zero() || length > LONGEST => Some((
                ErrorKind::Usage,
                format!("{seconds} s is no length; expected 1 to {}", LONGEST.as_secs()),
            )),
            Some(row) if !row.up || row.suspect => {
                Some((ErrorKind::Failed, format!("VTEP {vtep} is down or suspect: its slaves serve already")))
            }
            Some(_) => None,
        };
        if let Some((kind, message)) = refusal {
            // A client that does not wait for its answer needs none.
            drop(reply.send(Reply::error(kind, message)));
            return None;
        }
        let vtep = *found.first()?;
        host.drill = Some(vtep);
        let started = Instant::now();
        Some(Self { until: started + length, started, vtep, served: served(host), sent: 0, reply })
    }

    /// After the comparison that made the VTEP suspect.
    pub(super) fn goes_on(&mut self, host: &Host) {
        self.sent = sent(host, self.vtep);
    }

    /// It serves again from the next comparison on.
    pub(super) fn end(self, host: &mut Host) -> Ended {
        host.drill = None;
        Ended {
            sent: sent(host, self.vtep).saturating_sub(self.sent),
            length: self.started.elapsed(),
            drill: self,
        }
    }
}

impl Ended {
    /// After that comparison, for slaves served until then.
    pub(super) fn report(self, host: &Host) {
        let Self { drill: Drill { vtep, served: before, reply, .. }, sent, length } = self;
        let masters = host.installed.fdb.values().filter(|target| target.master == Target::Vtep(vtep));
        let with = masters.clone().filter(|target| serves(host, target.slave)).count();
        let row = DrillRow {
            vtep: host.installed.vteps.get(&vtep).map(|row| crate::desired::ip(row.adj.remote).to_string()),
            seconds: length.as_secs_f64(),
            macs_with_slave: with,
            macs_without_slave: masters.count() - with,
            frames_served_by_slaves: served(host).saturating_sub(before),
            frames_without_another_way: sent,
        };
        drop(reply.send(Reply::rows([row])));
    }
}

/// Whether a slave can, as the programs choose (`ebpf/src/choice.rs`).
fn serves(host: &Host, slave: Target) -> bool {
    match slave {
        Target::None => false,
        Target::LocalPort(_) => true,
        Target::Vtep(slave) => host.installed.vteps.get(&slave).is_some_and(|row| row.up && !row.suspect),
    }
}

/// Counters that cannot be read count as zero; so below.
fn served(host: &Host) -> u64 {
    let stats = |index| host.kernel.vtep_stats(index).unwrap_or_default();
    host.installed.vteps.keys().map(|index| stats(*index).served_as_slave).sum()
}

fn sent(host: &Host, vtep: u32) -> u64 {
    host.kernel.vtep_stats(vtep).unwrap_or_default().sent.packets
}
