//! What a TOR was told, in the words of its database: addresses in place of names, and nothing of what is the TOR's own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hardware_vtep::controller::{Remote, SwitchOutline, TorOutline, TunnelOutline};
use vtep_api::{BfdTransport, BfdWord, Encapsulation, LogicalSwitchName, Role, Row, VtepName, VtepOutline};

/// Where a MAC is, seen from the TOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placed {
    /// Behind the TOR itself: there is no remote row for it.
    Local,
    Remote(Remote),
    /// The master's address is not known, or not one that a TOR can use.
    Nowhere(VtepName),
}

pub(super) fn place(vtep: &VtepName, outline: &VtepOutline, row: &Row) -> Placed {
    let placement = &row.placement;
    if placement.master == *vtep {
        return Placed::Local;
    }
    let Some(master) = address(outline, &placement.master) else {
        return Placed::Nowhere(placement.master.clone());
    };
    let others = placement.slaves.iter().filter(|slave| *slave != vtep);
    let slaves = others.filter_map(|slave| address(outline, slave)).collect();
    let own_role = placement.slaves.contains(vtep).then_some(Role::Slave);
    Placed::Remote(Remote { master, slaves, ips: row.ips.clone(), own_role })
}

/// What `hardware_vtep` has a word for is VXLAN over IPv4: what has another locator is out of a TOR's reach.
fn address(outline: &VtepOutline, vtep: &VtepName) -> Option<IpAddr> {
    let locator = outline.vteps.get(vtep)?;
    let reachable = locator.encapsulation == Encapsulation::Vxlan && locator.address.is_ipv4();
    reachable.then_some(locator.address)
}

