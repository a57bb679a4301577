//! What an entry of a map says, by named fields: words for operators, an object for programs.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vtep_abi::{
    AllowedKey, Config, FdbValue, Limit, LocalPort, PortValue, Target, Template, VniValue, VtepAdj,
};
use vtep_api::MacAddr;

use crate::dataplane::{Dataplane, FdbTarget, Network, PortId, VtepRow};
use crate::desired;
use crate::trace::digits;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entry(Map<String, Value>);

impl Entry {
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// A field for each, and one for bits that have no name.
    fn with_flags(mut self, bits: u32, names: &[(&str, u32)]) -> Self {
        for (name, bit) in names {
            self = self.with(name, bits & bit != 0);
        }
        let rest = names.iter().fold(bits, |bits, (_, bit)| bits & !bit);
        if rest == 0 { self } else { self.with("other_flags", format!("0x{rest:x}")) }
    }

    /// What `other` has in another way, or has not.
    #[must_use]
    pub fn but(&self, other: &Self) -> Self {
        let differs = |(field, value): &(&String, &Value)| other.0.get(*field) != Some(*value);
        Self(self.0.iter().filter(differs).map(|(field, value)| (field.clone(), value.clone())).collect())
    }
}

/// As `mtu 1500, resolved yes`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing else");
        }
        for (n, (field, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} ", field.replace('_', " "))?;
            word(f, value)?;
        }
        Ok(())
    }
}

fn word(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Null => f.write_str("none"),
        Value::Bool(true) => f.write_str("yes"),
        Value::Bool(false) => f.write_str("no"),
        Value::String(text) => f.write_str(text),
        Value::Array(items) if items.is_empty() => f.write_str("nobody"),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(n, item)| {
            f.write_str(if n == 0 { "" } else { " + " })?;
            word(f, item)
        }),
        Value::Number(_) | Value::Object(_) => write!(f, "{value}"),
    }
}

/// How numbers of the kernel's tables are called.
pub(super) struct Words<'a> {
    /// The name of an interface.
    pub(super) interface: &'a dyn Fn(u32) -> String,
    /// Whose VTEPs and ports they may be.
    pub(super) dataplanes: [&'a Dataplane; 2],
}

impl Words<'_> {
    pub(super) fn vtep(&self, index: u32) -> String {
        let row = self.dataplanes.iter().find_map(|dataplane| dataplane.vteps.get(&index));
        row.map_or_else(|| format!("VTEP #{index}"), |row| format!("VTEP {}", desired::ip(row.adj.remote)))
    }

    pub(super) fn port(&self, index: u32) -> String {
        let port = self.dataplanes.iter().find_map(|dataplane| dataplane.local_ports.get(&index));
        port.map_or_else(
            || format!("port #{index}"),
            |port| self.binding(PortId { ifindex: port.ifindex, vlan: port.vlan }),
        )
    }

    pub(super) fn binding(&self, PortId { ifindex, vlan }: PortId) -> String {
        let interface = (self.interface)(ifindex);
        if vlan == 0 { interface } else { format!("{interface} VLAN {vlan}") }
    }

    pub(super) fn allowed(&self, key: &AllowedKey) -> String {
        let address = match key.address.first_chunk() {
            Some(mac) if key.len == 6 => MacAddr::new(*mac).to_string(),
            _ => desired::ip(key.address).to_string(),
        };
        format!("{address} at {}", (self.interface)(key.ifindex))
    }

    fn target(&self, target: Target) -> Value {
        match target {
            Target::None => Value::Null,
            Target::LocalPort(index) => self.port(index).into(),
            Target::Vtep(index) => self.vtep(index).into(),
        }
    }

    pub(super) fn mac(&self, entry: &FdbTarget) -> Entry {
        let FdbTarget { master, slave, flags } = *entry;
        let entry = Entry::default().with("master", self.target(master)).with("slave", self.target(slave));
        entry.with_flags(flags, &[("learnt", FdbValue::LEARNT)])
    }

    pub(super) fn network(&self, network: &Network) -> Entry {
        let Network { bd, flags, flood_limit, flood } = network;
        let flood: Vec<_> = flood.iter().map(|target| self.target(*target)).collect();
        let entry = Entry::default().with("bridge_domain", *bd).with("flood", flood);
        entry.with("flood_limit", limit(*flood_limit)).with_flags(
            *flags,
            &[
                ("drop_unknown", VniValue::DROP_UNKNOWN),
                ("check_source", VniValue::CHECK_SOURCE),
                ("suppress", VniValue::SUPPRESS),
                ("learn_underlay", VniValue::LEARN_UNDERLAY),
                ("carries_tags", VniValue::CARRIES_TAGS),
                ("witness", VniValue::WITNESS),
            ],
        )
    }

    pub(super) fn vtep_row(&self, row: &VtepRow) -> Entry {
        let VtepRow { adj, up, suspect } = row;
        let VtepAdj {
            ifindex,
            mtu,
            flags,
            checksum_base,
            source_port_first,
            source_port_last,
            outer_len,
            encap,
            template: Template { bytes },
            remote,
            local,
            ttl,
            tos,
            pad: _,
        } = adj;
        let header = &bytes[Template::LEN.saturating_sub(usize::from(*outer_len))..];
        let encapsulation = match *encap {
            VtepAdj::VXLAN => "vxlan".to_owned(),
            VtepAdj::GENEVE => "geneve".to_owned(),
            VtepAdj::NVGRE => "nvgre".to_owned(),
            other => other.to_string(),
        };
        Entry::default()
            .with("address", desired::ip(*remote).to_string())
            .with("local", desired::ip(*local).to_string())
            .with("uplink", (self.interface)(*ifindex))
            .with("next_hop_mac", MacAddr::new(adj.dst_mac()).to_string())
            .with("mtu", *mtu)
            .with("encapsulation", encapsulation)
            .with("header", digits(header))
            .with("header_sum", *checksum_base)
            .with("source_ports", format!("{source_port_first}-{source_port_last}"))
            .with("ttl", *ttl)
            .with("dscp", tos >> 2)
            .with("up", *up)
            .with("suspect", *suspect)
            .with_flags(
                u32::from(*flags),
                &[
                    ("resolved", VtepAdj::RESOLVED.into()),
                    ("routed", VtepAdj::ROUTED.into()),
                    ("inherit_dscp", VtepAdj::INHERIT_DSCP.into()),
                    ("inherit_ttl", VtepAdj::INHERIT_TTL.into()),
                    ("inherit_dont_fragment", VtepAdj::INHERIT_DONT_FRAGMENT.into()),
                    ("dont_fragment", VtepAdj::DONT_FRAGMENT.into()),
                    ("takes_xdp", VtepAdj::TAKES_XDP.into()),
                ],
            )
    }

    pub(super) fn local_port(&self, port: &LocalPort) -> Entry {
        let LocalPort { ifindex, vni, vlan, flags, bd, mtu } = port;
        let entry = Entry::default()
            .with("interface", (self.interface)(*ifindex))
            .with("vni", *vni)
            .with("mtu", *mtu);
        entry.with("vlan", *vlan).with("bridge_domain", *bd).with_flags(
            u32::from(*flags),
            &[
                ("decap_in_program", LocalPort::DECAP_IN_PROGRAM.into()),
                ("link_local", LocalPort::LINK_LOCAL.into()),
                ("keep_tag", LocalPort::KEEP_TAG.into()),
                ("carry_tag", LocalPort::CARRY_TAG.into()),
                ("to_peer", LocalPort::TO_PEER.into()),
                ("takes_xdp", LocalPort::TAKES_XDP.into()),
            ],
        )
    }
}

