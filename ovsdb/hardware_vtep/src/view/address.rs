use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ovsdb::{Row, Uuid};
use vtep_api::{Vni, VtepName};

use super::refusal::{Reason, Refusals, cut};
use crate::mirror::Mirror;
use crate::rows::{PhysicalSwitch, VXLAN};

/// Every locator's address, parsed once, and the device's own.
pub(super) struct Addresses {
    locators: HashMap<Uuid, Result<Locator, Reason>, RandomState>,
    own: BTreeSet<IpAddr>,
}

#[derive(Clone, Copy)]
struct Locator {
    address: IpAddr,
    tunnel_key: Option<i64>,
}

impl Addresses {
    pub(super) fn resolve(mirror: &Mirror, device: &VtepName, refusals: &mut Refusals) -> Self {
        let mut own = BTreeSet::new();
        if let Some((uuid, switch)) = mirror.physical_switch(device) {
            for text in &switch.tunnel_ips {
                match unicast_address(text) {
                    Some(address) => {
                        own.insert(address);
                    }
                    None => {
                        refusals.push(PhysicalSwitch::TABLE, uuid, Reason::OwnAddress { text: cut(text) });
                    }
                }
            }
        }
        let locators = mirror.locators.iter().map(|(uuid, row)| {
            let locator = if row.encapsulation_type == VXLAN {
                unicast_address(&row.dst_ip)
                    .map(|address| Locator { address, tunnel_key: row.tunnel_key })
                    .ok_or_else(|| Reason::Address { text: cut(&row.dst_ip) })
            } else {
                Err(Reason::Encapsulation { text: cut(&row.encapsulation_type) })
            };
            (uuid, locator)
        });
        Self { locators: locators.collect(), own }
    }

    /// Where a locator leads for a network, unless to ourselves.
    pub(super) fn remote(&self, locator: Uuid, vni: Vni) -> Result<IpAddr, Reason> {
        let Locator { address, tunnel_key } = match self.locators.get(&locator) {
            Some(Ok(locator)) => *locator,
            Some(Err(reason)) => return Err(reason.clone()),
            None => return Err(Reason::NoLocator),
        };
        match tunnel_key {
            Some(key) if key != i64::from(vni.as_u32()) => return Err(Reason::LocatorKey { key, vni }),
            _ => {}
        }
        if self.own.contains(&address) {
            return Err(Reason::OwnLocator { address });
        }
        Ok(address)
    }
}

/// An address that one tunnel endpoint can have.
pub(crate) fn unicast_address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let unicast = !address.is_unspecified() && !address.is_multicast() && !broadcast;
    unicast.then_some(address)
}
