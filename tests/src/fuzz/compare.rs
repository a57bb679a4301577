//! The model's answer beside the program's.

use vtep_abi::{CaptureHead, Verdict};

use super::{
    Stimulus,
    case::hex,
    side::{Move, Ran},
};
use crate::model::{Hook, Leaving, Outcome, Way, untagged};

/// What the kernel shows of one run.
pub(super) struct Seen {
    /// Counters that moved.
    pub(super) moved: Vec<Move>,
    pub(super) ran: Ran,
    /// What left interfaces while the program ran.
    pub(super) copies: Vec<(u32, Vec<u8>)>,
}

/// What a hook's program may return.
struct Actions {
    drop: u32,
    redirect: u32,
    on: u32,
}

/// `TC_ACT_SHOT`, `TC_ACT_REDIRECT` and `TCX_NEXT`.
const TC: Actions = Actions { drop: 2, redirect: 7, on: u32::MAX };
/// `XDP_DROP`, `XDP_REDIRECT` and `XDP_PASS`.
const XDP: Actions = Actions { drop: 1, redirect: 4, on: 2 };

impl Seen {
    pub(super) fn is_left_to_tc(&self, hook: Hook) -> bool {
        hook.is_xdp() && self.ran.action == XDP.on
    }
}

/// A sentence on the first difference.
pub(super) fn difference(expected: &Outcome, stimulus: &Stimulus, seen: &Seen) -> Option<String> {
    let Stimulus { hook, frame, .. } = stimulus;
    if seen.is_left_to_tc(*hook) {
        return left(frame, seen);
    }
    if hook.is_xdp() && !expected.by_xdp {
        return Some(format!("XDP did what TC has to do: its action was {}", seen.ran.action));
    }
    let verdict = (expected.bd, expected.verdict as usize, 1, expected.bytes);
    if seen.moved != [verdict] {
        return Some(format!("the program counted {}", moved(&seen.moved)));
    }
    let actions = if hook.is_xdp() { XDP } else { TC };
    let action = match &expected.way {
        Way::Dropped | Way::Copies(_) => actions.drop,
        Way::On => actions.on,
        Way::To(_) => actions.redirect,
    };
    if seen.ran.action != action {
        return Some(format!("the program's action was {}, not {action}", seen.ran.action));
    }
    match &expected.way {
        Way::Dropped => unlike(&[], &seen.copies),
        Way::On => unlike_bytes(&Leaving::to_host(untagged(frame).1), seen),
        Way::To(leaving) => unlike_sent(leaving, *hook, expected.verdict, seen),
        Way::Copies(copies) => {
            unlike(&copies.iter().map(Leaving::on_the_wire).collect::<Vec<_>>(), &seen.copies)
        }
    }
}

/// What XDP does not finish it may not touch, nor count.
fn left(frame: &[u8], seen: &Seen) -> Option<String> {
    if !seen.moved.is_empty() {
        return Some(format!("XDP left the frame to TC and counted {}", moved(&seen.moved)));
    }
    unlike_bytes(&Leaving::to_host(frame.to_vec()), seen)
}

fn unlike_bytes(leaving: &Leaving, seen: &Seen) -> Option<String> {
    let (actual, expected) = (hex(&seen.ran.frame), hex(&leaving.frame));
    let differ = !leaving.is(&seen.ran.frame);
    differ.then(|| format!("the frame left as\n  {actual}\nnot as\n  {expected}"))
}

fn unlike_sent(leaving: &Leaving, hook: Hook, verdict: Verdict, seen: &Seen) -> Option<String> {
    let Some(sent) = seen.ran.sent else {
        return Some("the frame was redirected, and not captured".to_owned());
    };
    let resolve = verdict == Verdict::Device && !leaving.free.is_empty();
    let way = if resolve {
        CaptureHead::RESOLVE
    } else if leaving.to_peer && !hook.is_xdp() {
        CaptureHead::PEER
    } else {
        0
    };
    let to = leaving.ifindex | way;
    if sent.to != to {
        return Some(format!("the frame was redirected to {:#x}, not to {to:#x}", sent.to));
    }
    if hook.is_xdp() {
        return unlike_bytes(&leaving.on_the_wire(), seen);
    }
    let tag = leaving.tag.map_or(0, |(tpid, tci)| {
        let provider = if tpid == 0x88a8 { CaptureHead::PROVIDER } else { 0 };
        CaptureHead::TAGGED | provider | u32::from(tci)
    });
    if sent.tag != tag {
        return Some(format!("the frame left with tag {:#x}, not {tag:#x}", sent.tag));
    }
    unlike_bytes(leaving, seen).or_else(|| unlike(&[], &seen.copies))
}

/// Each expected copy is one of those seen, and each of those one of the expected.
fn unlike(expected: &[Leaving], seen: &[(u32, Vec<u8>)]) -> Option<String> {
    let mut rest: Vec<&(u32, Vec<u8>)> = seen.iter().collect();
    for copy in expected {
        let Some(at) = rest.iter().position(|(ifindex, frame)| *ifindex == copy.ifindex && copy.is(frame))
        else {
            let others: Vec<String> =
                rest.iter().map(|(to, frame)| format!("  {to}: {}", hex(frame))).collect();
            return Some(format!(
                "no copy like this left interface {}:\n  {}\nthere are\n{}",
                copy.ifindex,
                hex(&copy.frame),
                others.join("\n")
            ));
        };
        rest.swap_remove(at);
    }
    let (ifindex, frame) = rest.first()?;
    Some(format!("a copy too many left interface {ifindex}: {}", hex(frame)))
}

fn moved(moved: &[Move]) -> String {
    let one = |(bd, code, frames, bytes): &Move| {
        let name = u32::try_from(*code).ok().and_then(Verdict::from_code).map_or("?", Verdict::name);
        format!("{frames} {name} of {bytes} bytes in domain {bd}")
    };
    if moved.is_empty() { "nothing".to_owned() } else { moved.iter().map(one).collect::<Vec<_>>().join(", ") }
}
