//! Who removes the outer headers of unicast to a port.

use vtep_abi::LocalPort;

use crate::config::{Config, Decap, Port};
use crate::links::Link;
use crate::packet_rate::PacketRate;

/// The way, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) way: Way,
    pub(crate) why: String,
    /// Of [`LocalPort`].
    pub(crate) flags: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The kernel's tunnel device.
    Device,
    /// `uplink_in`.
    Program,
    /// `uplink_xdp`, and the tunnel device for what that leaves.
    Xdp,
}

impl Way {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Program => "program",
            Self::Xdp => "xdp",
        }
    }

    /// What goes by the tunnel device all the same.
    pub(crate) const fn exceptions(self) -> Option<&'static str> {
        match self {
            Self::Device => None,
            Self::Program => Some(
                "floods, tags inside, padding, joined UDP datagrams, and frames of senders that set UDP checksums",
            ),
            Self::Xdp => Some("floods, tags inside, padding"),
        }
    }

    const fn flags(self) -> u16 {
        match self {
            Self::Device => 0,
            Self::Program => LocalPort::DECAP_IN_PROGRAM,
            Self::Xdp => LocalPort::TAKES_XDP,
        }
    }
}

pub(crate) fn choose(config: &Config, port: &Port, link: &Link, packet_rate: &PacketRate) -> Choice {
    let (setting, said_by) = match port.decap {
        Some(decap) => (decap, "its [[port]]"),
        None => (config.dataplane.decap, "dataplane.decap"),
    };
    let way = match setting {
        Decap::Device => Way::Device,
        Decap::Program => Way::Program,
        Decap::Auto => return automatic(link, packet_rate),
    };
    Choice { way, why: said_by.to_owned(), flags: way.flags() }
}

/// By `cargo xtask bench ports`. A veth hands frames on as they are, and a tap without virtio's header gets them whole by neither
/// way; every other kind of port may have to take super-packets apart again, which only the tunnel device's receive path
/// prepares them for. A port in packet-rate mode has no such frames, but only an uplink in that mode hands it frames that way.
fn automatic(link: &Link, packet_rate: &PacketRate) -> Choice {
    let takes_xdp = packet_rate.takes(link.ifindex);
    if takes_xdp && packet_rate.has_uplink {
        let why = "auto: packet-rate mode".to_owned();
        return Choice { way: Way::Xdp, why, flags: Way::Xdp.flags() };
    }
    let (way, kind) = match link.kind.as_deref().unwrap_or("hardware") {
        "veth" => (Way::Program, "veth"),
        "tun" if link.vnet_header == Some(false) => (Way::Program, "tap without vnet_hdr"),
        "tun" => (Way::Device, "tap"),
        other => (Way::Device, other),
    };
    let alone = if takes_xdp { ", and no uplink is in packet-rate mode" } else { "" };
    // Other ports' frames go there by XDP all the same.
    let flags = way.flags() | if takes_xdp { LocalPort::TAKES_XDP } else { 0 };
    Choice { way, why: format!("auto: {kind}{alone}"), flags }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::packet_rate::State;

    const TAKES: State = State::On { takes_none: None };
    const TAKES_NONE: State = State::On { takes_none: Some("no NAPI") };

    #[track_caller]
    fn check(kind: Option<&str>, lines: &str, state: Option<State>, expected: (Way, &str)) {
        let choice = chosen(kind, lines, state, true);
        assert_eq!(
            (choice.way, choice.why.as_str(), choice.flags),
            (expected.0, expected.1, expected.0.flags())
        );
    }

    fn chosen(kind: Option<&str>, lines: &str, state: Option<State>, has_uplink: bool) -> Choice {
        let text = format!(
            "[underlay]\naddress = \"192.0.2.1\"\nuplinks = [\"eth0\"]\n\
             [source]\nkind = \"file\"\npath = \"t.toml\"\n[[port]]\nname = \"p\"\n{lines}\n"
        );
        let config = Config::parse(&text, Path::new("agent.toml"), &[]).unwrap();
        let port = config.ports.iter().next().unwrap();
        let (kind, vnet_header) = match kind {
            Some("tap without vnet_hdr") => (Some("tun"), Some(false)),
            Some("tun") => (kind, Some(true)),
            _ => (kind, None),
        };
        let link = Link { vnet_header, ..Link::of_kind(kind, 1500) };
        let packet_rate = PacketRate {
            by_ifindex: state.map(|state| (7, state)).into_iter().collect(),
            has_uplink,
            ..PacketRate::default()
        };
        choose(&config, port, &link, &packet_rate)
    }

    #[test]
    fn without_an_uplink_in_packet_rate_mode_no_frame_comes_by_xdp_from_afar() {
        let veth = chosen(Some("veth"), "", Some(TAKES), false);
        assert_eq!(
            (veth.way, veth.flags),
            (Way::Program, LocalPort::DECAP_IN_PROGRAM | LocalPort::TAKES_XDP)
        );
        assert_eq!(veth.why, "auto: veth, and no uplink is in packet-rate mode");
        let tap = chosen(Some("tun"), "", Some(TAKES), false);
        assert_eq!((tap.way, tap.flags), (Way::Device, LocalPort::TAKES_XDP));
        let none = chosen(Some("veth"), "", Some(TAKES_NONE), false);
        assert_eq!((none.way, none.flags), (Way::Program, LocalPort::DECAP_IN_PROGRAM));
    }

    #[test]
    fn the_kind_of_port_decides_unless_somebody_said_so() {
        check(Some("veth"), "", None, (Way::Program, "auto: veth"));
        check(Some("tun"), "", None, (Way::Device, "auto: tap"));
        check(Some("tap without vnet_hdr"), "", None, (Way::Program, "auto: tap without vnet_hdr"));
        check(None, "", None, (Way::Device, "auto: hardware"));
        check(Some("veth"), "", Some(TAKES), (Way::Xdp, "auto: packet-rate mode"));
        check(Some("tun"), "", Some(TAKES), (Way::Xdp, "auto: packet-rate mode"));
        check(Some("veth"), "", Some(TAKES_NONE), (Way::Program, "auto: veth"));
        check(Some("veth"), "", Some(State::Refused("MTU".to_owned())), (Way::Program, "auto: veth"));
        check(Some("tun"), "decap = \"program\"", None, (Way::Program, "its [[port]]"));
        check(Some("veth"), "decap = \"device\"", Some(TAKES), (Way::Device, "its [[port]]"));
    }
}
