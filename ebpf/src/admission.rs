//! What is let in, beyond the question whose port or sender it comes from.

use vtep_abi::{FdbKey, FdbValue, Target, Verdict, VniValue};

use crate::context::{self, Frame};
use crate::header::Mac;
use crate::learning;
use crate::maps;

/// Group addresses that no bridge forwards: 01:80:c2:00:00:00 to 0f (IEEE 802.1Q §8.6.3).
#[inline(always)]
pub(crate) const fn is_link_local(mac: Mac) -> bool {
    const FIRST: Mac = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0]);
    const MASK: Mac = Mac::new([0xff, 0xff, 0xff, 0xff, 0xff, 0xf0]);
    mac.word() & MASK.word() == FIRST.word()
}

/// The VTEP that a frame comes from, and the VNI that it sends into.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) vni: u32,
    pub(crate) vtep: u32,
}

/// Whether a MAC that was learnt on a port has been silent there for so long that this is no frame of its own, come round.
#[inline(never)]
fn has_left(vni: u32, mac: Mac) -> bool {
    /// In the unit of the times: more than 3 s.
    const SILENCE: u32 = 4;
    maps::seen(&FdbKey::new(vni, mac.bytes()))
        .is_some_and(|seen| context::now_coarse().wrapping_sub(seen.at()) >= SILENCE)
}

/// Whether a MAC can be the source of what this VTEP sends; where that is learnt, it is.
#[inline(always)]
pub(crate) fn source<F: Frame>(sender: Sender, network: &VniValue, mac: Mac) -> Result<(), Verdict> {
    let entry = maps::lookup::<F>(network.bd, sender.vni, mac);
    if let Some(entry) = entry
        && matches!(entry.master(), Target::LocalPort(_))
        && !(network.flags & VniValue::LEARN_UNDERLAY != 0
            && entry.flags() & FdbValue::LEARNT != 0
            && has_left(sender.vni, mac))
    {
        return Err(Verdict::LocalSource);
    }
    let word = entry.map_or(0, FdbValue::word);
    if is_of_note(network.flags, word, sender.vtep) {
        let network = u64::from(network.flags) << 32 | u64::from(network.bd);
        learning::from_underlay(sender.vni, sender.vtep, network, word, mac);
    }
    if network.flags & VniValue::CHECK_SOURCE == 0 {
        return Ok(());
    }
    // A MAC's slave sends for it while it serves.
    let theirs = Target::Vtep(sender.vtep);
    match entry {
        Some(entry) if entry.master() == theirs || entry.slave() == theirs => Ok(()),
        _ => Err(Verdict::WrongSource),
    }
}

/// Whether a source is to be learnt, or the table has it behind another VTEP than its sender. As a product: for each branch
/// the verifier would walk the rest of the program once more.
#[inline(always)]
fn is_of_note(flags: u32, word: u64, vtep: u32) -> bool {
    let entry = FdbValue::from_word(word);
    let learns = u64::from(flags & VniValue::LEARN_UNDERLAY);
    let witness = u64::from(flags & VniValue::WITNESS);
    let (master, other) = (u64::from(entry.master_bits()), u64::from(entry.master_bits() ^ vtep));
    learns | core::hint::black_box(witness * master * other) != 0
}
