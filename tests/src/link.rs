//! Links in namespaces. A link goes with its namespace.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use vtep_api::MacAddr;

use crate::netns::Netns;

/// A link is known by its name: it may be deleted and made anew.
#[derive(Clone, Debug)]
pub struct Link {
    netns: Netns,
    name: String,
}

/// The kernel's own VXLAN device: the oracle.
pub struct Vxlan {
    pub vni: u32,
    pub local: IpAddr,
    pub port: u16,
    /// Learns where inner MACs are from what it receives.
    pub learning: bool,
    /// `device`, `noudpcsum`, ...: further words for `ip link add`.
    pub options: &'static str,
}

impl Vxlan {
    /// Learning, on the assigned port (RFC 7348 §5).
    pub fn new(vni: u32, local: impl Into<IpAddr>) -> Self {
        Self { vni, local: local.into(), port: 4789, learning: true, options: "" }
    }
}

impl Link {
    /// Both ends up.
    pub fn veth(one: &Netns, one_name: &str, other: &Netns, other_name: &str) -> Result<(Self, Self)> {
        let peer = format!("peer name {other_name} netns {}", other.name());
        one.ip(&format!("link add {one_name} type veth {peer}"))?;
        let ends = (Self::named(one, one_name), Self::named(other, other_name));
        ends.0.up()?;
        ends.1.up()?;
        Ok(ends)
    }

    /// Up; ports are forwarded to at once, without spanning tree.
    pub fn bridge(netns: &Netns, name: &str) -> Result<Self> {
        Self::add(netns, name, "type bridge stp_state 0 mcast_snooping 0")
    }

    /// Up.
    pub fn vxlan(netns: &Netns, name: &str, vxlan: &Vxlan) -> Result<Self> {
        let Vxlan { vni, local, port, learning, options } = vxlan;
        let learning = if *learning { "learning" } else { "nolearning" };
        Self::add(
            netns,
            name,
            &format!("type vxlan id {vni} local {local} dstport {port} {learning} {options}"),
        )
    }

    /// A persistent tap, down as long as no program holds it.
    pub fn tap(netns: &Netns, name: &str) -> Result<Self> {
        netns.ip(&format!("tuntap add dev {name} mode tap"))?;
        let link = Self::named(netns, name);
        link.up()?;
        Ok(link)
    }

    /// Up. `kind` is what `ip link add` says after the name.
    pub fn add(netns: &Netns, name: &str, kind: &str) -> Result<Self> {
        netns.ip(&format!("link add {name} {kind}"))?;
        let link = Self::named(netns, name);
        link.up()?;
        Ok(link)
    }

    /// One that exists, or will.
    pub fn named(netns: &Netns, name: &str) -> Self {
        Self { netns: netns.clone(), name: name.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    pub fn index(&self) -> Result<u32> {
        self.netns.within(|| if_nametoindex(self.name.as_str()))?.with_context(|| format!("{self} is gone"))
    }

    pub fn mac(&self) -> Result<MacAddr> {
        let shown = self.netns.ip(&format!("-brief link show dev {}", self.name))?;
        let mac =
            shown.split_whitespace().nth(2).with_context(|| format!("{self} has no address: {shown}"))?;
        Ok(mac.parse()?)
    }

    /// Packets and bytes that it received and sent, as the kernel counts them.
    pub fn counters(&self) -> Result<Counters> {
        let shown = self.netns.ip(&format!("-json -statistics link show dev {}", self.name))?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let count = |direction: &str, unit: &str| {
            let value = shown.pointer(&format!("/0/stats64/{direction}/{unit}"));
            value
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("{self} has no {direction} {unit}"))
        };
        Ok(Counters {
            received_packets: count("rx", "packets")?,
            received_bytes: count("rx", "bytes")?,
            sent_packets: count("tx", "packets")?,
            sent_bytes: count("tx", "bytes")?,
        })
    }

    /// Frames that came in at this veth and that XDP sent on to another interface.
    pub fn redirected_by_xdp(&self) -> Result<u64> {
        let counters = self.netns.run(&format!("ethtool -S {}", self.name))?;
        let of = |line: &str| {
            line.trim().strip_prefix("rx_queue_")?.split_once("_xdp_redirect: ")?.1.parse::<u64>().ok()
        };
        Ok(counters.lines().filter_map(of).sum())
    }

    pub fn set_mac(&self, mac: MacAddr) -> Result<()> {
        self.set(&format!("address {mac}"))
    }

    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.set(&format!("mtu {mtu}"))
    }

    pub fn set_bridge(&self, bridge: &Self) -> Result<()> {
        self.set(&format!("master {}", bridge.name))
    }

    pub fn up(&self) -> Result<()> {
        self.set("up")
    }

    pub fn down(&self) -> Result<()> {
        self.set("down")
    }

    /// What `ip link set` says after the name.
    pub fn set(&self, what: &str) -> Result<()> {
        self.netns.ip(&format!("link set dev {} {what}", self.name)).map(drop)
    }

    /// With its prefix length: `10.0.0.1/24`.
    pub fn add_address(&self, address: &str) -> Result<()> {
        self.netns.ip(&format!("address add {address} dev {}", self.name)).map(drop)
    }

    /// Permanent.
    pub fn add_neighbour(&self, address: impl Into<IpAddr>, mac: MacAddr) -> Result<()> {
        let address = address.into();
        self.netns.ip(&format!("neighbour replace {address} lladdr {mac} dev {}", self.name)).map(drop)
    }

    /// Adds a destination to a VXLAN device: for `mac`, or for what it does not know where that is zero.
    pub fn append_fdb(&self, mac: MacAddr, remote: impl Into<IpAddr>) -> Result<()> {
        let line = format!("bridge fdb append {mac} dev {} dst {} self permanent", self.name, remote.into());
        self.netns.run(&line).map(drop)
    }

    /// An offload by its ethtool name: `tso`, `gso`, `gro`, `tx`, ...
    pub fn set_offload(&self, feature: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        self.netns.run(&format!("ethtool -K {} {feature} {state}", self.name)).map(drop)
    }

    /// So that whoever looks at what leaves sees tags, of IEEE 802.1Q and 802.1ad, in their places.
    pub fn insert_tags_in_software(&self) -> Result<()> {
        self.set_offload("tx-vlan-hw-insert", false)?;
        self.set_offload("tx-vlan-stag-hw-insert", false)
    }

    /// Of a veth, in each direction.
    pub fn set_queues(&self, count: u32) -> Result<()> {
        self.netns.run(&format!("ethtool -L {} rx {count} tx {count}", self.name)).map(drop)
    }

    pub fn delete(&self) -> Result<()> {
        self.netns.ip(&format!("link delete dev {}", self.name)).map(drop)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} in {}", self.name, self.netns)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub received_packets: u64,
    pub received_bytes: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
}
