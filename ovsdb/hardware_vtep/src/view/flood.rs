use std::collections::BTreeMap;

use ovsdb::{Row, Uuid};
use vtep_api::LogicalSwitchName;

use super::LogicalSwitchView;
use super::address::Addresses;
use super::refusal::{Reason, Refusals, cut};
use crate::mirror::Mirror;
use crate::rows::{McastMacRemote, UNKNOWN_DST};

/// Two rows for one logical switch are legal: their lists are merged.
pub(super) fn derive(
    mirror: &Mirror,
    addresses: &Addresses,
    switches: &mut BTreeMap<Uuid, (LogicalSwitchName, LogicalSwitchView)>,
    refusals: &mut Refusals,
) {
    for (uuid, row) in mirror.mcast_remote.iter() {
        let Some((_, switch)) = switches.get_mut(&row.logical_switch) else { continue };
        if row.mac != UNKNOWN_DST {
            refusals.push(McastMacRemote::TABLE, uuid, Reason::Multicast { text: cut(&row.mac) });
            continue;
        }
        let Some(set) = mirror.locator_sets.row(row.locator_set) else {
            refusals.push(McastMacRemote::TABLE, uuid, Reason::NoLocator);
            continue;
        };
        for &locator in &set.locators {
            match addresses.remote(locator, switch.vni) {
                Ok(address) => {
                    switch.flood.insert(address);
                }
                // A controller may well write one list for all members.
                Err(Reason::OwnLocator { .. }) => {}
                Err(reason) => refusals.push(McastMacRemote::TABLE, uuid, reason),
            }
        }
    }
}
