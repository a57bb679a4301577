//! Why a MAC is where it is.

use serde::{Deserialize, Serialize};
use vtep_api::{
    ControllerName, Ips, LogicalSwitchName, MacAddr, Origin, Role, Session, Stamp, Term, Version, VtepName,
};

use super::ledger::{Flags, Slot};
use super::select::{Contender, Decision, rank, reason, select};
use super::sightings::Sight;
use super::{Logical, OperateError, Switch};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    /// Master first, then the slaves by rank, then those that do not count.
    pub claims: Vec<ClaimView>,
    pub decision: Option<Decision>,
    /// The decision's reason in words.
    pub reason: String,
    pub duplicate: bool,
    /// A duplicate that keeps its master.
    pub frozen: bool,
    /// The version that last changed its row, as far as that is remembered.
    pub changed_in: Option<Version>,
    pub version: Version,
    pub term: Term,
    pub told: Vec<Told>,
    /// Who received the MAC's frames from another VTEP than its master, the latest first.
    #[serde(default)]
    pub sightings: Vec<SightingView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SightingView {
    pub witness: VtepName,
    pub sender: VtepName,
    /// By the witness's table the sender was the MAC's slave.
    pub as_slave: bool,
    pub first_at_ms: i64,
    pub last_at_ms: i64,
    /// About one a second at most.
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that an operator reads")]
pub struct ClaimView {
    pub vtep: VtepName,
    pub role: Role,
    pub stamp: Stamp,
    pub origin: Option<Origin>,
    /// By the logical controller's count. `None`: it is from before the logical controller began.
    pub arrived: Option<u64>,
    pub received_at_ms: i64,
    pub claimed_at_ms: Option<i64>,
    pub skew_ms: Option<i64>,
    pub ips: Ips,
    pub session: Session,
    pub pinned: bool,
    /// Not told again since the VTEP's session was lost.
    pub stale: bool,
    pub dead: bool,
    pub superseded: bool,
    /// By the storm guard.
    pub set_aside: bool,
    /// By the mass-withdraw guard.
    pub kept: bool,
    /// Why it is not the master; empty for the master.
    pub lost_because: String,
}

/// A VTEP that is told of the MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub vtep: VtepName,
    pub physical_controller: Option<ControllerName>,
    pub sent: Option<Version>,
    pub sent_at_ms: Option<i64>,
    pub acknowledged: Option<Version>,
    pub acknowledged_at_ms: Option<i64>,
    /// It forwards by the MAC's present row.
    pub current: bool,
}

impl Logical {
    pub fn explain(&self, network: &LogicalSwitchName, mac: MacAddr) -> Result<Explanation, OperateError> {
        let switch = self.find_switch(network)?;
        let time = self.declared.policy.time;
        let mut ranked = Vec::new();
        switch.claims().contenders(mac, &self.vteps, &self.declared.policy, &mut ranked);
        rank(&mut ranked, time);
        let decision = select(&ranked, time);
        let mut claims: Vec<ClaimView> = ranked
            .iter()
            .map(|contender| self.claim_view(switch, Slot(contender.key), contender, &ranked))
            .collect();
        for slot in switch.ledger.of_mac(mac) {
            if !ranked.iter().any(|contender| contender.key == slot.0) {
                let contender = switch.claims().contender(slot, &self.vteps, &self.declared.policy);
                claims.push(self.claim_view(switch, slot, &contender, &ranked));
            }
        }
        let changed_in = switch.published.changed_at(mac);
        let views = self.sync().into_iter().filter(|view| view.logical_switch == *network);
        let told = views.map(|view| Told {
            vtep: view.vtep,
            physical_controller: view.physical_controller,
            sent: view.sent,
            sent_at_ms: view.sent_at_ms,
            acknowledged: view.acknowledged,
            acknowledged_at_ms: view.acknowledged_at_ms,
            current: view.acknowledged_term == Some(self.term) && view.acknowledged >= changed_in,
        });
        Ok(Explanation {
            logical_switch: network.clone(),
            mac,
            claims,
            reason: match (&decision, switch.withheld.awaits(mac, &self.vteps)) {
                (None, _) => "nobody claims it".to_owned(),
                (Some(decision), None) => decision.reason.to_string(),
                (Some(decision), Some(awaited)) => {
                    format!(
                        "{}; nobody is told before {awaited} is heard, which may be its master",
                        decision.reason
                    )
                }
            },
            decision,
            duplicate: switch.flap.is_marked(mac),
            frozen: switch.frozen.contains_key(&mac),
            changed_in,
            version: switch.published.version(),
            term: self.term,
            told: told.collect(),
            sightings: switch.sightings.of(mac).map(|sight| self.sighting_view(sight)).collect(),
        })
    }

    fn sighting_view(&self, sight: &Sight) -> SightingView {
        SightingView {
            witness: self.vteps[sight.witness].name.clone(),
            sender: self.vteps[sight.sender].name.clone(),
            as_slave: sight.as_slave,
            first_at_ms: sight.first_wall_ms,
            last_at_ms: sight.last_wall_ms,
            count: sight.count,
        }
    }

    fn claim_view(
        &self,
        switch: &Switch,
        slot: Slot,
        contender: &Contender,
        ranked: &[Contender],
    ) -> ClaimView {
        let record = &switch.ledger[slot];
        let vtep = &self.vteps[record.vtep];
        let held = record.flags.has(Flags::HELD) && ranked.iter().all(|other| other.key != slot.0);
        let lost_because = match ranked.first() {
            _ if held => "set aside by the storm guard until it is released".to_owned(),
            Some(master) if master.key != slot.0 => {
                let pair = [master.clone(), contender.clone()];
                let why = reason(&pair, self.declared.policy.time);
                why.map_or_else(String::new, |why| format!("{} is master: {why}", master.vtep))
            }
            _ => String::new(),
        };
        ClaimView {
            vtep: vtep.name.clone(),
            role: record.role(),
            stamp: record.stamp,
            origin: record.origin(),
            arrived: record.arrived.checked_sub(super::select::LIVE),
            received_at_ms: record.received_at_ms,
            claimed_at_ms: record.claimed_at_ms(),
            skew_ms: vtep.status.skew_ms,
            ips: record.ips(),
            session: if vtep.cut_ms.is_some() { Session::Lost } else { vtep.status.session },
            pinned: contender.pinned,
            stale: contender.stale_since.is_some(),
            dead: contender.dead,
            superseded: contender.superseded,
            set_aside: held,
            kept: record.flags.has(Flags::KEPT),
            lost_because,
        }
    }
}
