//! What goes from a TOR to its physical controller, and what comes back.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::warn;
use vtep_api::{FromVtep, Inventory, LocalMac, LogicalSwitchName, MacAddr, ROWS_MAX, ToVtep, VtepState};

use super::{Adapter, Channel, OfVtep, Stopped};
use crate::tor::placed::{Placed, place, tor_outline};
use crate::tor::present::flood;
use crate::tor::told::{Effect, Table};

type Changes = Vec<(LogicalSwitchName, MacAddr, Option<LocalMac>)>;
type Records = Vec<(MacAddr, Option<LocalMac>)>;

/// Of what the writer set aside, beside what the TOR's own data has.
const REFUSALS_MAX: usize = 16;

impl Adapter {
    /// Says who the TOR is and all that is behind it, once its database was read.
    pub(super) async fn begin_session(&mut self) -> Result<(), Stopped> {
        let early = Instant::now() < self.session_from;
        if self.session.is_some() || early || !self.tor.mirror().is_synchronized() {
            return Ok(());
        }
        let (channel, inbox) = Channel::<OfVtep>::open(self.vtep.clone(), self.core.clone()).await?;
        channel.hand_on(self.told.hello()).await?;
        (self.state, self.state_due) = (self.present_state(), None);
        channel.hand_on(FromVtep::State(self.state.clone())).await?;
        let macs = self.tor.macs().map(|(switch, mac, local)| (switch.clone(), mac, Some(local.clone())));
        let macs = macs.collect();
        tell_inventory(&channel, true, macs).await?;
        self.applied.clear();
        self.welcomed = None;
        self.session = Some((channel, inbox));
        Ok(())
    }

    pub(super) async fn end_session(&mut self) -> Result<(), Stopped> {
        self.told.forget_parts();
        match self.session.take() {
            Some((channel, _)) => Ok(channel.leave().await?),
            None => Ok(()),
        }
    }

    pub(super) async fn tell_changes(&mut self, changes: Changes) -> Result<(), Stopped> {
        match &self.session {
            Some((channel, _)) if !changes.is_empty() => tell_inventory(channel, false, changes).await,
            _ => Ok(()),
        }
    }

    /// Tells what the TOR says of itself, if that is news and due.
    pub(super) async fn tell_state(&mut self) -> Result<(), Stopped> {
        if self.state_due.is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        self.state_due = None;
        let state = self.present_state();
        if state == self.state {
            return Ok(());
        }
        self.state = state;
        match &self.session {
            Some((channel, _)) => Ok(channel.hand_on(FromVtep::State(self.state.clone())).await?),
            None => Ok(()),
        }
    }

    fn present_state(&self) -> VtepState {
        let mut state = self.tor.state().clone();
        if !self.tor.is_owner() && self.locking.is_none() {
            state
                .refusals
                .push("another controller has the lock of the database: nothing is written".to_owned());
        }
        let nowhere = self.nowhere.iter().map(|vtep| format!("the address of {vtep} is not known"));
        let refused = self.tor.refused().map(|(subject, reason)| format!("{subject}: {reason}"));
        state.refusals.extend(nowhere.chain(refused).take(REFUSALS_MAX));
        if self.tor.held() > 0 {
            state.refusals.push(format!("{} MACs wait for room in the TOR's table", self.tor.held()));
        }
        state
    }

    /// Tells that nobody else can write any more: who had the lock before could, until it was ours.
    pub(super) async fn tell_obedience(&mut self) -> Result<(), Stopped> {
        let (true, Some((channel, _))) = (self.owns_lock, &self.session) else { return Ok(()) };
        match self.welcomed.take() {
            Some(term) => Ok(channel.hand_on(FromVtep::Obeys { term }).await?),
            None => Ok(()),
        }
    }

    /// Tells which versions the database says.
    pub(super) async fn tell_applied(&mut self) -> Result<(), Stopped> {
        let Some((channel, _)) = &self.session else { return Ok(()) };
        let Self { told, tor, applied, .. } = self;
        applied.retain(|switch, _| told.tables().contains_key(switch));
        for (switch, table) in told.tables() {
            let held = table.held(switch);
            let news = table.is_whole() && applied.get(switch) != Some(&held);
            if news && tor.is_settled(switch) {
                channel.hand_on(FromVtep::Applied(held.clone())).await?;
                applied.insert(switch.clone(), held);
            }
        }
        Ok(())
    }

