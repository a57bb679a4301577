//! What physical controllers say of VTEPs on which their word does not count yet: they say it once, and a file that is
//! applied later may declare the VTEP.

use vtep_api::{ControllerName, Session, VtepName, VtepState, VtepStatus};

use super::{Action, Logical};
use crate::Now;

/// More are not remembered: a physical controller refuses VTEPs that nobody declares.
const STRANGERS_MAX: usize = 4096;

impl Logical {
    pub(super) fn hear_status(
        &mut self,
        peer: &ControllerName,
        name: VtepName,
        mut status: VtepStatus,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.keep_last_word(&name, &mut status);
        self.report(peer, &name, status.clone(), now, actions);
        let key = (peer.clone(), name);
        if self.speaks_for(&key) {
            self.strangers.remove(&key);
        } else if self.strangers.len() < STRANGERS_MAX || self.strangers.contains_key(&key) {
            self.strangers.insert(key, status);
        }
    }

    /// After others were declared.
    pub(super) fn hear_strangers(&mut self, now: Now, actions: &mut Vec<Action>) {
        let declared = |(_, name): &&(ControllerName, VtepName)| self.vteps.declared(name).is_some();
        let due: Vec<_> = self.strangers.keys().filter(declared).cloned().collect();
        for key in due {
            let Some(status) = self.strangers.get(&key).cloned() else { continue };
            self.report(&key.0, &key.1, status, now, actions);
            if self.speaks_for(&key) {
                self.strangers.remove(&key);
            }
        }
    }

    pub(super) fn forget_strangers(&mut self, peer: &ControllerName) {
        self.strangers.retain(|(of, _), _| of != peer);
    }

    /// A physical controller that begins anew knows nothing of a VTEP before it has come and spoken: what it said last
    /// stays.
    fn keep_last_word(&self, name: &VtepName, status: &mut VtepStatus) {
        if status.session != Session::Up
            && status.state == VtepState::default()
            && let Some(vtep) = self.vteps.declared(name)
        {
            let known = &self.vteps[vtep].status;
            status.state.clone_from(&known.state);
            status.skew_ms = status.skew_ms.or(known.skew_ms);
        }
    }

    fn speaks_for(&self, (peer, name): &(ControllerName, VtepName)) -> bool {
        self.vteps.declared(name).is_some_and(|vtep| self.vteps[vtep].peer.as_ref() == Some(peer))
    }
}
