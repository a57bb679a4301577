//! Token buckets that all CPUs share, as the virtual scheduling algorithm (ITU-T I.371): a bucket is the time at which
//! what it let through is paid for.

use vtep_abi::{EVENTS_LIMIT, LEARN_LIMIT, Limit, PortValue, TOO_BIG_LIMIT, Verdict, VniValue};

use crate::context;
use crate::maps::{self, Bucket};

/// Whether a port and its VNI may flood one more frame.
#[inline(always)]
pub(crate) fn flood(port: &PortValue, network: &VniValue) -> Result<(), Verdict> {
    if !admits(maps::port_flood_bucket(port.buckets), port.flood) {
        return Err(Verdict::PortStorm);
    }
    vni_flood(network)
}

/// Whether a VNI may flood one more frame.
#[inline(always)]
pub(crate) fn vni_flood(network: &VniValue) -> Result<(), Verdict> {
    if admits(maps::vni_flood_bucket(network.bd), network.flood) { Ok(()) } else { Err(Verdict::VniStorm) }
}

/// Whether the VM behind a port may get one more ICMP error.
#[inline(always)]
pub(crate) fn too_big(port: &PortValue) -> bool {
    admits(maps::too_big_bucket(port.buckets), TOO_BIG_LIMIT)
}

/// Whether one more event of an interface is worth the agent's time; 0 stands for the underlay.
#[inline(always)]
pub(crate) fn event(buckets: u32) -> bool {
    admits(maps::events_bucket(buckets), EVENTS_LIMIT)
}

/// Whether one more MAC of an interface may be reported.
#[inline(always)]
pub(crate) fn learning(buckets: u32) -> bool {
    admits(maps::port_learn_bucket(buckets), LEARN_LIMIT)
}

/// The same for MACs of a VNI from the underlay.
#[inline(always)]
pub(crate) fn underlay_learning(bd: u32) -> bool {
    admits(maps::vni_learn_bucket(bd), LEARN_LIMIT)
}

/// Without compare-and-swap, which the target lacks: two CPUs that pass between each other's read and write pay once for
/// two frames.
#[inline(always)]
fn admits(bucket: Option<Bucket>, limit: Limit) -> bool {
    if limit.interval_ns == 0 {
        return true;
    }
    let Some(bucket) = bucket else { return false };
    let interval = u64::from(limit.interval_ns);
    let now = context::now_ns();
    let paid = bucket.read();
    let next = if paid > now { paid } else { now } + interval;
    let admitted = next <= now + interval * u64::from(limit.burst);
    if admitted {
        bucket.write(next);
    }
    admitted
}
