use super::super::facts::{Host, Interface};
use super::super::finding::{Finding, Group, Mend, Section};
use super::room;
use crate::config::{Decap, Port};
use crate::desired::decap::{self, Choice, Way};
use crate::genetlink::XdpFeatures;
use crate::packet_rate::{self, PacketRate, Role, State};

pub(super) fn judge(host: &Host, findings: &mut Vec<Finding>) {
    let Some(ports) = &host.ports else {
        let mut section = Section::new(Group::Port, host.asked.as_deref(), findings);
        let mend = Mend::expected("a [[port]], or a port that the table binds").by("vtep-agent port show");
        return section.problem("interface", "no port of this host's", mend);
    };
    for port in ports {
        let name = port.name.as_str();
        let mut section = Section::new(Group::Port, Some(name), findings);
        let Some(interface) = host.interfaces.get(name) else {
            let mend = Mend::expected("an interface").by("start its VM, or correct the name in [[port]]");
            section.problem("interface", "no such interface", mend);
            continue;
        };
        kind(name, interface, &mut section);
        promiscuity(name, interface, &mut section);
        mtu(host, port, interface, &mut section);
        far_end(name, interface, &mut section);
        smaller(host, name, interface.link.mtu, &mut section);
        paths(host, port, interface, &mut section);
    }
    if ports.is_empty() {
        let mut section = Section::new(Group::Port, None, findings);
        section.note("interface", "there is no port: none is configured, and no table binds one");
    }
}

fn kind(name: &str, interface: &Interface, section: &mut Section<'_>) {
    let link = &interface.link;
    let state = match (link.up, link.carrier) {
        (true, true) => "up",
        (true, false) => "up, without carrier: nobody holds its other end",
        (false, _) => "down",
    };
    let takes = interface.features.as_ref().is_ok_and(|features| features.xdp.has(XdpFeatures::TAKES));
    let kind = match (link.kind.as_deref(), interface.vnet_header) {
        (Some("tun"), Some(true)) => "tap with vnet_hdr",
        (Some("tun"), Some(false)) => "tap without vnet_hdr: no super-frames, and the host makes checksums",
        (Some("tun"), None) => "tap",
        (Some("veth"), _) if takes => "veth, whose other end has GRO or XDP",
        (Some("veth"), _) => "veth, whose other end has no GRO",
        (Some(kind), _) => kind,
        (None, _) => interface.driver.as_deref().unwrap_or("hardware"),
    };
    let value = format!("{kind}; {state}");
    match (link.up, link.carrier) {
        (true, true) => section.ok("interface", value),
        (true, false) => section.note("interface", value),
        (false, _) => {
            let mend = Mend::expected("up").by(format!("ip link set dev {name} up"));
            section.warning("interface", value, mend);
        }
    }
    if let Some(master) = &interface.master {
        let mend = Mend::expected("no bridge: what it sends there is not of the port's logical switch")
            .by(format!("ip link set dev {name} nomaster"));
        section.warning("master", format!("it is a port of {master}, too"), mend);
    }
}

/// Its frames are from and to the MACs of others, which hardware and macvlans take only if they take all.
fn promiscuity(name: &str, interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "promiscuity";
    match interface.link.takes_others() {
        None => {}
        Some(true) => section.ok(CHECK, "on"),
        Some(false) => {
            let mend = Mend::expected(
                "on: it loses frames to MACs that are not its own, and groups that the host did not join",
            )
            .by(format!("ip link set dev {name} promisc on, by whatever makes the interface"));
            section.warning(CHECK, "off", mend);
        }
    }
}

fn mtu(host: &Host, port: &Port, interface: &Interface, section: &mut Section<'_>) {
    let (name, mtu) = (port.name.as_str(), interface.link.mtu);
    let tag = room::tag_len(port);
    let overhead = room::largest_overhead(&host.config, host.table.encapsulations.as_ref()) + tag;
    let uplinks = host.config.underlay.uplinks.iter().filter_map(|uplink| {
        let interface = host.interfaces.get(uplink.as_str())?;
        Some((interface.link.mtu.saturating_sub(overhead), uplink, interface.link.mtu))
    });
    let Some((room, uplink, uplink_mtu)) = uplinks.min() else { return };
    let kept = if tag > 0 { " with a tag inside" } else { "" };
    let arithmetic = format!("{mtu} + {overhead}{kept} = {} over {uplink}'s {uplink_mtu}", mtu + overhead);
    if mtu <= room {
        return section.ok("mtu", arithmetic);
    }
    let mend = Mend::expected(format!(
        "at most {room}, or {} at {uplink}: what is too big is answered (ICMP), what is not IP is lost",
        mtu + overhead
    ))
    .by(format!("ip link set dev {uplink} mtu {}; or MTU {room} in the VM and on {name}", mtu + overhead));
    section.warning("mtu", arithmetic, mend);
}

/// A veth drops what is longer than the MTU of the end where it comes out, and says nothing.
fn far_end(name: &str, interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "mtu_far_end";
    let own = interface.link.mtu;
    match &interface.far_mtu {
        None => {}
        Some(Ok(far)) if *far == own => section.ok(CHECK, format!("{own}, as on this side")),
        Some(Ok(far)) => {
            let mend =
                Mend::expected("one for both ends: what is longer than the smaller is lost without a word")
                    .by(format!("ip link set dev {name} mtu {far}; or MTU {own} in the VM"));
            section.warning(CHECK, format!("{own}, its other end has {far}"), mend);
        }
        Some(Err(reason)) => section.note(CHECK, format!("its other end cannot be asked: {reason}")),
    }
}

