//! What the agent tells the programs, without layouts, slots and generations.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use serde::{Deserialize, Serialize};

pub type Mac = [u8; 6];

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tables {
    pub host: Host,
    /// By VTEP index.
    pub vteps: BTreeMap<u32, Vtep>,
    /// (VNI, outer source): the VTEP that sends with it. VNI 0: in any network.
    #[serde(with = "pairs")]
    pub senders: BTreeMap<(u32, IpAddr), u32>,
    /// By VNI.
    pub networks: BTreeMap<u32, Network>,
    /// By local port index.
    pub local_ports: BTreeMap<u32, LocalPort>,
    /// By interface and VLAN, 0 for untagged.
    #[serde(with = "pairs")]
    pub bindings: BTreeMap<(u32, u16), Binding>,
    /// By VNI and MAC.
    #[serde(with = "pairs")]
    pub fdb: BTreeMap<(u32, Mac), Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    pub address: Ipv4Addr,
    pub udp_port: u16,
    /// The kernel's tunnel device.
    pub tunnel: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vtep {
    pub local: Ipv4Addr,
    pub remote: Ipv4Addr,
    pub uplink: u32,
    pub uplink_mac: Mac,
    pub next_hop: Mac,
    /// Of the largest outer IP packet.
    pub mtu: u16,
    pub udp_port: u16,
    pub ttl: u8,
    /// Six bits.
    pub dscp: u8,
    pub up: bool,
    pub routed: bool,
    pub resolved: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    pub bd: u32,
    pub drops_unknown: bool,
    /// Local ports first.
    pub flood: Vec<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocalPort {
    pub ifindex: u32,
    pub vni: u32,
    pub bd: u32,
    /// 0: untagged.
    pub vlan: u16,
    pub decap_in_program: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    pub vni: u32,
    pub bd: u32,
    pub local_port: u32,
    pub learns: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub master: Place,
    pub slave: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Place {
    Nowhere,
    Vtep(u32),
    Port(u32),
}

impl Default for Host {
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED, udp_port: 4789, tunnel: 0 }
    }
}

impl Tables {
    pub(super) fn is_up(&self, vtep: u32) -> bool {
        self.vteps.get(&vtep).is_some_and(|vtep| vtep.up)
    }

    /// A port of that network: an index that names another network's is none.
    pub(super) fn local_port(&self, index: u32, vni: u32) -> Option<&LocalPort> {
        self.local_ports.get(&index).filter(|port| port.vni == vni)
    }
}

/// JSON has only strings for keys.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
