//! Copies of frames for whoever looks at them. Off, it costs a frame one look at a map's value; on, the settings bound
//! what is copied: by verdict, bridge domain and interface, by chance, in a second, in bytes.

use vtep_abi::{CaptureHead, CaptureSettings, OUTER_MAX, SNAPLEN_MAX, Verdict};

use crate::context::{self, Frame, Skb};
use crate::maps;
use crate::{Account, End};

const SECOND_NS: u64 = 1_000_000_000;
const ETH_P_8021AD: u16 = 0x88a8;

/// Keeps the head of a frame that may lose its outer headers.
#[inline(always)]
pub(crate) fn keep_outer<F: Frame>(frame: &F, account: &mut Account) {
    let on = maps::capture_settings().is_some_and(|settings| settings.until_ns != 0);
    if on
        && let Some(cpu) = maps::capture_cpu()
        && frame.copy_head(&mut cpu.head, OUTER_MAX as u32) > 0
    {
        account.kept = frame.len();
    }
}

/// Copies the frame, as it is after its verdict, if it is wanted.
#[inline(always)]
pub(crate) fn offer<F: Frame>(frame: F, account: &Account, end: End) {
    let Some(settings) = maps::capture_settings() else { return };
    if !settings.verdicts.contains(end.verdict) {
        return;
    }
    let outer_len = match end.verdict {
        Verdict::Delivered => account.kept.saturating_sub(account.bytes),
        _ => 0,
    };
    take(frame, Fate::new(end.verdict, outer_len), end.ifindex, account.bd);
}

/// A verdict, and how long the outer headers are that were removed: in one register, for a call takes five.
#[derive(Clone, Copy)]
struct Fate(u32);

impl Fate {
    /// Headers that are longer than what was kept of them count as none.
    #[inline(always)]
    const fn new(verdict: Verdict, outer_len: u32) -> Self {
        let outer_len = if outer_len > OUTER_MAX as u32 { 0 } else { outer_len };
        Self(verdict as u32 | outer_len << 8)
    }

    #[inline(always)]
    const fn verdict(self) -> u32 {
        self.0 & 0xff
    }

    #[inline(always)]
    const fn outer_len(self) -> u32 {
        self.0 >> 8
    }
}

/// A call of its own, by values: the paths that end here have no stack to spare.
#[inline(never)]
fn take<F: Frame>(frame: F, fate: Fate, to: u32, bd: u32) {
    let Some(settings) = maps::capture_settings() else { return };
    let at_ns = context::now_ns();
    if !is_wanted(frame, settings, to, bd, at_ns) {
        return;
    }
    let taken = maps::capture(|entry| {
        let head = &mut entry.head;
        head.at_ns = at_ns;
        head.verdict = fate.verdict();
        head.bd = bd;
        head.ifindex = frame.ifindex();
        head.to = to;
        head.len = frame.len();
        head.outer_len = 0;
        head.flags = 0;
        head.pad = 0;
        // At XDP tags are in the bytes.
        head.tag = frame.skb().map_or(0, tag);
        if fate.outer_len() > 0
            && let Some(cpu) = maps::capture_cpu()
        {
            head.outer_len = fate.outer_len();
            entry.outer = cpu.head;
        }
        entry.head.copied = frame.copy_head(&mut entry.frame, settings.snaplen);
    });
    if !taken && let Some(cpu) = maps::capture_cpu() {
        cpu.lost += 1;
    }
}

#[inline(always)]
fn is_wanted<F: Frame>(frame: F, settings: &CaptureSettings, to: u32, bd: u32, at_ns: u64) -> bool {
    let passes = at_ns < settings.until_ns
        && (settings.bd == CaptureSettings::ANY_BD || settings.bd == bd)
        && (settings.ifindex == 0
            || settings.ifindex == frame.ifindex()
            || settings.ifindex == CaptureHead::interface(to));
    let Some(cpu) = maps::capture_cpu().filter(|_| passes) else { return false };
    cpu.matched += 1;
    let second = at_ns / SECOND_NS;
    if cpu.second != second {
        cpu.second = second;
        cpu.copied = 0;
    }
    let chosen = settings.one_in < 2 || context::random().is_multiple_of(settings.one_in);
    if !chosen || cpu.copied >= settings.per_second {
        cpu.left_out += 1;
        return false;
    }
    cpu.copied += 1;
    true
}

#[inline(always)]
fn tag(frame: Skb) -> u32 {
    match frame.tag() {
        None => 0,
        Some((ETH_P_8021AD, tci)) => CaptureHead::TAGGED | CaptureHead::PROVIDER | u32::from(tci),
        Some((_, tci)) => CaptureHead::TAGGED | u32::from(tci),
    }
}

/// One copy of a flood that is traced. Inline, and without a value on the stack: none is left below the loop's body.
#[inline(always)]
pub(crate) fn copy(frame: Skb, to: u32) {
    maps::capture(|entry| {
        entry.head.flags = CaptureHead::COPY;
        entry.head.verdict = 0;
        entry.head.to = to;
        entry.head.outer_len = 0;
        entry.head.tag = tag(frame);
        entry.head.copied = frame.copy_head(&mut entry.frame, SNAPLEN_MAX as u32);
    });
}
