//! Who removes the outer headers of unicast to a port.

use vtep_abi::LocalPort;

use crate::config::{Config, Decap, Port};
use crate::links::Link;
use crate::packet_rate::{PacketRate, State};

/// The way, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) way: Way,
    pub(crate) why: String,
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

    pub(crate) const fn flags(self) -> u16 {
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
        Decap::Auto => return automatic(link, packet_rate.state(link.ifindex)),
    };
    Choice { way, why: said_by.to_owned() }
}

/// By `cargo xtask bench ports`. A veth hands frames on as they are, and a tap without virtio's header gets them whole by neither
/// way; every other kind of port may have to take super-packets apart again, which only the tunnel device's receive path
/// prepares them for.
fn automatic(link: &Link, state: Option<&State>) -> Choice {
    let kind = link.kind.as_deref().unwrap_or("hardware");
    let way = match (state, kind) {
        (Some(State::On { takes_none: None }), _) => {
            return Choice { way: Way::Xdp, why: "auto: packet-rate mode".to_owned() };
        }
        (_, "veth") => Way::Program,
        (_, "tun") if link.vnet_header == Some(false) => {
            return Choice { way: Way::Program, why: "auto: tap without vnet_hdr".to_owned() };
        }
        _ => Way::Device,
    };
    let kind = if kind == "tun" { "tap" } else { kind };
    Choice { way, why: format!("auto: {kind}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TAKES: State = State::On { takes_none: None };
    const TAKES_NONE: State = State::On { takes_none: Some("no NAPI") };

    #[track_caller]
    fn check(kind: Option<&str>, lines: &str, state: Option<State>, expected: (Way, &str)) {
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
            ..PacketRate::default()
        };
        let choice = choose(&config, port, &link, &packet_rate);
        assert_eq!((choice.way, choice.why.as_str()), expected);
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