/// `kept`: where a logical switch floods to besides, for it is not known yet who else takes part.
pub(super) fn tor_outline(
    vtep: &VtepName,
    outline: &VtepOutline,
    kept: impl Fn(&LogicalSwitchName) -> BTreeSet<IpAddr>,
) -> TorOutline {
    let own = address(outline, vtep);
    let flood = |members: &BTreeSet<VtepName>| {
        let others = members.iter().filter(|member| *member != vtep);
        others.filter_map(|member| address(outline, member)).collect::<BTreeSet<_>>()
    };
    let switches = outline.networks.iter().map(|(name, network)| {
        let mut flood = flood(&network.flood);
        flood.extend(kept(name).iter().filter(|address| Some(**address) != own));
        (name.clone(), SwitchOutline { vni: network.vni, replication: network.replication, flood })
    });
    let bindings = outline.bindings.iter();
    let bindings =
        bindings.map(|binding| ((binding.port.clone(), binding.vlan), binding.logical_switch.clone()));
    let tunnels = outline.vteps.iter().filter(|(peer, _)| *peer != vtep);
    let tunnels = tunnels.filter_map(|(peer, locator)| {
        let BfdWord { min_rx_ms, min_tx_ms, transport, decay_min_rx_ms, forwarding_if_rx, .. } = locator.bfd;
        // Another transport is not for the database to speak of.
        let asked = locator.bfd.enabled == Some(true) && transport == Some(BfdTransport::Vxlan);
        let terms = TunnelOutline {
            min_rx_ms: min_rx_ms.map(Into::into),
            min_tx_ms: min_tx_ms.map(Into::into),
            decay_min_rx_ms: decay_min_rx_ms.map(Into::into),
            forwarding_if_rx,
        };
        address(outline, peer).filter(|_| asked).map(|address| (address, terms))
    });
    TorOutline {
        complete: outline.complete,
        switches: switches.collect(),
        bindings: bindings.collect(),
        tunnels: tunnels.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vtep_api::{Binding, Locator, Network, Placement, Replication, UnknownUnicast};

    use super::*;

    fn name(text: &str) -> VtepName {
        text.try_into().unwrap()
    }

    /// a, b and c are at 192.0.2.1, 2 and 3.
    fn outline() -> VtepOutline {
        let vteps = [("a", 1), ("b", 2), ("c", 3)];
        let vteps = vteps.map(|(vtep, last)| (name(vtep), IpAddr::from([192, 0, 2, last]).into()));
        let network = Network {
            vni: 7_u32.try_into().unwrap(),
            unknown_unicast: UnknownUnicast::Flood,
            replication: Replication::SourceNode,
            flood: ["a", "b", "d"].map(name).into(),
            unheard: BTreeSet::new(),
        };
        let switch = "ls0".try_into().unwrap();
        let binding = Binding {
            port: "p1".try_into().unwrap(),
            vlan: 100_i64.try_into().unwrap(),
            logical_switch: "ls0".try_into().unwrap(),
        };
        VtepOutline {
            complete: true,
            vteps: vteps.into(),
            networks: [(switch, network)].into(),
            bindings: [binding].into(),
        }
    }

    #[track_caller]
    fn check(vtep: &str, master: &str, slaves: &[&str], expected: &Placed) {
        let slaves = slaves.iter().map(|slave| name(slave)).collect();
        let row =
            Row { placement: Arc::new(Placement { master: name(master), slaves }), ips: Box::default() };
        assert_eq!(place(&name(vtep), &outline(), &row), *expected);
    }

    fn at(master: u8, slaves: &[u8], own_role: Option<Role>) -> Placed {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let slaves = slaves.iter().map(|&last| address(last)).collect();
        Placed::Remote(Remote { master: address(master), slaves, ips: Box::default(), own_role })
    }

    #[test]
    fn a_mac_of_the_tors_own_has_no_remote_row() {
        check("a", "a", &["b"], &Placed::Local);
    }

    #[test]
    fn a_slave_learns_its_role_and_is_no_slave_of_its_own() {
        check("a", "b", &["a", "c"], &at(2, &[3], Some(Role::Slave)));
        check("c", "b", &["a"], &at(2, &[1], None));
    }

    #[test]
    fn a_vtep_without_an_address_is_named_and_no_slave() {
        check("a", "d", &["b"], &Placed::Nowhere(name("d")));
        check("a", "b", &["d", "c"], &at(2, &[3], None));
    }

    #[test]
    fn a_vtep_that_no_locator_of_a_tor_can_name_is_out_of_its_reach() {
        for unspeakable in [
            Locator {
                address: IpAddr::from([192, 0, 2, 2]),
                encapsulation: Encapsulation::Geneve,
                bfd: BfdWord::default(),
            },
            Locator::from(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2])),
        ] {
            let mut outline = outline();
            outline.vteps.insert(name("b"), unspeakable);
            let placement = Arc::new(Placement { master: name("b"), slaves: vec![name("c")] });
            let row = Row { placement, ips: Box::default() };
            assert_eq!(place(&name("a"), &outline, &row), Placed::Nowhere(name("b")));
            let tor = tor_outline(&name("a"), &outline, |_| BTreeSet::new());
            assert_eq!(tor.switches[&"ls0".try_into().unwrap()].flood, BTreeSet::new());
        }
    }

    #[test]
    fn a_flood_list_leaves_the_tor_itself_out_and_whose_address_is_unknown() {
        let tor = tor_outline(&name("a"), &outline(), |_| BTreeSet::new());
        let switch = &tor.switches[&"ls0".try_into().unwrap()];
        assert_eq!(switch.flood, BTreeSet::from([IpAddr::from([192, 0, 2, 2])]));
        assert_eq!((tor.complete, tor.bindings.len()), (true, 1));
    }

    #[test]
    fn who_may_still_take_part_stays_in_the_flood_list_but_never_the_tor_itself() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let tor = tor_outline(&name("a"), &outline(), |_| BTreeSet::from([address(1), address(9)]));
        let switch = &tor.switches[&"ls0".try_into().unwrap()];
        assert_eq!(switch.flood, BTreeSet::from([address(2), address(9)]));
    }
}
