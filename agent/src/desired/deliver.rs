//! Which ports are passed by: their frames enter the network namespace at the other end of a veth at once.

use crate::config::{Deliver, Port};
use crate::genetlink::XdpFeatures;
use crate::links::Link;
use crate::packet_rate::PacketRate;

/// Whether a port is passed by, or why not; none if that was not asked for.
pub(crate) fn to_peer(port: &Port, link: &Link, packet_rate: &PacketRate) -> Option<Result<(), String>> {
    (port.deliver == Deliver::Peer).then(|| may_be_passed_by(link, packet_rate))
}

/// Nothing is passed by that would do something to a frame, as far as can be seen from here: `bpf_redirect_peer` hands it to
/// the stack behind the other end, which must be in another namespace (`skb_do_redirect` in the kernel's
/// `net/core/filter.c`).
fn may_be_passed_by(link: &Link, packet_rate: &PacketRate) -> Result<(), String> {
    let kind = link.kind.as_deref().unwrap_or("hardware");
    if kind != "veth" {
        return Err(format!("it is {}, expected a veth", if kind == "tun" { "a tap" } else { kind }));
    }
    if !link.is_elsewhere {
        return Err("its other end is in our network namespace, expected another".to_owned());
    }
    if let Some(qdisc) = link.qdisc.as_deref().filter(|qdisc| *qdisc != "noqueue") {
        return Err(format!("its queueing discipline is {qdisc}, expected noqueue"));
    }
    match packet_rate.passed_by.get(&link.ifindex) {
        Some(xdp) if !xdp.has(XdpFeatures::PROGRAMS) => {
            Err("its other end has more queues than it, so nothing is known of NAPI there".to_owned())
        }
        Some(xdp) if xdp.has(XdpFeatures::TAKES) => {
            Err("its other end has NAPI, for GRO or an XDP program, which frames would miss".to_owned())
        }
        Some(_) => Ok(()),
        None => Err("its driver could not be asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_NAPI: XdpFeatures = XdpFeatures(1 | 2 | 32);

    #[track_caller]
    fn check(link: &Link, xdp: Option<XdpFeatures>, refusal: Option<&str>) {
        let packet_rate = PacketRate {
            passed_by: xdp.map(|xdp| (link.ifindex, xdp)).into_iter().collect(),
            ..PacketRate::default()
        };
        let mut port = Port::unnamed("p".parse().unwrap());
        assert_eq!(to_peer(&port, link, &packet_rate), None, "nobody asked for it");
        port.deliver = Deliver::Peer;
        match (to_peer(&port, link, &packet_rate).unwrap(), refusal) {
            (Ok(()), None) => {}
            (Err(reason), Some(says)) => assert!(reason.contains(says), "{reason}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_port_is_passed_by_only_where_nothing_would_miss_its_frames() {
        let noqueue = Some("noqueue".to_owned());
        let veth = Link { is_elsewhere: true, qdisc: noqueue, ..Link::of_kind(Some("veth"), 1500) };
        check(&veth, Some(NO_NAPI), None);
        check(&veth, Some(XdpFeatures(NO_NAPI.0 | 4)), Some("NAPI"));
        check(&veth, Some(XdpFeatures(0)), Some("more queues"));
        check(&veth, None, Some("could not be asked"));
        check(&Link { is_elsewhere: false, ..veth.clone() }, Some(NO_NAPI), Some("our network namespace"));
        let shaped = Link { qdisc: Some("tbf".to_owned()), ..veth };
        check(&shaped, Some(NO_NAPI), Some("tbf"));
        check(&Link::of_kind(Some("tun"), 1500), Some(NO_NAPI), Some("a tap"));
        check(&Link::of_kind(None, 1500), Some(NO_NAPI), Some("hardware"));
    }
}
