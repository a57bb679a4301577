//! What the database says to us, as a table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hardware_vtep::tunnel::TunnelBfd;
use hardware_vtep::{LogicalSwitchView, Mirror, Replication, UnicastEntry, Writer};
use vtep_api::{BfdTransport, BfdWord, Bounded, LogicalSwitchName, VtepName};

use crate::source::Refusals;
use crate::table::{self, Encapsulation, LogicalSwitch, MacEntry, Table, TunnelTerms, UnknownUnicast, Vtep};
use crate::tunnel_address::{OwnAddresses, TunnelAddress};

pub(super) fn table(
    mirror: &Mirror,
    device: &VtepName,
    own: OwnAddresses,
    writer: &Writer,
) -> (Table, Refusals) {
    let view = mirror.device_view(device);
    let mut build = Build {
        own,
        table: Table::default(),
        refusals: Refusals::default(),
        names: BTreeMap::new(),
        tunnels: view.tunnels.clone(),
    };
    for error in mirror.refused() {
        build.refusals.note("row".to_owned(), error.to_string());
    }
    for refusal in view.refusals.iter() {
        build.refusals.note(format!("{} {}", refusal.table, refusal.row), refusal.reason.to_string());
    }
    build.refusals.note_more(view.refusals.total() - view.refusals.iter().count());
    for (subject, reason) in writer.refused() {
        build.refusals.note(format!("write of {subject}"), reason.to_owned());
    }
    for (name, switch) in &view.logical_switches {
        build.logical_switch(name, switch);
    }
    build.table.bindings = view.bindings;
    (build.table, build.refusals)
}

struct Build {
    own: OwnAddresses,
    table: Table,
    refusals: Refusals,
    /// A million entries share the names of a few VTEPs. `None`: an address that cannot be one.
    names: BTreeMap<IpAddr, Option<VtepName>>,
    tunnels: BTreeMap<IpAddr, TunnelBfd>,
}

impl Build {
    fn logical_switch(&mut self, name: &LogicalSwitchName, view: &LogicalSwitchView) {
        let flood = view.flood.iter().filter_map(|address| self.vtep(*address)).collect();
        let macs = view.unicast.iter().filter_map(|(mac, entry)| Some((*mac, self.entry(entry)?))).collect();
        let replication = match view.replication {
            Replication::ServiceNode => table::Replication::ServiceNode,
            Replication::SourceNode => table::Replication::SourceNode,
        };
        let unknown_unicast = UnknownUnicast::Flood;
        let switch = LogicalSwitch {
            vni: view.vni,
            unknown_unicast,
            replication,
            flood,
            macs,
            partial: false,
            flood_partial: false,
        };
        self.table.logical_switches.insert(name.clone(), switch);
    }

    fn entry(&mut self, entry: &UnicastEntry) -> Option<MacEntry> {
        let master = self.vtep(entry.master)?;
        let slave =
            entry.slaves.iter().find_map(|address| self.vtep(*address)).filter(|slave| *slave != master);
        let ips = entry.ip.into_iter().collect();
        Some(MacEntry { master, slave, ips })
    }

    /// The table's name for an address, which is the address.
    fn vtep(&mut self, address: IpAddr) -> Option<VtepName> {
        if let Some(known) = self.names.get(&address) {
            return known.clone();
        }
        let named = self.new_vtep(address);
        self.names.insert(address, named.clone());
        named
    }

    fn new_vtep(&mut self, address: IpAddr) -> Option<VtepName> {
        if self.own.contains(address) {
            return None;
        }
        match TunnelAddress::try_from(address) {
            Ok(address) if address.ip().is_ipv6() => {
                let problem = "it is IPv6; expected an IPv4 address, as \"vxlan_over_ipv4\" says";
                self.refusals.note(format!("locator {address}"), problem.to_owned());
                None
            }
            Ok(address) => {
                // Of a row that says neither that there is a session nor that there is none, nothing counts.
                let terms = self.tunnels.get(&address.ip()).copied().filter(|terms| terms.enabled.is_some());
                if let Some(terms) = terms.filter(|terms| terms.enabled == Some(true)) {
                    self.note_clamped(address.ip(), &terms);
                }
                let name = VtepName::try_from(address.to_string()).expect("an address is a name");
                self.table.vteps.insert(
                    name.clone(),
                    Vtep {
                        address: address.ip(),
                        encapsulation: Encapsulation::Vxlan,
                        bfd: terms.as_ref().map(word).unwrap_or_default(),
                        tunnel: terms.as_ref().map(of_tunnel).unwrap_or_default(),
                    },
                );
                Some(name)
            }
            Err(error) => {
                self.refusals.note(format!("locator {address}"), error.to_string());
                None
            }
        }
    }

    fn note_clamped(&mut self, address: IpAddr, terms: &TunnelBfd) {
        for (key, ms, least, taken) in [
            ("min_rx", terms.min_rx_ms, 50, nearest(terms.min_rx_ms).as_u32()),
            ("min_tx", terms.min_tx_ms, 50, nearest(terms.min_tx_ms).as_u32()),
            ("decay_min_rx", terms.decay_min_rx_ms, 0, terms.decay_min_rx_ms.min(60_000)),
        ] {
            if taken != ms {
                let problem = format!("{ms}; expected {least} to 60000, {taken} is taken");
                self.refusals.note(format!("{key} of the tunnel to {address}"), problem);
            }
        }
    }
}

fn word(terms: &TunnelBfd) -> BfdWord {
    BfdWord {
        enabled: terms.enabled,
        transport: Some(BfdTransport::Vxlan),
        min_tx_ms: Some(nearest(terms.min_tx_ms)),
        min_rx_ms: Some(nearest(terms.min_rx_ms)),
        vni: Some(Bounded::preset(0)),
        decay_min_rx_ms: Bounded::try_from(i64::from(terms.decay_min_rx_ms.min(60_000))).ok(),
        forwarding_if_rx: Some(terms.forwarding_if_rx),
        ..BfdWord::default()
    }
}

fn of_tunnel(terms: &TunnelBfd) -> TunnelTerms {
    let default = TunnelTerms::default();
    TunnelTerms {
        dst_mac: terms.dst_mac.unwrap_or(default.dst_mac),
        dst_ip: terms.dst_ip.unwrap_or(default.dst_ip),
        any_vni: !terms.check_tnl_key,
        path_down: terms.cpath_down,
    }
}

fn nearest(ms: u32) -> Bounded<50, 60_000> {
    Bounded::try_from(i64::from(ms.clamp(50, 60_000))).expect("it was clamped")
}