/// The smallest of the ports to which this one's frames go.
fn smaller(host: &Host, name: &str, mtu: u32, section: &mut Section<'_>) {
    let (Ok(links), Some(own)) = (&host.links, host.table.networks.get(name)) else { return };
    let others = host
        .table
        .networks
        .iter()
        .filter(|(other, networks)| other.as_str() != name && !networks.is_disjoint(own));
    let mtus = others.filter_map(|(other, _)| Some((links.by_name.get(other)?.mtu, other)));
    let Some((least, other)) = mtus.min().filter(|(least, _)| *least < mtu) else { return };
    let value = format!("{mtu}; {other} of the same logical switch has {least}");
    let expected = "one for all: what is longer than a port's own is answered (ICMP), what is not IP is lost";
    let mend =
        Mend::expected(expected).by(format!("ip link set dev {other} mtu {mtu}; or MTU {least} on {name}"));
    section.warning("mtu_of_ports", value, mend);
}

fn paths(host: &Host, port: &Port, interface: &Interface, section: &mut Section<'_>) {
    let features = match &interface.features {
        Ok(features) => features,
        Err(error) => {
            let mend = Mend::expected("to be read").by("run as root");
            return section.warning("offloads", format!("cannot be read: {error}"), mend);
        }
    };
    let state = state(host, port, interface, features);
    say_packet_rate(port.packet_rate, &state, section);
    if let Some(frames) = host.table.no_headroom.get(port.name.as_str()) {
        let mend = Mend::expected("room in front of each frame for outer headers: these took the slower way")
            .by("the driver's settings (ethtool --show-priv-flags), or packet_rate off");
        section.warning(
            "headroom",
            format!("{frames} frames of the last second had none, and TC took them"),
            mend,
        );
    }
    let unseen = packet_rate::unseen(&interface.link).filter(|_| port.packet_rate);
    if let (Some(unseen), State::On { .. }) = (unseen, &state) {
        section.note("packet_rate_unseen", unseen);
    }
    let choice = choose(host, port, interface, state);
    let exceptions = choice.way.exceptions().map(|these| format!("; by device all the same: {these}"));
    let value = format!("{} ({}){}", choice.way.name(), choice.why, exceptions.unwrap_or_default());
    let forced = port.decap.unwrap_or(host.config.dataplane.decap) == Decap::Program;
    if forced && interface.link.kind.as_deref() != Some("veth") {
        let mend =
            Mend::expected("device: only its receive path prepares super-frames for this kind of port")
                .by("decap = \"auto\" in its [[port]]");
        section.warning("decap", value, mend);
    } else {
        section.ok("decap", value);
    }
    match super::frames::arrive(host, port) {
        None => {}
        Some((lane, failed)) if failed.is_empty() => {
            section.ok("frames", format!("all arrive (frames {lane})"));
        }
        Some((lane, failed)) => section.problem(
            "frames",
            format!("{} fail (frames {lane})", failed.join(", ")),
            Mend::expected("all to arrive")
                .by("another decap in its [[port]], of which frames above says that they arrive"),
        ),
    }
}

fn state(host: &Host, port: &Port, interface: &Interface, features: &packet_rate::Facts) -> State {
    let role = Role::Port { trunk: host.table.trunks.contains(port.name.as_str()) };
    packet_rate::state(&interface.link, features, role)
}

fn choose(host: &Host, port: &Port, interface: &Interface, state: State) -> Choice {
    let asked = port.packet_rate.then_some((interface.link.ifindex, state));
    let has_uplink = host.config.underlay.packet_rate.iter().any(|uplink| {
        let interface = host.interfaces.get(uplink.as_str());
        interface.is_some_and(|interface| {
            let features = interface.features.as_ref();
            features.is_ok_and(|features| {
                matches!(packet_rate::state(&interface.link, features, Role::Uplink), State::On { .. })
            })
        })
    });
    let packet_rate =
        PacketRate { by_ifindex: asked.into_iter().collect(), has_uplink, ..PacketRate::default() };
    decap::choose(&host.config, port, &interface.link, &packet_rate)
}

/// None: it cannot be told.
pub(super) fn way(host: &Host, port: &Port) -> Option<Way> {
    let interface = host.interfaces.get(port.name.as_str())?;
    let state = state(host, port, interface, interface.features.as_ref().ok()?);
    Some(choose(host, port, interface, state).way)
}

/// Whether packet-rate mode is, or would be, safe there.
pub(super) fn say_packet_rate(wanted: bool, state: &State, section: &mut Section<'_>) {
    const CHECK: &str = "packet_rate";
    match (wanted, state) {
        (true, State::On { takes_none: None }) => section.ok(CHECK, "on, and safe"),
        (true, State::On { takes_none: Some(_) }) => section.note(CHECK, state.to_string()),
        (true, State::Refused(reason)) => {
            section.warning(
                CHECK,
                format!("refused, TC serves it: {reason}"),
                Mend::expected("what it needs, or packet_rate off"),
            );
        }
        (false, State::On { takes_none: None }) => section.ok(CHECK, "off; would be safe"),
        (false, State::On { takes_none: Some(reason) }) => {
            section.note(CHECK, format!("off; would be on, but frames to it go by way of TC: {reason}"));
        }
        (false, State::Refused(reason)) => section.note(CHECK, format!("off; would be refused: {reason}")),
    }
}
