//! Tables out of chance: mostly whole, sometimes with rows that name what is not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::rig::{DOMAINS_MAX, PORTS, TUNNEL, UPLINKS, VTEPS_MAX};
use crate::model::{
    Address, Binding, Encapsulation, Entry, Host, Interface, LocalPort, Mac, Network, Place, Policy, Storm,
    Tables, Tags, Vtep,
};

/// One more than there ever is of each.
const VTEP_ABSENT: u32 = VTEPS_MAX;
const PORT_ABSENT: u32 = 12;
const MACS: u8 = 12;

pub(super) fn tables(rng: &mut SmallRng) -> Tables {
    let mut tables = Tables { host: host(rng), hashed: rng.random(), ..Tables::default() };
    vteps(rng, &mut tables);
    let vnis = vnis(rng);
    ports(rng, &mut tables, &vnis);
    networks(rng, &mut tables, &vnis);
    senders(rng, &mut tables, &vnis);
    fdb(rng, &mut tables, &vnis);
    stations(rng, &mut tables, &vnis);
    tables
}

/// The same few in all networks and rounds, so that networks are told apart by nothing else.
pub(super) fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, number / 4, number]
}

/// The address of a station: its MAC's number in its last byte.
pub(super) fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, number)
}

pub(super) fn v6(number: u8) -> Ipv6Addr {
    // Some are of a link only.
    let first = if number.is_multiple_of(8) { 0xfe80 } else { 0x2001 };
    Ipv6Addr::new(first, 0xdb8, 0, 0, 0, 0, 0, number.into())
}

fn host(rng: &mut SmallRng) -> Host {
    let number = rng.random_range(1..4);
    let families = rng.random_range(0..3);
    Host {
        v4: (families != 1).then_some(Ipv4Addr::new(192, 0, 2, number)),
        v6: (families != 0).then_some(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into())),
        udp_port: if rng.random_bool(0.8) { 4789 } else { rng.random_range(1..=u16::MAX) },
        tunnel: TUNNEL,
        geneve: rng.random_bool(0.7),
        nvgre: rng.random_bool(0.7),
        strict: rng.random_bool(0.3),
    }
}

fn vteps(rng: &mut SmallRng, tables: &mut Tables) {
    let mixed = rng.random_bool(0.4);
    let kinds = [Encapsulation::Vxlan, Encapsulation::Geneve, Encapsulation::Nvgre];
    for index in 1..VTEP_ABSENT {
        if rng.random_bool(0.15) {
            continue;
        }
        let last = 10 + u8::try_from(index).expect("few");
        let ends: [Option<(IpAddr, IpAddr)>; 2] = [
            tables.host.v4.map(|ours| (ours.into(), Ipv4Addr::new(192, 0, 2, last).into())),
            tables
                .host
                .v6
                .map(|ours| (ours.into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last.into()).into())),
        ];
        let ends: Vec<_> = ends.into_iter().flatten().collect();
        let (local, remote) = *ends.choose(rng).expect("the host has an address");
        let [a, b, c] = rng.random();
        let vtep = Vtep {
            encapsulation: if mixed { *kinds.choose(rng).expect("some") } else { Encapsulation::Vxlan },
            local,
            remote,
            uplink: *UPLINKS.choose(rng).expect("there are two"),
            uplink_mac: [2, 0xaa, 0, 0, a, b],
            next_hop: [2, 0xbb, 0, 0, b, c],
            mtu: *[1500, 1500, 1450, 700, 1600].choose(rng).expect("some"),
            udp_port: if rng.random_bool(0.8) { 4789 } else { rng.random() },
            source_ports: source_ports(rng),
            policy: policy(rng),
            up: rng.random_bool(0.8),
            routed: rng.random_bool(0.85),
            resolved: rng.random_bool(0.8),
            takes_xdp: rng.random_bool(0.7),
        };
        tables.vteps.insert(index, vtep);
    }
}

fn source_ports(rng: &mut SmallRng) -> (u16, u16) {
    if rng.random_bool(0.7) {
        return (49_152, 65_535);
    }
    let (one, other) = (rng.random_range(1..=u16::MAX), rng.random_range(1..=u16::MAX));
    (one.min(other), one.max(other))
}

