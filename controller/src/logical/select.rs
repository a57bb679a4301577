//! Which of a MAC's claimants is its master. Pure, and every result has a reason.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use serde::{Deserialize, Serialize};
use vtep_api::{Role, VtepName};

use crate::declared::TimePolicy;

/// One claim, as far as it matters for the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule's own input")]
pub struct Contender {
    /// By which the caller knows it.
    pub key: u32,
    pub vtep: VtepName,
    pub role: Role,
    /// The operator claims it for this VTEP.
    pub pinned: bool,
    /// A duplicate MAC that keeps this master.
    pub frozen: bool,
    /// The VTEP's session is lost, and another VTEP finds its tunnel address dead.
    pub dead: bool,
    /// The session was lost at this count of arrivals and its claims have not been told again.
    pub stale_since: Option<u64>,
    /// A live claim overtook it while it was stale.
    pub superseded: bool,
    /// Hosts receive the MAC's frames from it, and that breaks ties here.
    pub witnessed: bool,
    /// By the logical controller's count: no two are equal.
    pub arrived: u64,
    pub received_at_ms: i64,
    pub claimed_at_ms: Option<i64>,
    /// The VTEP's clock is known to be within the bound.
    pub clock_trusted: bool,
    /// When it last became master, by the same count. 0: never.
    pub mastered: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub master: VtepName,
    /// Best first.
    pub slaves: Vec<VtepName>,
    pub reason: Reason,
}

