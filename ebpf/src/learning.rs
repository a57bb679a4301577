//! Source MACs: reported where they are news, and otherwise kept young.

use vtep_abi::{Event, EventKind, FdbKey, FdbValue, PortValue, SEEN_MARKS, SeenMark, SeenValue, Target};

use crate::admission::Sender;
use crate::context::{self, Frame};
use crate::maps;
use crate::police;

/// From a learning port.
///
/// A call of its own: what it puts on the stack is gone when frames are encapsulated.
#[inline(never)]
pub(crate) fn from_port(frame: &impl Frame, port: &PortValue, vlan: u16, mac: [u8; 6]) {
    let here = Target::LocalPort(port.local_port);
    let key = FdbKey::new(port.vni, mac);
    match maps::lookup(port.bd, port.vni, mac) {
        // What was configured does not age.
        Some(entry) if entry.master() == here => {
            if entry.flags() & FdbValue::LEARNT != 0 {
                touch(&key, here);
            }
        }
        // A MAC that the table has elsewhere is claimed once, and kept.
        _ if write(&key, seen(here)) => {}
        _ if police::learning(port.buckets) => maps::report(Event {
            kind: EventKind::MacSeen as u32,
            vni: port.vni,
            ifindex: frame.ifindex(),
            vlan,
            mac,
            address: [0; 16],
        }),
        _ => {}
    }
}

/// From a VTEP that was let in, in a VNI that learns from the underlay. What the table or a port of this host says stands.
#[inline(never)]
pub(crate) fn from_underlay(sender: Sender, bd: u32, entry: Option<&FdbValue>, mac: [u8; 6]) {
    let there = Target::Vtep(sender.vtep);
    let key = FdbKey::new(sender.vni, mac);
    match entry {
        Some(entry) if entry.flags() & FdbValue::LEARNT == 0 => {}
        Some(entry) if entry.master() == there => touch(&key, there),
        _ if police::underlay_learning(bd) => {
            if let Some(adj) = maps::adjacency(sender.vtep) {
                maps::report(Event {
                    kind: EventKind::MacBehind as u32,
                    vni: sender.vni,
                    ifindex: 0,
                    vlan: 0,
                    mac,
                    address: adj.remote,
                });
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn touch(key: &FdbKey, target: Target) {
    let seen = seen(target);
    let at = u32::from(key.mac[5]) & (SEEN_MARKS - 1);
    let Some(mark) = maps::seen_mark(at) else { return };
    let wanted = SeenMark { key: *key, seen };
    if *mark != wanted && write(key, seen) {
        *mark = wanted;
    }
}

/// Whether there is an entry that says so.
#[inline(always)]
fn write(key: &FdbKey, seen: SeenValue) -> bool {
    maps::seen(key).is_some_and(|entry| entry.write(seen))
}

#[inline(always)]
fn seen(target: Target) -> SeenValue {
    SeenValue { target: target.to_bits(), at_secs: context::now_secs() }
}
