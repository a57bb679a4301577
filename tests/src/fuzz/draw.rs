//! Tables out of chance: mostly whole, sometimes with rows that name what is not there.

use std::net::{IpAddr, Ipv4Addr};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::rig::{DOMAINS_MAX, PORTS, TUNNEL, UPLINKS, VTEPS_MAX};
use crate::model::{Binding, Entry, Host, LocalPort, Mac, Network, Place, Tables, Vtep};

/// One more than there ever is of each.
const VTEP_ABSENT: u32 = VTEPS_MAX;
const PORT_ABSENT: u32 = 12;
const MACS: u8 = 12;

pub(super) fn tables(rng: &mut SmallRng) -> Tables {
    let address = Ipv4Addr::new(192, 0, 2, rng.random_range(1..4));
    let udp_port = if rng.random_bool(0.8) { 4789 } else { rng.random_range(1..=u16::MAX) };
    let mut tables = Tables { host: Host { address, udp_port, tunnel: TUNNEL }, ..Tables::default() };
    vteps(rng, &mut tables);
    let vnis = vnis(rng);
    ports(rng, &mut tables, &vnis);
    networks(rng, &mut tables, &vnis);
    senders(rng, &mut tables, &vnis);
    fdb(rng, &mut tables, &vnis);
    tables
}

/// The same few in all networks and rounds, so that networks are told apart by nothing else.
pub(super) fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, number / 4, number]
}

fn vteps(rng: &mut SmallRng, tables: &mut Tables) {
    for index in 1..VTEP_ABSENT {
        if rng.random_bool(0.15) {
            continue;
        }
        let [a, b, c] = rng.random();
        let vtep = Vtep {
            local: tables.host.address,
            remote: Ipv4Addr::new(192, 0, 2, 10 + u8::try_from(index).expect("few")),
            uplink: *UPLINKS.choose(rng).expect("there are two"),
            uplink_mac: [2, 0xaa, 0, 0, a, b],
            next_hop: [2, 0xbb, 0, 0, b, c],
            mtu: *[1500, 1500, 1450, 700, 1600].choose(rng).expect("some"),
            udp_port: if rng.random_bool(0.8) { 4789 } else { rng.random() },
            ttl: rng.random_range(1..=255),
            dscp: if rng.random() { 0 } else { rng.random_range(0..64) },
            up: rng.random_bool(0.8),
            routed: rng.random_bool(0.85),
            resolved: rng.random_bool(0.8),
        };
        tables.vteps.insert(index, vtep);
    }
}

fn vnis(rng: &mut SmallRng) -> Vec<u32> {
    let all = [1, 5001, 5002, 70_000, 0x00ff_ffff, rng.random_range(1..1 << 24)];
    let count = rng.random_range(1..=5);
    all.choose_multiple(rng, count).copied().collect()
}

fn domain(vnis: &[u32], vni: u32) -> u32 {
    let at = vnis.iter().position(|other| *other == vni).unwrap_or(vnis.len());
    u32::try_from(at + 1).expect("few").min(DOMAINS_MAX)
}

fn ports(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for index in 1..rng.random_range(3..PORT_ABSENT) {
        let ifindex = *PORTS.choose(rng).expect("there are four");
        let vlan = if rng.random_bool(0.6) { 0 } else { *[1, 100, 4094].choose(rng).expect("some") };
        let vni = if rng.random_bool(0.05) { 4711 } else { *vnis.choose(rng).expect("at least one") };
        let bd = domain(vnis, vni);
        if tables.bindings.contains_key(&(ifindex, vlan)) {
            continue;
        }
        let port = LocalPort { ifindex, vni, bd, vlan, decap_in_program: rng.random() };
        if rng.random_bool(0.95) {
            tables.local_ports.insert(index, port);
        }
        let binding = Binding { vni, bd, local_port: index, learns: rng.random_bool(0.3) };
        tables.bindings.insert((ifindex, vlan), binding);
    }
}

fn networks(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for vni in vnis {
        let mut flood = Vec::new();
        for (index, port) in &tables.local_ports {
            if port.vni == *vni && rng.random_bool(0.9) {
                flood.push(Place::Port(*index));
            }
        }
        if rng.random_bool(0.1) {
            flood.push(Place::Port(rng.random_range(1..=PORT_ABSENT)));
        }
        flood.dedup();
        for index in 1..=VTEP_ABSENT {
            if rng.random_bool(0.4) {
                flood.push(Place::Vtep(index));
            }
        }
        if rng.random_bool(0.1) {
            flood.clear();
        }
        let network = Network { bd: domain(vnis, *vni), drops_unknown: rng.random_bool(0.25), flood };
        tables.networks.insert(*vni, network);
    }
}

fn senders(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for (index, vtep) in &tables.vteps {
        let address = IpAddr::V4(vtep.remote);
        for vni in vnis {
            if rng.random_bool(0.7) {
                tables.senders.insert((*vni, address), *index);
            }
        }
        if rng.random_bool(0.9) {
            tables.senders.insert((0, address), *index);
        }
    }
}

fn fdb(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for vni in vnis {
        for number in 0..MACS {
            if rng.random_bool(0.6) {
                let entry = Entry { master: place(rng, tables, *vni), slave: place(rng, tables, *vni) };
                tables.fdb.insert((*vni, mac(number)), entry);
            }
        }
    }
}

fn place(rng: &mut SmallRng, tables: &Tables, vni: u32) -> Place {
    match rng.random_range(0..10) {
        0..5 => Place::Vtep(rng.random_range(1..=VTEP_ABSENT)),
        5..8 => {
            let of_vni: Vec<u32> = tables
                .local_ports
                .iter()
                .filter(|(_, port)| port.vni == vni)
                .map(|(index, _)| *index)
                .collect();
            of_vni.choose(rng).map_or(Place::Nowhere, |index| Place::Port(*index))
        }
        8 => Place::Port(rng.random_range(1..=PORT_ABSENT)),
        _ => Place::Nowhere,
    }
}
