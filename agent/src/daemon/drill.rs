//! A failover that is rehearsed: a VTEP is called suspect for a while, as if it were silent, and what its slaves then get
//! is counted. Nothing is dropped: what no slave can take goes to it all the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::info;
use vtep_abi::{Target, Verdict};

use super::host::Host;
use crate::control::view::DrillRow;
use crate::control::{ErrorKind, Reply};
use crate::dataplane::FdbTarget;

const LONGEST: Duration = Duration::from_hours(1);

/// One that runs.
pub(super) struct Drill {
    until: Instant,
    started: Instant,
    vtep: u32,
    /// Of the MACs whose master it is.
    slaves: BTreeSet<u32>,
    /// Frames that these slaves had got before.
    served: u64,
    /// What the VTEP had got when its slaves served.
    before: Got,
    reply: oneshot::Sender<Reply>,
}

/// What the VTEP got while its slaves served.
pub(super) struct Ended {
    drill: Drill,
    got: Got,
    length: Duration,
}

/// Frames that a VTEP got.
#[derive(Default)]
struct Got {
    all: u64,
    /// Floods in the networks of which it is a member: of each it got a copy.
    floods: u64,
}

/// When one has lasted long enough, or nobody waits for its report; never, if there is none.
pub(super) async fn over(drill: &mut Option<Drill>) {
    let Some(drill) = drill else { return std::future::pending().await };
    tokio::select! {
        () = tokio::time::sleep_until(drill.until.into()) => {}
        () = drill.reply.closed() => info!("nobody waits for the rehearsal any longer"),
    }
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
        let slaves = masters(host, vtep).filter_map(|target| match target.slave {
            Target::Vtep(slave) => Some(slave),
            Target::LocalPort(_) | Target::None => None,
        });
        let slaves: BTreeSet<u32> = slaves.collect();
        let served = served(host, &slaves);
        Some(Self { until: started + length, started, vtep, slaves, served, before: Got::default(), reply })
    }

    /// After the comparison that made the VTEP suspect.
    pub(super) fn goes_on(&mut self, host: &Host) {
        self.before = got(host, self.vtep);
    }

    /// It serves again from the next comparison on.
    pub(super) fn end(self, host: &mut Host) -> Ended {
        host.drill = None;
        Ended { got: got(host, self.vtep), length: self.started.elapsed(), drill: self }
    }
}

impl Ended {
    /// After that comparison, for slaves served until then.
    pub(super) fn report(self, host: &Host) {
        let Self { drill: Drill { vtep, slaves, served: served_before, before, reply, .. }, got, length } =
            self;
        let (all, floods) = (got.all.saturating_sub(before.all), got.floods.saturating_sub(before.floods));
        let with = masters(host, vtep).filter(|target| serves(host, target.slave)).count();
        let silent = host.installed.vteps.iter().filter(|(index, row)| **index != vtep && row.suspect);
        let row = DrillRow {
            vtep: host.installed.vteps.get(&vtep).map(|row| crate::desired::ip(row.adj.remote).to_string()),
            seconds: length.as_secs_f64(),
            macs_with_slave: with,
            macs_without_slave: masters(host, vtep).count() - with,
            frames_served_by_slaves: served(host, &slaves).saturating_sub(served_before),
            frames_without_another_way: all.saturating_sub(floods),
            flood_copies: floods.min(all),
            others_out_of_service: silent
                .map(|(_, row)| crate::desired::ip(row.adj.remote).to_string())
                .collect(),
        };
        drop(reply.send(Reply::rows([row])));
    }
}

/// Of the MACs whose master it is.
fn masters(host: &Host, vtep: u32) -> impl Iterator<Item = &FdbTarget> {
    host.installed.fdb.values().filter(move |target| target.master == Target::Vtep(vtep))
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
fn served(host: &Host, slaves: &BTreeSet<u32>) -> u64 {
    slaves.iter().map(|index| host.kernel.vtep_stats(*index).unwrap_or_default().served_as_slave).sum()
}

fn got(host: &Host, vtep: u32) -> Got {
    let member_of =
        host.installed.networks.values().filter(|network| network.flood.contains(&Target::Vtep(vtep)));
    let floods = member_of.filter_map(|network| {
        let counters = host.kernel.vni_stats(network.bd).ok()?;
        Some(counters.get(Verdict::Flooded as usize)?.packets)
    });
    Got { all: host.kernel.vtep_stats(vtep).unwrap_or_default().sent.packets, floods: floods.sum() }
}
