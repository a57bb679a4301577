//! Which frames are wanted.

use serde::{Deserialize, Serialize};
use vtep_abi::{SNAPLEN_MAX, Verdict};

/// All that are given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Verdicts, or words for several; none: all but the host's own frames.
    pub reasons: Vec<String>,
    pub vni: Option<u32>,
    pub port: Option<String>,
    pub snaplen: u32,
    pub per_second: u32,
    pub one_in: u32,
    pub count: Option<u64>,
    pub seconds: Option<u64>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            reasons: Vec::new(),
            vni: None,
            port: None,
            snaplen: Self::SNAPLEN_MAX,
            per_second: 100,
            one_in: 1,
            count: None,
            seconds: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reason {given:?} is unknown; expected drops, encapsulated, delivered, all, or one of {}", names())]
pub struct FilterError {
    given: String,
}

impl Filter {
    #[expect(clippy::cast_possible_truncation, reason = "it is small")]
    pub const SNAPLEN_MAX: u32 = SNAPLEN_MAX as u32;
    pub const PER_SECOND_MAX: u32 = 10_000;

    /// A bit for each verdict.
    pub fn verdicts(&self) -> Result<u64, FilterError> {
        if self.reasons.is_empty() {
            return Ok(mask(|verdict| !matches!(verdict, Verdict::NotOurs | Verdict::Passed)));
        }
        self.reasons.iter().try_fold(0, |mask, reason| Ok(mask | of(reason)?))
    }
}

fn of(reason: &str) -> Result<u64, FilterError> {
    use Verdict::{Delivered, DeliveredFlood, Device, Flooded, Master, Slave};
    match reason {
        "all" => return Ok(mask(|_| true)),
        "drops" => return Ok(mask(Verdict::is_drop)),
        "encapsulated" => return Ok(mask(|verdict| matches!(verdict, Master | Slave | Device | Flooded))),
        "delivered" => return Ok(mask(|verdict| matches!(verdict, Delivered | DeliveredFlood))),
        _ => {}
    }
    let verdict = Verdict::ALL.iter().find(|verdict| verdict.name() == reason);
    verdict.map(|verdict| bit(*verdict)).ok_or_else(|| FilterError { given: reason.to_owned() })
}

fn mask(wanted: impl Fn(Verdict) -> bool) -> u64 {
    Verdict::ALL.iter().filter(|verdict| wanted(**verdict)).fold(0, |mask, verdict| mask | bit(*verdict))
}

pub(crate) fn bit(verdict: Verdict) -> u64 {
    1 << verdict as u32
}

fn names() -> String {
    Verdict::ALL.iter().map(|verdict| verdict.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(reasons: &[&str]) -> Result<u64, FilterError> {
        let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
        Filter { reasons, ..Filter::default() }.verdicts()
    }

    #[test]
    fn reasons_are_verdicts_or_words_for_several() {
        assert_eq!(verdicts(&["unbound"]), Ok(bit(Verdict::Unbound)));
        assert_eq!(verdicts(&["unbound", "master"]), Ok(bit(Verdict::Unbound) | bit(Verdict::Master)));
        let drops = verdicts(&["drops"]).unwrap();
        assert!(drops & bit(Verdict::TooBig) != 0 && drops & bit(Verdict::Master) == 0);
        assert_eq!(verdicts(&[]).unwrap() & bit(Verdict::NotOurs), 0);
    }

    #[test]
    fn an_unknown_reason_is_told_with_those_that_there_are() {
        let error = verdicts(&["no_such"]).unwrap_err().to_string();
        assert!(error.starts_with("reason \"no_such\" is unknown; expected drops, "), "{error}");
        assert!(error.contains("unknown_unicast"), "{error}");
    }
}
