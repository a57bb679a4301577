//! What the agent tells the programs, without layouts, slots and generations.
#![expect(
    clippy::struct_excessive_bools,
    reason = "each is what an operator, or the network, says yes or no to"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

pub type Mac = [u8; 6];
/// TPID and TCI.
pub type Tag = (u16, u16);

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// By VNI and IP address: who answers for it.
    #[serde(with = "pairs")]
    pub neighbours: BTreeMap<(u32, IpAddr), Mac>,
    /// What frames of an interface may come from.
    pub allowed: BTreeSet<(u32, Address)>,
    /// By interface.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Whether MACs are kept in the kernel's hash, not in the table of buckets.
    pub hashed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub udp_port: u16,
    /// The kernel's tunnel device.
    pub tunnel: u32,
    /// Whether some VTEP uses it. Otherwise it is the host's.
    pub geneve: bool,
    pub nvgre: bool,
    /// A reserved bit that is set costs the frame.
    pub strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Encapsulation {
    Vxlan,
    Geneve,
    Nvgre,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vtep {
    pub encapsulation: Encapsulation,
    /// Both of one family.
    pub local: IpAddr,
    pub remote: IpAddr,
    pub uplink: u32,
    pub uplink_mac: Mac,
    pub next_hop: Mac,
    /// Of the largest outer IP packet.
    pub mtu: u16,
    /// Of VXLAN.
    pub udp_port: u16,
    /// First and last.
    pub source_ports: (u16, u16),
    pub policy: Policy,
    pub up: bool,
    pub routed: bool,
    pub resolved: bool,
    /// Whether the uplink takes what XDP redirects.
    pub takes_xdp: bool,
}

/// Fields of the outer header. What is inherited of an IP packet is fixed for other frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    pub ttl: u8,
    pub inherits_ttl: bool,
    /// Six bits.
    pub dscp: u8,
    pub inherits_dscp: bool,
    pub dont_fragment: bool,
    pub inherits_dont_fragment: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub bd: u32,
    pub drops_unknown: bool,
    /// From the underlay: the source must live behind the sender.
    pub checks_source: bool,
    /// Answers ARP requests and neighbour solicitations.
    pub suppresses: bool,
    /// Some port takes frames with a tag inside.
    pub carries_tags: bool,
    pub storm: Option<Storm>,
    /// Local ports first, then VTEPs.
    pub flood: Vec<Place>,
}

/// So many frames may be flooded, and so many were. No time passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Storm {
    pub burst: u32,
    pub spent: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalPort {
    pub ifindex: u32,
    pub vni: u32,
    pub bd: u32,
    /// 0: untagged.
    pub vlan: u16,
    pub decap_in_program: bool,
    pub link_local: bool,
    pub takes_xdp: bool,
    /// Unicast enters the namespace behind it at once, if it keeps no tag; out of a tunnel by the program, if it is IP.
    pub to_peer: bool,
    pub tags: Tags,
    pub mtu: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    pub vni: u32,
    pub bd: u32,
    pub local_port: u32,
    pub learns: bool,
    pub link_local: bool,
    pub checks_macs: bool,
    pub checks_ips: bool,
    pub tags: Tags,
}

/// What becomes of tags at a binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Tags {
    /// Its own comes off, and there may be no other.
    #[default]
    None,
    /// Of the untagged: so does one without a binding.
    Popped,
    /// Its own goes on inside the tunnel.
    Kept,
    /// The one behind its own does; of the untagged: one without a binding.
    Carried,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    pub storm: Option<Storm>,
    /// Its VM was told of so many frames that were too big that it is told of no more.
    pub told_enough: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Address {
    Mac(Mac),
    Ip(IpAddr),
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

impl Default for LocalPort {
    fn default() -> Self {
        Self {
            ifindex: 0,
            vni: 0,
            bd: 0,
            vlan: 0,
            decap_in_program: false,
            link_local: false,
            takes_xdp: false,
            to_peer: false,
            tags: Tags::None,
            mtu: 9000,
        }
    }
}

impl LocalPort {
    /// Whether its interface takes a frame of this length, its tags left out, as a bridge would have it.
    pub(super) fn takes(&self, length: usize) -> bool {
        length as u64 <= u64::from(self.mtu) + 14
    }
}

impl Default for Host {
    fn default() -> Self {
        Self { v4: None, v6: None, udp_port: 4789, tunnel: 0, geneve: false, nvgre: false, strict: false }
    }
}

impl Storm {
    pub(super) fn is_over(self) -> bool {
        self.spent >= self.burst
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

    /// Takes what the frame of this outcome has cost out of the buckets.
    pub fn pay(&mut self, paid: super::Paid) {
        let interface = paid.interface.and_then(|index| self.interfaces.get_mut(&index));
        if let Some(storm) = interface.and_then(|interface| interface.storm.as_mut()) {
            storm.spent += 1;
        }
        let network = paid.vni.and_then(|vni| self.networks.get_mut(&vni));
        if let Some(storm) = network.and_then(|network| network.storm.as_mut()) {
            storm.spent += 1;
        }
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
