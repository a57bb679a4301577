//! Which frames are wanted.

use serde::{Deserialize, Serialize};
use vtep_abi::{SNAPLEN_MAX, Verdict, VerdictSet};

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

    pub fn verdicts(&self) -> Result<VerdictSet, FilterError> {
        if self.reasons.is_empty() {
            return Ok(those(|verdict| !matches!(verdict, Verdict::NotOurs | Verdict::Passed)));
        }
        self.reasons.iter().try_fold(VerdictSet::default(), |all, reason| Ok(all | of(reason)?))
    }
}

fn of(reason: &str) -> Result<VerdictSet, FilterError> {
    use Verdict::{Delivered, DeliveredFlood, Device, Flooded, Master, Slave};
    match reason {
        "all" => return Ok(those(|_| true)),
        "drops" => return Ok(those(Verdict::is_drop)),
        "encapsulated" => return Ok(those(|verdict| matches!(verdict, Master | Slave | Device | Flooded))),
        "delivered" => return Ok(those(|verdict| matches!(verdict, Delivered | DeliveredFlood))),
        _ => {}
    }
    let verdict = Verdict::ALL.iter().find(|verdict| verdict.name() == reason);
    verdict.map(|verdict| (*verdict).into()).ok_or_else(|| FilterError { given: reason.to_owned() })
}

fn those(wanted: impl Fn(Verdict) -> bool) -> VerdictSet {
    Verdict::ALL.iter().copied().filter(|verdict| wanted(*verdict)).collect()
}

fn names() -> String {
    Verdict::ALL.iter().map(|verdict| verdict.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(reasons: &[&str]) -> Result<VerdictSet, FilterError> {
        let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
        Filter { reasons, ..Filter::default() }.verdicts()
    }

    #[test]
    fn reasons_are_verdicts_or_words_for_several() {
        assert_eq!(verdicts(&["unbound"]), Ok(Verdict::Unbound.into()));
        let both = [Verdict::Unbound, Verdict::Master].into_iter().collect();
        assert_eq!(verdicts(&["unbound", "master"]), Ok(both));
        let drops = verdicts(&["drops"]).unwrap();
        for verdict in Verdict::ALL {
            assert_eq!(drops.contains(*verdict), verdict.is_drop(), "{verdict:?}");
        }
        assert!(!verdicts(&[]).unwrap().contains(Verdict::NotOurs));
    }

    #[test]
    fn an_unknown_reason_is_told_with_those_that_there_are() {
        let error = verdicts(&["no_such"]).unwrap_err().to_string();
        assert!(error.starts_with("reason \"no_such\" is unknown; expected drops, "), "{error}");
        assert!(error.contains("unknown_unicast"), "{error}");
    }
}
