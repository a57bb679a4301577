use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_api::{Ips, LogicalSwitchName, MacAddr, Replication, Role, SwitchPortName, VlanId, Vni};

/// What the database should say to the TOR, apart from MACs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TorOutline {
    /// Whether these are all: logical switches and bindings that we made and that are not named are to go. False for as
    /// long as a logical controller has not been heard.
    pub complete: bool,
    pub switches: BTreeMap<LogicalSwitchName, SwitchOutline>,
    pub bindings: BTreeMap<(SwitchPortName, VlanId), LogicalSwitchName>,
    /// The sessions of BFD that the TOR is asked for, by the far ends' addresses.
    pub tunnels: BTreeMap<IpAddr, TunnelOutline>,
}

/// What is not said the TOR decides (`vtep(5)`, `Tunnel.bfd_params`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelOutline {
    pub min_rx_ms: Option<u32>,
    pub min_tx_ms: Option<u32>,
    pub decay_min_rx_ms: Option<u32>,
    pub forwarding_if_rx: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchOutline {
    pub vni: Vni,
    pub replication: Replication,
    /// Where broadcast, multicast and unknown unicast go. Without any there is no `unknown-dst` row.
    pub flood: BTreeSet<IpAddr>,
}

/// Where a MAC is, seen from the TOR. There may be very many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Never the TOR itself: a MAC behind it has no remote row.
    pub master: IpAddr,
    /// Best first, though the database keeps no order.
    pub slaves: Box<[IpAddr]>,
    /// The database has room for one: the first.
    pub ips: Ips,
    /// What the TOR itself is for the MAC, where it is one of the claimants.
    pub own_role: Option<Role>,
}

/// What the database should say, and which of it was edited since the writer looked.
#[derive(Debug, Default)]
pub struct DesiredTor {
    pub(super) complete: bool,
    pub(super) switches: BTreeMap<LogicalSwitchName, DesiredSwitch>,
    pub(super) bindings: BTreeMap<(SwitchPortName, VlanId), LogicalSwitchName>,
    pub(super) tunnels: BTreeMap<IpAddr, TunnelOutline>,
    pub(super) edits: Edits,
}

#[derive(Debug)]
pub(super) struct DesiredSwitch {
    pub outline: SwitchOutline,
    /// Whether MACs that are not named are to go.
    pub complete: bool,
    pub macs: HashMap<MacAddr, Remote, RandomState>,
    /// While not complete: MACs of which it was said that they are to go.
    pub gone: BTreeSet<MacAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Edits {
    pub outline: bool,
    /// All MACs of these are to be compared.
    pub switches: BTreeSet<LogicalSwitchName>,
    pub macs: BTreeMap<LogicalSwitchName, BTreeSet<MacAddr>>,
}

impl DesiredTor {
    /// The writer has to look again, and finds nothing to do.
    pub(super) fn unknown() -> Self {
        Self { edits: Edits { outline: true, ..Edits::default() }, ..Self::default() }
    }

    /// Replaces what was said before. Logical switches that stay keep their MACs; those that are new have none, and
    /// nothing is concluded from that until [`Self::set_complete`].
    pub fn set_outline(&mut self, outline: TorOutline) {
        let TorOutline { complete, switches, bindings, tunnels } = outline;
        self.tunnels = tunnels;
        self.complete = complete;
        self.bindings = bindings;
        self.switches.retain(|name, _| switches.contains_key(name));
        for (name, outline) in switches {
            match self.switches.get_mut(&name) {
                Some(switch) if switch.outline.vni == outline.vni => switch.outline = outline,
                Some(switch) => {
                    // A locator may have the key of its network.
                    switch.outline = outline;
                    self.edits.switches.insert(name);
                }
                None => {
                    self.edits.switches.insert(name.clone());
                    let switch = DesiredSwitch {
                        outline,
                        complete: false,
                        macs: HashMap::default(),
                        gone: BTreeSet::new(),
                    };
                    self.switches.insert(name, switch);
                }
            }
        }
        self.edits.outline = true;
    }

    /// Whether the MACs that were put are all: remote rows of others are to go.
    pub fn set_complete(&mut self, switch: &LogicalSwitchName, complete: bool) {
        let Some(desired) = self.switches.get_mut(switch) else { return };
        if complete && !desired.complete {
            self.edits.switches.insert(switch.clone());
            desired.gone.clear();
        }
        desired.complete = complete;
    }

    /// Does nothing for a logical switch that is not in the outline.
    pub fn put(&mut self, switch: &LogicalSwitchName, mac: MacAddr, remote: Remote) {
        let Some(desired) = self.switches.get_mut(switch) else { return };
        desired.gone.remove(&mac);
        desired.macs.insert(mac, remote);
        self.edits.macs(switch).insert(mac);
    }

    /// The MAC is to have no remote row, whether or not what was put is complete.
    pub fn remove(&mut self, switch: &LogicalSwitchName, mac: MacAddr) {
        let Some(desired) = self.switches.get_mut(switch) else { return };
        desired.macs.remove(&mac);
        if !desired.complete {
            desired.gone.insert(mac);
        }
        self.edits.macs(switch).insert(mac);
    }

    /// A whole table in place of what was put before.
    pub fn replace(
        &mut self,
        switch: &LogicalSwitchName,
        complete: bool,
        macs: impl IntoIterator<Item = (MacAddr, Remote)>,
    ) {
        let Some(desired) = self.switches.get_mut(switch) else { return };
        desired.macs = macs.into_iter().collect();
        desired.gone.clear();
        desired.complete = complete;
        self.edits.switches.insert(switch.clone());
    }

    pub fn remote(&self, switch: &LogicalSwitchName, mac: MacAddr) -> Option<&Remote> {
        self.switches.get(switch)?.macs.get(&mac)
    }

    pub fn contains(&self, switch: &LogicalSwitchName) -> bool {
        self.switches.contains_key(switch)
    }

    /// Whether the writer knows all edits of it.
    pub(super) fn is_seen(&self, switch: &LogicalSwitchName) -> bool {
        let Edits { outline, switches, macs } = &self.edits;
        !outline && !switches.contains(switch) && !macs.contains_key(switch)
    }
}

impl Edits {
    fn macs(&mut self, switch: &LogicalSwitchName) -> &mut BTreeSet<MacAddr> {
        // Nearly always there already: the name is not copied for each MAC.
        if !self.macs.contains_key(switch) {
            self.macs.insert(switch.clone(), BTreeSet::new());
        }
        self.macs.get_mut(switch).expect("it was put in")
    }
}
