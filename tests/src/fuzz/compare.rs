//! The model's answer beside the program's.

use vtep_abi::Verdict;

use super::case::hex;
use crate::model::{Leaving, Outcome, Way};

/// What the kernel shows of one run.
#[derive(Debug)]
pub(super) struct Seen {
    /// Counters that moved: bridge domain, verdict code, frames and bytes.
    pub(super) moved: Vec<(u32, usize, u64, u64)>,
    pub(super) action: u32,
    pub(super) frame: Vec<u8>,
    /// What left interfaces while the program ran.
    pub(super) copies: Vec<(u32, Vec<u8>)>,
}

/// `TC_ACT_SHOT`, `TC_ACT_REDIRECT` and `TCX_NEXT`.
const DROP: u32 = 2;
const REDIRECT: u32 = 7;
const NEXT: u32 = u32::MAX;

/// A sentence on the first difference.
pub(super) fn difference(expected: &Outcome, came: &[u8], seen: &Seen) -> Option<String> {
    let verdict = (expected.bd, expected.verdict as usize, 1, expected.bytes);
    if seen.moved != [verdict] {
        return Some(format!("the program counted {}", moved(&seen.moved)));
    }
    let (action, left) = match &expected.way {
        Way::Dropped | Way::Copies(_) => (DROP, None),
        Way::On => (NEXT, Some(Leaving { ifindex: 0, vlan: None, frame: came.to_vec(), source_port: None })),
        Way::To(leaving) => (REDIRECT, Some(leaving.clone())),
    };
    if seen.action != action {
        return Some(format!("the program's action was {}, not {action}", seen.action));
    }
    if let Some(left) = left
        && !left.is(&seen.frame)
    {
        return Some(format!("the frame left as\n  {}\nnot as\n  {}", hex(&seen.frame), hex(&left.frame)));
    }
    let copies: Vec<Leaving> = match &expected.way {
        Way::Copies(copies) => copies.iter().map(Leaving::on_the_wire).collect(),
        _ => Vec::new(),
    };
    unlike(&copies, &seen.copies)
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

fn moved(moved: &[(u32, usize, u64, u64)]) -> String {
    let one = |(bd, code, frames, bytes): &(u32, usize, u64, u64)| {
        let name = u32::try_from(*code).ok().and_then(Verdict::from_code).map_or("?", Verdict::name);
        format!("{frames} {name} of {bytes} bytes in domain {bd}")
    };
    if moved.is_empty() { "nothing".to_owned() } else { moved.iter().map(one).collect::<Vec<_>>().join(", ") }
}
