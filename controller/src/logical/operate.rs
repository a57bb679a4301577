//! What an operator does.

use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use super::{Action, Logical, Operation};
use crate::Now;
use crate::declared::Pin;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    #[error("logical switch {name} is none of this controller's")]
    NoLogicalSwitch { name: LogicalSwitchName },
    #[error("VTEP {name} is not declared")]
    NoVtep { name: VtepName },
    #[error("{mac} is a group address, which is behind no single VTEP; expected that of a station")]
    Group { mac: MacAddr },
    #[error("{mac} in {logical_switch} is not pinned at {vtep}")]
    NotPinned { logical_switch: LogicalSwitchName, mac: MacAddr, vtep: VtepName },
    #[error(
        "{mac} in {logical_switch} is pinned at {vtep} by the declared configuration; apply one without it"
    )]
    PinDeclared { logical_switch: LogicalSwitchName, mac: MacAddr, vtep: VtepName },
    #[error("{mac} is no duplicate in {logical_switch}")]
    NotDuplicate { logical_switch: LogicalSwitchName, mac: MacAddr },
    #[error("nothing that {name} claims is set aside")]
    NothingSetAside { name: VtepName },
    #[error("nothing is kept in {name}")]
    NothingKept { name: LogicalSwitchName },
}

impl Logical {
    pub(super) fn operate_on(
        &mut self,
        operation: Operation,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), OperateError> {
        match operation {
            Operation::Pin(pin) => {
                self.check_switch(&pin.logical_switch)?;
                if self.vteps.declared(&pin.vtep).is_none() {
                    return Err(OperateError::NoVtep { name: pin.vtep });
                }
                if pin.mac.is_group() {
                    return Err(OperateError::Group { mac: pin.mac });
                }
                self.pins.insert(pin);
                self.persist = true;
                self.pin_all(now, actions);
            }
            Operation::Unpin(pin) => {
                if !self.pins.remove(&pin) {
                    let by_file = self.declared.pins.contains(&pin);
                    let Pin { logical_switch, mac, vtep } = pin;
                    return Err(if by_file {
                        OperateError::PinDeclared { logical_switch, mac, vtep }
                    } else {
                        OperateError::NotPinned { logical_switch, mac, vtep }
                    });
                }
                self.persist = true;
                self.pin_all(now, actions);
            }
            Operation::ClearDuplicate { logical_switch, mac } => {
                self.clear_duplicate(logical_switch, mac, now, actions)?;
            }
            Operation::ReleaseStorm { vtep: name } => {
                let vtep = self.vteps.declared(&name).ok_or(OperateError::NoVtep { name: name.clone() })?;
                if !self.vteps[vtep].storm.release() {
                    return Err(OperateError::NothingSetAside { name });
                }
                let (switches, mut cx) = self.parts(now, actions);
                for switch in switches.values_mut() {
                    switch.release(vtep, &mut cx);
                }
                let all = self.switches.keys().cloned();
                self.touched.extend(all);
            }
            Operation::ReleaseWithdrawals { logical_switch: name } => {
                self.check_switch(&name)?;
                let (switches, mut cx) = self.parts(now, actions);
                let switch = switches.get_mut(&name).expect("it was found above");
                let recalled = std::mem::take(&mut switch.departures.recalled);
                let kept = switch.departures.release();
                if kept.is_empty() && !recalled {
                    return Err(OperateError::NothingKept { name });
                }
                for (mac, (vtep, cause)) in kept {
                    if let Some(slot) = switch.ledger.find(mac, vtep) {
                        switch.drop_claim(slot, cause, &mut cx);
                    }
                }
                self.touched.insert(name);
            }
        }
        Ok(())
    }

    fn clear_duplicate(
        &mut self,
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), OperateError> {
        self.check_switch(&logical_switch)?;
        let (switches, mut cx) = self.parts(now, actions);
        let switch = switches.get_mut(&logical_switch).expect("it was found above");
        let (marked, frozen) = (switch.flap.clear(mac), switch.frozen.remove(&mac).is_some());
        if !marked && !frozen {
            return Err(OperateError::NotDuplicate { logical_switch, mac });
        }
        *cx.persist |= frozen;
        switch.decide(mac, None, None, &mut cx);
        self.touched.insert(logical_switch);
        Ok(())
    }

    fn check_switch(&self, name: &LogicalSwitchName) -> Result<(), OperateError> {
        if self.switches.contains_key(name) {
            return Ok(());
        }
        Err(OperateError::NoLogicalSwitch { name: name.clone() })
    }
}
