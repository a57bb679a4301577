use std::collections::BTreeSet;

use super::super::facts::{Host, Interface};
use super::super::finding::{Finding, Group, Mend, Section};
use super::room;
use crate::packet_rate::{self, Role, State};
use crate::table::Encapsulation;

/// RFC 8200 §5: below it there is no IPv6.
const IPV6_MTU_MIN: u32 = 1280;

pub(super) fn judge(host: &Host, findings: &mut Vec<Finding>) {
    for name in &host.config.underlay.uplinks {
        let mut section = Section::new(Group::Uplink, Some(name.as_str()), findings);
        let Some(interface) = host.interfaces.get(name.as_str()) else {
            let mend =
                Mend::expected("an interface").by("ip link show, and another name in underlay.uplinks");
            section.problem("interface", "no such interface", mend);
            continue;
        };
        kind(name.as_str(), interface, &mut section);
        mtu(name.as_str(), host, interface, &mut section);
        offloads(name.as_str(), host, interface, &mut section);
        rp_filter(name.as_str(), host, interface, &mut section);
        packet_rate(host.config.underlay.packet_rate.contains(name), interface, &mut section);
    }
}

fn kind(name: &str, interface: &Interface, section: &mut Section<'_>) {
    let link = &interface.link;
    let kind = link.kind.as_deref().or(interface.driver.as_deref()).unwrap_or("hardware");
    match (link.up, link.carrier) {
        (true, true) => section.ok("interface", format!("{kind}, up")),
        (true, false) => section.problem(
            "interface",
            format!("{kind}, without carrier"),
            Mend::expected("carrier").by("its cable, its switch or its peer"),
        ),
        (false, _) => section.problem(
            "interface",
            format!("{kind}, down"),
            Mend::expected("up").by(format!("ip link set dev {name} up")),
        ),
    }
    if let Some(master) = &interface.master {
        section.warning(
            "master",
            format!("it is a port of {master}: the tunnel address and the frames are there"),
            Mend::expected("none").by(format!("underlay.uplinks = [\"{master}\"]")),
        );
    }
}

fn mtu(name: &str, host: &Host, interface: &Interface, section: &mut Section<'_>) {
    let mtu = interface.link.mtu;
    let overhead = room::largest_overhead(&host.config, host.table.encapsulations.as_ref());
    let value = format!("{mtu}; inner packets: {}", room::described(&host.config, mtu));
    if mtu.saturating_sub(overhead) < IPV6_MTU_MIN {
        let least = IPV6_MTU_MIN + overhead;
        let mend = Mend::expected(format!("at least {least}: IPv6 needs {IPV6_MTU_MIN} inside"))
            .by(format!("ip link set dev {name} mtu {}, and the switches with it", 1500 + overhead));
        section.problem("mtu", value, mend);
    } else {
        section.ok("mtu", value);
    }
}

/// Those that join frames so that the outer headers of all but the first are lost to a program.
const JOINED: &str = "rx-lro";
/// With no socket for the port, as for Geneve, these join datagrams of a tunnel as if they were one stream
/// (`udp_gro_receive` in the kernel's `udp_offload.c`).
const JOINS_DATAGRAMS: [&str; 2] = ["rx-udp-gro-forwarding", "rx-gro-list"];

fn offloads(name: &str, host: &Host, interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "offloads";
    let on = match &interface.features {
        Ok(features) => &features.offloads,
        Err(error) => {
            let mend = Mend::expected("to be read").by("run as root");
            return section.warning(CHECK, format!("cannot be read: {error}"), mend);
        }
    };
    let mut harmless = true;
    if on.contains(JOINED) {
        harmless = false;
        let mend = Mend::expected("off: what it joined cannot be taken apart again")
            .by(format!("ethtool -K {name} lro off"));
        section.warning("rx_lro", "on", mend);
    }
    let geneve = host.table.encapsulations.as_ref().is_some_and(|used| used.contains(&Encapsulation::Geneve));
    for feature in JOINS_DATAGRAMS.into_iter().filter(|feature| on.contains(*feature)) {
        harmless = false;
        let value = format!("{feature} on");
        let why = "joins datagrams of Geneve into one frame, of which all but the first are lost";
        if geneve {
            let mend =
                Mend::expected(format!("off: it {why}")).by(format!("ethtool -K {name} {feature} off"));
            section.warning("udp_gro", value, mend);
        } else {
            section.note("udp_gro", format!("{value}: {why}; VXLAN is not concerned"));
        }
    }
    if harmless {
        section.ok(CHECK, "none that breaks tunnels is on");
    }
    slow(on, section);
}

/// What is right without the hardware's help, but slower.
fn slow(on: &BTreeSet<String>, section: &mut Section<'_>) {
    let has = |features: &[&str]| features.iter().any(|feature| on.contains(*feature));
    let missing: Vec<&str> = [
        (!has(&["tx-udp_tnl-segmentation"]))
            .then_some("tx-udp_tnl-segmentation: super-frames are cut in software"),
        (!has(&["tx-checksum-ip-generic", "tx-checksum-ipv4"]))
            .then_some("tx-checksum: checksums are made in software"),
        (!has(&["rx-gro"])).then_some("rx-gro: every received frame goes alone"),
        (!has(&["rx-udp_tunnel-port-offload"]))
            .then_some("rx-udp_tunnel-port-offload: checksums inside tunnels are checked in software"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if missing.is_empty() {
        section.ok("tunnel_offloads", "on");
    } else {
        section.note("tunnel_offloads", format!("off: {}", missing.join("; ")));
    }
}

/// Outer packets that the tunnel device takes have come through the host's own IP first.
fn rp_filter(name: &str, host: &Host, interface: &Interface, section: &mut Section<'_>) {
    const STRICT: u8 = 1;
    let several = host.config.underlay.uplinks.len() > 1;
    if several && interface.rp_filter == Some(STRICT) && host.config.underlay.address.v4().is_some() {
        let mend = Mend::expected("2 or 0 with several uplinks: what comes by another way than the answer's is dropped before the tunnel device")
            .by(format!("sysctl net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{name}.rp_filter=2"));
        section.warning("rp_filter", "1, strict", mend);
    }
}

fn packet_rate(wanted: bool, interface: &Interface, section: &mut Section<'_>) {
    let Ok(features) = &interface.features else { return };
    let state = packet_rate::state(&interface.link, features, Role::Uplink);
    super::port::say_packet_rate(wanted, &state, section);
    if let (true, State::On { .. }) = (wanted, &state)
        && interface.xdp.iter().flatten().any(|xdp| !xdp.program.ours)
    {
        section.warning("packet_rate", "its XDP hook is taken: TC serves it", Mend::expected("a free hook"));
    }
}