/// What set the master apart from the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Sole,
    Pinned,
    /// Several are pinned: the lowest name.
    PinnedTie {
        second: VtepName,
    },
    Frozen,
    /// The second is lost and unreachable.
    Alive {
        second: VtepName,
    },
    /// The others are content to be slaves.
    OnlyMaster,
    /// It claimed after the second's session was lost.
    Superseded {
        second: VtepName,
    },
    /// Both claim alike, and hosts receive the MAC's frames from this one.
    Witnessed {
        second: VtepName,
    },
    Later {
        policy: TimePolicy,
        second: VtepName,
        claims: Option<u64>,
        by_ms: i64,
        distrusted: Vec<VtepName>,
    },
    /// Equal times: the lowest name.
    Tie {
        policy: TimePolicy,
        second: VtepName,
        distrusted: Vec<VtepName>,
    },
    /// Nobody claims to be master.
    Designated {
        by: Designation,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Designation {
    WasMaster,
    LatestClaim,
    LowestName,
}

/// `None`: nobody claims the MAC. The order in which claims are given does not matter.
pub fn select(claims: &[Contender], policy: TimePolicy) -> Option<Decision> {
    let mut ranked = claims.to_vec();
    rank(&mut ranked, policy);
    let reason = reason(&ranked, policy)?;
    let mut names = ranked.into_iter().map(|contender| contender.vtep);
    Some(Decision { master: names.next()?, slaves: names.collect(), reason })
}

/// Best first: the first is master, the others are slaves in that order. Marks whom a live claim overtook.
pub fn rank(contenders: &mut [Contender], policy: TimePolicy) {
    if contenders.len() < 2 {
        return;
    }
    let claims_master = |c: &&Contender| c.role == Role::Master && !c.dead && c.stale_since.is_none();
    let newest = contenders.iter().filter(claims_master).map(|contender| contender.arrived).max();
    for contender in contenders.iter_mut() {
        // What it claimed since, it claimed after coming back.
        let stale = contender.stale_since.filter(|&since| contender.arrived <= since);
        contender.superseded |= stale.is_some_and(|since| newest.is_some_and(|newest| newest > since));
    }
    contenders.sort_unstable_by(|a, b| compare(a, b, policy));
}

fn compare(a: &Contender, b: &Contender, policy: TimePolicy) -> Ordering {
    let pinned = b.pinned.cmp(&a.pinned);
    if a.pinned && b.pinned {
        return a.dead.cmp(&b.dead).then_with(|| a.vtep.cmp(&b.vtep));
    }
    pinned
        .then(a.dead.cmp(&b.dead))
        .then(b.frozen.cmp(&a.frozen))
        .then(a.role.cmp(&b.role))
        .then_with(|| match a.role {
            Role::Master => b.witnessed.cmp(&a.witnessed),
            Role::Slave => Ordering::Equal,
        })
        .then_with(|| match a.role {
            // The order of arrival says itself who was overtaken, and by whom.
            Role::Master if policy == TimePolicy::Arrival => Ordering::Equal,
            Role::Master => a.superseded.cmp(&b.superseded),
            Role::Slave => b.mastered.cmp(&a.mastered),
        })
        .then_with(|| Reverse(time(a, policy)).cmp(&Reverse(time(b, policy))))
        .then_with(|| a.vtep.cmp(&b.vtep))
}

fn time(contender: &Contender, policy: TimePolicy) -> i128 {
    match policy {
        TimePolicy::Arrival => i128::from(contender.arrived),
        TimePolicy::PhysicalControllerTime => i128::from(contender.received_at_ms),
        TimePolicy::VtepTime => {
            let claimed = contender.claimed_at_ms.filter(|_| contender.clock_trusted);
            i128::from(claimed.unwrap_or(contender.received_at_ms))
        }
    }
}

/// Of contenders in their rank.
pub fn reason(ranked: &[Contender], policy: TimePolicy) -> Option<Reason> {
    let first = ranked.first()?;
    let Some(second) = ranked.get(1) else {
        return Some(match (first.pinned, first.frozen, first.role) {
            (true, ..) => Reason::Pinned,
            (_, true, _) => Reason::Frozen,
            (.., Role::Slave) => Reason::Designated { by: designation(first, None, policy) },
            (.., Role::Master) => Reason::Sole,
        });
    };
    let name = second.vtep.clone();
    Some(if first.pinned && second.pinned {
        if second.dead && !first.dead {
            Reason::Alive { second: name }
        } else {
            Reason::PinnedTie { second: name }
        }
    } else if first.pinned {
        Reason::Pinned
    } else if second.dead && !first.dead {
        Reason::Alive { second: name }
    } else if first.frozen {
        Reason::Frozen
    } else if first.role == Role::Slave {
        Reason::Designated { by: designation(first, Some(second), policy) }
    } else if second.role == Role::Slave {
        Reason::OnlyMaster
    } else if first.witnessed && !second.witnessed {
        Reason::Witnessed { second: name }
    } else if second.superseded && !first.superseded {
        Reason::Superseded { second: name }
    } else {
        by_time(first, second, policy)
    })
}

fn designation(first: &Contender, second: Option<&Contender>, policy: TimePolicy) -> Designation {
    let Some(second) = second else { return Designation::LatestClaim };
    if first.mastered != second.mastered {
        Designation::WasMaster
    } else if time(first, policy) != time(second, policy) {
        Designation::LatestClaim
    } else {
        Designation::LowestName
    }
}

fn by_time(first: &Contender, second: &Contender, policy: TimePolicy) -> Reason {
    let distrusted = [first, second]
        .into_iter()
        .filter(|c| policy == TimePolicy::VtepTime && (c.claimed_at_ms.is_none() || !c.clock_trusted))
        .map(|contender| contender.vtep.clone())
        .collect();
    let later = time(first, policy) - time(second, policy);
    let second_name = second.vtep.clone();
    if later == 0 {
        return Reason::Tie { policy, second: second_name, distrusted };
    }
    let (claims, by_ms) = match policy {
        TimePolicy::Arrival => {
            let claims = first.arrived - second.arrived;
            let counted = second.arrived >= LIVE;
            (counted.then_some(claims), first.received_at_ms.saturating_sub(second.received_at_ms))
        }
        _ => (None, i64::try_from(later).unwrap_or(i64::MAX)),
    };
    Reason::Later { policy, second: second_name, claims, by_ms, distrusted }
}

/// Arrivals are counted from here. Below are claims that were told to a logical controller that began anew: the masters
/// that its predecessor had chosen from [`RESTORED_MASTER`], all others by the time at which they were received.
pub const LIVE: u64 = 1 << 63;
pub const RESTORED_MASTER: u64 = 1 << 62;

/// A sentence about the master.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sole => write!(f, "the only claim"),
            Self::Pinned => write!(f, "pinned by the operator"),
            Self::PinnedTie { second } => write!(f, "pinned, as is {second}: the lowest name"),
            Self::Frozen => write!(f, "a duplicate MAC that keeps its master"),
            Self::Alive { second } => write!(f, "{second} is lost and unreachable"),
            Self::OnlyMaster => write!(f, "the only one to claim to be master"),
            Self::Superseded { second } => write!(f, "claimed after the session of {second} was lost"),
            Self::Witnessed { second } => {
                write!(f, "hosts receive its frames from there; {second} claims alike")
            }
            Self::Later { policy, second, claims, by_ms, distrusted } => {
                write!(f, "{}: later than {second} by ", policy.as_str())?;
                if let Some(claims) = claims {
                    write!(f, "{claims} {} / ", if *claims == 1 { "claim" } else { "claims" })?;
                }
                write!(f, "{by_ms} ms")?;
                distrust(f, distrusted)
            }
            Self::Tie { policy, second, distrusted } => {
                write!(f, "{}: equal to {second}, the lowest name", policy.as_str())?;
                distrust(f, distrusted)
            }
            Self::Designated { by } => {
                write!(f, "designated, for nobody claims to be master: ")?;
                f.write_str(match by {
                    Designation::WasMaster => "it was master last",
                    Designation::LatestClaim => "the latest claim",
                    Designation::LowestName => "the lowest name",
                })
            }
        }
    }
}

fn distrust(f: &mut fmt::Formatter<'_>, distrusted: &[VtepName]) -> fmt::Result {
    for vtep in distrusted {
        write!(f, "; the physical controller's time for {vtep}, whose own is unknown or too far off")?;
    }
    Ok(())
}

impl TimePolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::PhysicalControllerTime => "physical-controller-time",
            Self::VtepTime => "vtep-time",
        }
    }
}

#[cfg(test)]
mod tests;