pub(super) fn host(config: &Config) -> Entry {
    let Config { local_v6, local_v4, tunnel_ifindex, udp_port, flags } = config;
    Entry::default()
        .with("local_v4", desired::ip(vtep_abi::mapped_v4(*local_v4)).to_string())
        .with("local_v6", desired::ip(*local_v6).to_string())
        .with("tunnel_ifindex", *tunnel_ifindex)
        .with("udp_port", u16::from_be_bytes(*udp_port))
        .with_flags(
            u32::from(*flags),
            &[
                ("geneve", Config::GENEVE.into()),
                ("nvgre", Config::NVGRE.into()),
                ("strict_reserved", Config::STRICT_RESERVED.into()),
                ("bfd", Config::BFD.into()),
            ],
        )
}

pub(super) fn binding(port: &PortValue) -> Entry {
    let PortValue { vni, bd, local_port, flags, flood, buckets, pad: _ } = port;
    Entry::default()
        .with("vni", *vni)
        .with("bridge_domain", *bd)
        .with("local_port", *local_port)
        .with("flood_limit", limit(*flood))
        .with("buckets", *buckets)
        .with_flags(
            *flags,
            &[
                ("learn", PortValue::LEARN),
                ("link_local", PortValue::LINK_LOCAL),
                ("check_macs", PortValue::CHECK_MACS),
                ("check_ips", PortValue::CHECK_IPS),
                ("keep_tag", PortValue::KEEP_TAG),
                ("carry_tag", PortValue::CARRY_TAG),
                ("pop_tag", PortValue::POP_TAG),
            ],
        )
}

fn limit(Limit { interval_ns, burst }: Limit) -> Value {
    if interval_ns == 0 && burst == 0 {
        return Value::Null;
    }
    format!("one per {interval_ns} ns and {burst} at once").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_words_and_is_an_object() {
        let dataplanes = [&Dataplane::default(), &Dataplane::default()];
        let words = Words { interface: &|ifindex| format!("if{ifindex}"), dataplanes };
        let port = LocalPort { ifindex: 7, vni: 5001, vlan: 0, flags: 1, bd: 1, mtu: 1500 };
        let written = words.local_port(&port);
        let found = words.local_port(&LocalPort { vlan: 9, flags: 1 << 12, ..port });
        assert_eq!(written.but(&found).to_string(), "decap in program yes, vlan 0");
        assert_eq!(found.but(&written).to_string(), "decap in program no, other flags 0x1000, vlan 9");
        let json = serde_json::to_value(&written).unwrap();
        assert_eq!((&json["interface"], &json["decap_in_program"]), (&"if7".into(), &true.into()));
        assert_eq!(written.but(&written).to_string(), "nothing else");
    }

    #[test]
    fn who_is_flooded_to_is_listed() {
        let row = VtepRow {
            adj: VtepAdj { remote: vtep_abi::mapped_v4([192, 0, 2, 11]), ..bytemuck::Zeroable::zeroed() },
            up: true,
            suspect: false,
        };
        let dataplane = Dataplane { vteps: [(1, row)].into(), ..Dataplane::default() };
        let words = Words { interface: &|ifindex| ifindex.to_string(), dataplanes: [&dataplane, &dataplane] };
        let of = |flood: Vec<Target>| words.network(&Network { flood, ..Network::default() });
        let (two, none) = (of(vec![Target::LocalPort(3), Target::Vtep(1)]), of(Vec::new()));
        assert_eq!(two.but(&none).to_string(), "flood port #3 + VTEP 192.0.2.11");
        assert_eq!(none.but(&two).to_string(), "flood nobody");
    }
}
