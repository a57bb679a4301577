//! What would be if.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use super::select::{Contender, rank};
use super::{Logical, OperateError};
use crate::declared::{Policy, TimePolicy};

/// What a VTEP's end would mean for one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepDown {
    /// How many MACs would move to whom.
    pub moves: BTreeMap<VtepName, usize>,
    /// MACs that nobody else stands for, or only who is dead too.
    pub orphaned: usize,
    /// Of those, the first.
    pub orphans: Vec<MacAddr>,
}

/// A MAC that another policy would put elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    pub master: VtepName,
    pub would_be: VtepName,
    pub reason: String,
}

const ORPHANS_SHOWN: usize = 20;

impl Logical {
    /// By network; those that would not notice are left out.
    pub fn what_if_vtep_down(
        &self,
        name: &VtepName,
    ) -> Result<BTreeMap<LogicalSwitchName, VtepDown>, OperateError> {
        let vtep = self.vteps.declared(name).ok_or_else(|| OperateError::NoVtep { name: name.clone() })?;
        let policy = &self.declared.policy;
        let mut contenders = Vec::new();
        let mut effects: BTreeMap<LogicalSwitchName, VtepDown> = BTreeMap::new();
        for (network, switch) in &self.switches {
            let mut orphans = Vec::new();
            for slot in switch.ledger.of_vtep(vtep) {
                let mac = switch.ledger[slot].mac;
                switch.claims().contenders(mac, &self.vteps, policy, &mut contenders);
                rank(&mut contenders, policy.time);
                if contenders.first().is_none_or(|first| first.vtep != *name) {
                    continue;
                }
                let effect = effects.entry(network.clone()).or_default();
                for contender in contenders.iter_mut().filter(|contender| contender.vtep == *name) {
                    (contender.dead, contender.pinned) = (true, false);
                }
                rank(&mut contenders, policy.time);
                match contenders.first().filter(|first| !first.dead) {
                    Some(next) => *effect.moves.entry(next.vtep.clone()).or_default() += 1,
                    None => orphans.push(mac),
                }
            }
            if let Some(effect) = effects.get_mut(network) {
                orphans.sort_unstable();
                effect.orphaned = orphans.len();
                orphans.truncate(ORPHANS_SHOWN);
                effect.orphans = orphans;
            }
        }
        Ok(effects)
    }

    /// By network and MAC.
    pub fn what_if_policy(&self, time: TimePolicy) -> Vec<PolicyChange> {
        let policy = Policy { time, ..self.declared.policy };
        let mut changes = Vec::new();
        let mut contenders = Vec::new();
        for (network, switch) in &self.switches {
            for mac in switch.ledger.iter_macs() {
                if switch.ledger.of_mac(mac).nth(1).is_none() {
                    continue;
                }
                switch.claims().contenders(mac, &self.vteps, &policy, &mut contenders);
                rank(&mut contenders, self.declared.policy.time);
                let master = contenders.first().map(|first: &Contender| first.vtep.clone());
                let Some(decision) = super::select::select(&contenders, time) else { continue };
                let Some(master) = master.filter(|master| *master != decision.master) else { continue };
                changes.push(PolicyChange {
                    logical_switch: network.clone(),
                    mac,
                    master,
                    would_be: decision.master,
                    reason: decision.reason.to_string(),
                });
            }
        }
        changes.sort_by(|a, b| (&a.logical_switch, a.mac).cmp(&(&b.logical_switch, b.mac)));
        changes
    }
}
