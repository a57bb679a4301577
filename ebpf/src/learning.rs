//! Source MACs: reported where they are news, and otherwise kept young.
//!
//! What needs a place on the stack is a call of its own, gone when frames are encapsulated or decapsulated.

use vtep_abi::{
    Event, EventKind, FdbKey, FdbValue, PortValue, SEEN_MARKS, SeenMark, SeenValue, Target, VniValue,
};

use crate::context::{self, Frame};
use crate::header::Mac;
use crate::maps;
use crate::police;
use crate::witness;

/// From a learning port.
#[inline(never)]
pub(crate) fn from_port<F: Frame>(frame: &F, port: &PortValue, vlan: u16, mac: Mac) {
    let here = Target::LocalPort(port.local_port);
    let entry = maps::lookup::<F>(port.bd, port.vni, mac);
    let mac = mac.bytes();
    match entry {
        // What was configured does not age.
        Some(entry) if entry.master() == here => {
            if entry.flags() & FdbValue::LEARNT != 0 {
                touch(port.vni, mac, here);
            }
        }
        // A MAC that the table has elsewhere is claimed once, and kept.
        _ if write(&FdbKey::new(port.vni, mac), seen(here)) => {}
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

/// From a VTEP that was let in. What the table or a port of this host says stands, though it may be told. `network` is the
/// VNI's flags and bridge domain.
///
/// Its arguments are what registers hold: the callers have no stack to spare.
#[inline(never)]
pub(crate) fn from_underlay(vni: u32, vtep: u32, network: u64, entry: u64, mac: Mac) {
    let (flags, bd) = ((network >> 32) as u32, network as u32);
    let there = Target::Vtep(vtep);
    let found = FdbValue::from_word(entry);
    if entry != 0 && found.flags() & FdbValue::LEARNT == 0 {
        if flags & VniValue::WITNESS != 0 && found.master() != there {
            witness::note(vni, vtep, found, mac);
        }
        return;
    }
    if flags & VniValue::LEARN_UNDERLAY == 0 {
        return;
    }
    let mac = mac.bytes();
    if entry != 0 && found.master() == there {
        touch(vni, mac, there);
        return;
    }
    if police::underlay_learning(bd)
        && let Some(adj) = maps::adjacency(vtep)
    {
        let (kind, address) = (EventKind::MacBehind as u32, adj.remote);
        maps::report(Event { kind, vni, ifindex: 0, vlan: 0, mac, address });
    }
}

#[inline(always)]
fn touch(vni: u32, mac: [u8; 6], target: Target) {
    let key = FdbKey::new(vni, mac);
    let turn = context::turn();
    let Some(mark) = maps::seen_mark(u32::from(mac[5]) & (SEEN_MARKS - 1)) else { return };
    let is_marked = mark.turn == turn && mark.target == target.to_bits() && mark.key == key;
    if !is_marked && write(&key, seen(target)) {
        *mark = SeenMark { key, target: target.to_bits(), turn };
    }
}

/// Whether there is an entry that says so.
#[inline(always)]
fn write(key: &FdbKey, seen: SeenValue) -> bool {
    maps::seen(key).is_some_and(|entry| entry.write(seen))
}

#[inline(always)]
fn seen(target: Target) -> SeenValue {
    SeenValue { target: target.to_bits(), at: context::now_coarse() }
}