    /// Takes what the controller says.
    pub(super) async fn tell(&mut self, message: ToVtep) -> Result<(), Stopped> {
        let welcomed = match &message {
            ToVtep::Welcome { term, .. } => Some(*term),
            _ => None,
        };
        let answer = match self.told.take(message) {
            Ok(Effect::None) => None,
            Ok(Effect::Outline) => {
                self.follow_outline();
                None
            }
            Ok(Effect::Table { logical_switch, macs, completed }) => {
                if completed {
                    self.draw_outline();
                }
                self.follow_table(&logical_switch, &macs);
                None
            }
            Ok(Effect::Answer(answer)) => Some(answer),
            Err(refused) => return self.give_up(&refused.to_string()).await,
        };
        self.welcomed = welcomed.or(self.welcomed);
        let Some((channel, _)) = &self.session else { return Ok(()) };
        channel.taken().await?;
        if let Some(answer) = answer {
            channel.hand_on(answer).await?;
        }
        Ok(())
    }

    /// Also the addresses of VTEPs may have changed: each row is looked at.
    fn follow_outline(&mut self) {
        self.draw_outline();
        self.nowhere.clear();
        let all = self.told.tables().iter();
        let all: Vec<(LogicalSwitchName, Vec<MacAddr>)> =
            all.map(|(switch, table)| (switch.clone(), table.rows.keys().copied().collect())).collect();
        for (switch, macs) in all {
            self.follow_table(&switch, &macs);
        }
        self.state_soon();
    }

    /// Before a network's members are known to be all, and while its table is not known to be complete, who is flooded to
    /// stays.
    fn draw_outline(&mut self) {
        let Self { vtep, told, tor, .. } = self;
        let kept = |switch: &LogicalSwitchName| {
            let network = told.present_outline().networks.get(switch);
            let complete = told.tables().get(switch).is_some_and(Table::is_complete);
            if complete && network.is_some_and(|network| network.unheard.is_empty()) {
                BTreeSet::new()
            } else {
                flood(tor.mirror(), switch)
            }
        };
        let outline = tor_outline(vtep, told.present_outline(), kept);
        tor.desired().set_outline(outline);
    }

    fn follow_table(&mut self, switch: &LogicalSwitchName, macs: &[MacAddr]) {
        let Self { vtep, told, tor, nowhere, .. } = self;
        let Some(table) = told.tables().get(switch) else { return };
        let desired = tor.desired();
        for &mac in macs {
            let placed = table.rows.get(&mac).map(|row| place(vtep, told.present_outline(), row));
            match placed {
                Some(Placed::Remote(remote)) if desired.remote(switch, mac) == Some(&remote) => {}
                Some(Placed::Remote(remote)) => desired.put(switch, mac, remote),
                None | Some(Placed::Local) => desired.remove(switch, mac),
                // It stays where it was.
                Some(Placed::Nowhere(master)) => {
                    if nowhere.len() < REFUSALS_MAX && nowhere.insert(master.clone()) {
                        warn!(%vtep, master = %master, "a VTEP has no address that the TOR can use: VXLAN over IPv4");
                    }
                }
            }
        }
        desired.set_complete(switch, table.is_complete());
        if !self.nowhere.is_empty() {
            self.state_soon();
        }
    }
}

/// In parts that are not too large.
async fn tell_inventory(channel: &Channel<OfVtep>, snapshot: bool, changes: Changes) -> Result<(), Stopped> {
    let mut parts = Vec::new();
    let mut part = Part::default();
    for (switch, mac, local) in changes {
        if part.records == ROWS_MAX {
            parts.push(std::mem::take(&mut part));
        }
        part.push(switch, mac, local);
    }
    parts.push(part);
    let last = parts.len() - 1;
    for (index, Part { networks, .. }) in parts.into_iter().enumerate() {
        let inventory = Inventory { snapshot, networks, end: index == last };
        channel.hand_on(FromVtep::Inventory(inventory)).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Part {
    networks: Vec<(LogicalSwitchName, Records)>,
    records: usize,
}

impl Part {
    /// They come by logical switch.
    fn push(&mut self, switch: LogicalSwitchName, mac: MacAddr, local: Option<LocalMac>) {
        self.records += 1;
        match self.networks.last_mut() {
            Some((last, records)) if *last == switch => records.push((mac, local)),
            _ => self.networks.push((switch, vec![(mac, local)])),
        }
    }
}