fn policy(rng: &mut SmallRng) -> Policy {
    Policy {
        ttl: rng.random_range(1..=255),
        inherits_ttl: rng.random_bool(0.3),
        dscp: if rng.random() { 0 } else { rng.random_range(0..64) },
        inherits_dscp: rng.random_bool(0.3),
        dont_fragment: rng.random_bool(0.7),
        inherits_dont_fragment: rng.random_bool(0.3),
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
    for ifindex in PORTS {
        let interface = Interface { storm: storm(rng), told_enough: rng.random_bool(0.2) };
        tables.interfaces.insert(ifindex, interface);
    }
    for index in 1..rng.random_range(3..PORT_ABSENT) {
        let ifindex = *PORTS.choose(rng).expect("there are four");
        let vlan = if rng.random_bool(0.6) { 0 } else { *[1, 100, 4094].choose(rng).expect("some") };
        let vni = if rng.random_bool(0.05) { 4711 } else { *vnis.choose(rng).expect("at least one") };
        let bd = domain(vnis, vni);
        if tables.bindings.contains_key(&(ifindex, vlan)) {
            continue;
        }
        let tags = tags(rng, vlan);
        let port = LocalPort {
            ifindex,
            vni,
            bd,
            vlan,
            decap_in_program: rng.random(),
            link_local: rng.random_bool(0.3),
            takes_xdp: rng.random_bool(0.7),
            to_peer: rng.random_bool(0.3),
            mtu: *[1500, 1500, 9000, 1400, 600, 80].choose(rng).expect("some"),
            tags: if tags == Tags::Popped { Tags::None } else { tags },
        };
        if rng.random_bool(0.95) {
            tables.local_ports.insert(index, port);
        }
        let checks = rng.random_bool(0.3);
        let binding = Binding {
            vni,
            bd,
            local_port: index,
            learns: rng.random_bool(0.3),
            link_local: port.link_local,
            checks_macs: checks && rng.random(),
            checks_ips: checks && rng.random_bool(0.7),
            tags,
        };
        tables.bindings.insert((ifindex, vlan), binding);
    }
}

fn tags(rng: &mut SmallRng, vlan: u16) -> Tags {
    let either = if vlan == 0 { Tags::Popped } else { Tags::Kept };
    *[Tags::None, Tags::None, Tags::None, either, Tags::Carried].choose(rng).expect("some")
}

fn storm(rng: &mut SmallRng) -> Option<Storm> {
    rng.random_bool(0.15).then(|| Storm { burst: rng.random_range(0..60), spent: 0 })
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
        let network = Network {
            bd: domain(vnis, *vni),
            drops_unknown: rng.random_bool(0.25),
            checks_source: rng.random_bool(0.25),
            suppresses: rng.random(),
            carries_tags: tables
                .local_ports
                .values()
                .any(|port| port.vni == *vni && port.tags != Tags::None && rng.random_bool(0.95)),
            storm: storm(rng),
            flood,
        };
        tables.networks.insert(*vni, network);
    }
}

fn senders(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for (index, vtep) in &tables.vteps {
        for vni in vnis {
            if rng.random_bool(0.7) {
                tables.senders.insert((*vni, vtep.remote), *index);
            }
        }
        if rng.random_bool(0.9) {
            tables.senders.insert((0, vtep.remote), *index);
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

/// Who answers for which address, and who may send from where.
fn stations(rng: &mut SmallRng, tables: &mut Tables, vnis: &[u32]) {
    for number in 0..MACS {
        let addresses = [IpAddr::V4(v4(number)), IpAddr::V6(v6(number))];
        for address in addresses {
            for vni in vnis {
                if rng.random_bool(0.5) {
                    tables.neighbours.insert((*vni, address), mac(rng.random_range(0..MACS)));
                }
            }
        }
        for port in PORTS {
            let all = addresses.map(Address::Ip).into_iter().chain([Address::Mac(mac(number))]);
            tables.allowed.extend(all.filter(|_| rng.random_bool(0.6)).map(|address| (port, address)));
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
