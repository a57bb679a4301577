//! Which of its targets serves a MAC.

use vtep_abi::{FdbValue, Target};

use crate::maps;

#[derive(Clone, Copy)]
pub(crate) enum Serving {
    LocalPort(u32),
    Master(u32),
    Slave(u32),
    BothDown,
    /// The entry names nobody.
    Nobody,
}

/// The master while it is sound, else the slave while that is. One byte per VTEP decides, however many MACs it has.
///
/// Silence, a timer's word, is evidence and no certainty: where it speaks against both, the master serves, for nobody
/// would otherwise.
#[inline(always)]
pub(crate) fn serving(entry: &FdbValue) -> Serving {
    match entry.master() {
        Target::LocalPort(port) => return Serving::LocalPort(port),
        Target::Vtep(master) if maps::vtep_is_sound(master) => return Serving::Master(master),
        Target::Vtep(_) | Target::None => {}
    }
    match (entry.slave(), entry.master()) {
        (Target::LocalPort(port), _) => Serving::LocalPort(port),
        (Target::Vtep(slave), _) if maps::vtep_is_sound(slave) => Serving::Slave(slave),
        (_, Target::Vtep(master)) if maps::vtep_is_up(master) => Serving::Master(master),
        (Target::Vtep(slave), _) if maps::vtep_is_up(slave) => Serving::Slave(slave),
        (Target::None, Target::None) => Serving::Nobody,
        _ => Serving::BothDown,
    }
}

/// The local port that serves a MAC for frames from the underlay: never another VTEP.
#[inline(always)]
pub(crate) fn local(entry: &FdbValue) -> Option<u32> {
    match (entry.master(), entry.slave()) {
        (Target::LocalPort(port), _) | (_, Target::LocalPort(port)) => Some(port),
        _ => None,
    }
}
