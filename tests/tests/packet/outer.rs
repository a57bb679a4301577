//! Outer headers of every encapsulation over both families, made and taken.

use std::net::{IpAddr, Ipv6Addr};

use vtep_abi::{Config, Limit, Target, Verdict, VtepAdj, VtepByIpKey, mapped_v4};
use vtep_agent::dataplane::{Network, VtepRow};
use vtep_agent::kernel::Program;
use vtep_agent::plan::Step;
use vtep_api::Encapsulation;
use vtep_outer::{Policy, Tunnel};
use vtep_tests::dissect;
use vtep_tests::frame;
use vtep_tests::tunnel::Carrier;

use super::rig::{FABRIC_MAC, HOST, HOST_V6, PEER, POLICY, Rig, TOR_A, TOR_B, VM, VM_2, VNI};
use super::{DROP, NEXT, REDIRECT, TO_MASTER, arp_reply_like, check_port, check_uplink};

const KINDS: [(Encapsulation, bool); 6] = [
    (Encapsulation::Vxlan, false),
    (Encapsulation::Vxlan, true),
    (Encapsulation::Geneve, false),
    (Encapsulation::Geneve, true),
    (Encapsulation::Nvgre, false),
    (Encapsulation::Nvgre, true),
];

/// Ours, and a TOR's.
fn ends(vtep: u32, ipv6: bool) -> (IpAddr, IpAddr) {
    let number = u16::try_from(10 + vtep).unwrap();
    let tor_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
    if ipv6 { (HOST_V6.into(), tor_v6.into()) } else { (HOST.address.into(), Rig::address(vtep).into()) }
}

fn adjacency(
    vtep: u32,
    (encapsulation, ipv6): (Encapsulation, bool),
    policy: Policy,
    uplink: u32,
) -> VtepAdj {
    let (local, remote) = ends(vtep, ipv6);
    let encapsulation = match encapsulation {
        Encapsulation::Vxlan => vtep_outer::Encapsulation::Vxlan,
        Encapsulation::Geneve => vtep_outer::Encapsulation::Geneve,
        Encapsulation::Nvgre => vtep_outer::Encapsulation::Nvgre,
    };
    Rig::over(&Tunnel { encapsulation, local, remote, udp_port: 4789 }, policy, uplink)
}

fn put(rig: &mut Rig, vtep: u32, adj: VtepAdj) {
    rig.apply(&Step::PutVteps(vec![(vtep, VtepRow { adj, up: true, suspect: false })]));
    let sender = |vni| (VtepByIpKey { vni, address: adj.remote }, vtep);
    rig.apply(&Step::PutSenders(vec![sender(VNI), sender(0)]));
}

/// As the TOR would send it to us.
fn carrier((encapsulation, ipv6): (Encapsulation, bool)) -> Carrier {
    let (to, from) = ends(TOR_A, ipv6);
    Carrier { encapsulation, from: (FABRIC_MAC, from), to: (HOST.mac, to), vni: VNI, options: Vec::new() }
}

fn inner_frames() -> [Vec<u8>; 3] {
    [frame::udp(VM, PEER, b"payload"), frame::udp_v6(VM, PEER, b"payload"), arp_reply_like(VM, PEER)]
}

#[test]
fn every_encapsulation_over_both_families_is_what_a_dissector_reads() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            for inner in inner_frames() {
                let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
                assert!(sent.ends_with(&inner), "{kind:?}");
                check_dissected(&sent, kind);
            }
        }
    });
}

#[track_caller]
fn check_dissected(sent: &[u8], kind: (Encapsulation, bool)) {
    let (ip, field) = if kind.1 { ("ipv6", ["ipv6.src", "ipv6.dst"]) } else { ("ip", ["ip.src", "ip.dst"]) };
    let names = [
        "frame.protocols",
        "eth.dst",
        field[0],
        field[1],
        "udp.dstport",
        "udp.checksum",
        "vxlan.vni",
        "geneve.vni",
        "gre.key",
        "ip.checksum.status",
        "_ws.malformed",
    ];
    let read = dissect::fields(sent, &names).unwrap();
    let value = |name: &str| read[names.iter().position(|known| *known == name).unwrap()].as_str();
    let first = |name: &str| value(name).split(',').next().unwrap();
    let (local, remote) = ends(TOR_A, kind.1);
    let (protocols, port) = match kind.0 {
        Encapsulation::Vxlan => ("udp:vxlan:eth", "4789"),
        Encapsulation::Geneve => ("udp:geneve:eth", "6081"),
        Encapsulation::Nvgre => ("gre:eth", ""),
    };
    let expected = format!("eth:ethertype:{ip}:{protocols}:");
    assert!(
        value("frame.protocols").starts_with(&expected),
        "{} is not {expected}",
        value("frame.protocols")
    );
    assert_eq!(value("eth.dst"), format!("{FABRIC_MAC},{}", PEER.mac));
    assert_eq!((first(field[0]), first(field[1])), (local.to_string().as_str(), remote.to_string().as_str()));
    assert_eq!(value("_ws.malformed"), "");
    if !kind.1 {
        assert_eq!(first("ip.checksum.status"), "1", "the outer header's checksum");
    }
    if kind.0 == Encapsulation::Nvgre {
        let key = u32::from_str_radix(value("gre.key").trim_start_matches("0x"), 16).unwrap();
        assert_eq!(key >> 8, VNI);
    } else {
        assert_eq!((first("udp.dstport"), first("udp.checksum")), (port, "0x0000"));
        let vni = if kind.0 == Encapsulation::Vxlan { value("vxlan.vni") } else { value("geneve.vni") };
        let vni =
            vni.strip_prefix("0x").map_or_else(|| vni.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
        assert_eq!(vni, Some(VNI));
    }
}

#[test]
fn every_encapsulation_over_both_families_is_taken() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            for inner in [
                frame::udp(PEER, VM, b"payload"),
                frame::udp_v6(PEER, VM, b"payload"),
                arp_reply_like(PEER, VM),
            ] {
                let left = check_uplink(rig, &carrier(kind).wrap(&inner), Verdict::Delivered, REDIRECT);
                assert_eq!(left, inner, "{kind:?}");
            }
        }
    });
}

#[test]
fn without_a_device_the_program_decapsulates_for_every_port_and_floods() {
    Rig::with(|rig| {
        for (encapsulation, ipv6) in KINDS {
            let kind = (encapsulation, ipv6);
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let unicast = carrier(kind).wrap(&frame::udp(PEER, VM, b"payload"));
            let broadcast = carrier(kind).wrap(&frame::arp_request(PEER, VM.address));
            if encapsulation == Encapsulation::Vxlan {
                check_uplink(rig, &unicast, Verdict::Admitted, NEXT);
                check_uplink(rig, &broadcast, Verdict::Admitted, NEXT);
                continue;
            }
            check_uplink(rig, &unicast, Verdict::Delivered, REDIRECT);
            let before = rig.copies().unwrap();
            check_uplink(rig, &broadcast, Verdict::DeliveredFlood, DROP);
            let after = rig.copies().unwrap();
            assert_eq!((after.port - before.port, after.port_2 - before.port_2), (1, 1), "{kind:?}");
            assert_eq!(after.uplink, before.uplink, "split horizon");
        }
    });
}

#[test]
fn geneve_options_are_skipped_unless_one_is_critical() {
    Rig::with(|rig| {
        for ipv6 in [false, true] {
            let kind = (Encapsulation::Geneve, ipv6);
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let inner = frame::udp(PEER, VM, b"payload");
            for words in [1_u8, 2, 31, 63] {
                let mut option = vec![0; usize::from(words) * 4];
                option[3] = (words - 1).min(31);
                let frame = Carrier { options: option, ..carrier(kind) }.wrap(&inner);
                assert_eq!(check_uplink(rig, &frame, Verdict::Delivered, REDIRECT), inner, "{words} words");
                for (at, verdict) in [(0x40, Verdict::GeneveCritical), (0x80, Verdict::GeneveCritical)] {
                    let mut frame = frame.clone();
                    let flags = frame.len() - inner.len() - usize::from(words) * 4 - 7;
                    frame[flags] |= at;
                    check_uplink(rig, &frame, verdict, DROP);
                }
            }
        }
    });
}

#[test]
fn a_frame_of_any_tunnel_cut_at_any_length_is_refused() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let options =
                if kind.0 == Encapsulation::Geneve { vec![0, 0, 0, 1, 0, 0, 0, 0] } else { Vec::new() };
            let whole = Carrier { options, ..carrier(kind) }.wrap(&frame::udp(PEER, VM, b"payload"));
            // A test-run takes no frame without its whole IP header.
            for length in if kind.1 { 54 } else { 34 }..whole.len() {
                let seen = rig.run(Program::UplinkIn, &whole[..length], rig.uplink);
                let refused = matches!(seen.verdict, Verdict::NotOurs | Verdict::OuterMalformed);
                assert!(refused, "{kind:?} cut to {length} bytes: {:?}", seen.verdict);
            }
            check_uplink(rig, &whole, Verdict::Delivered, REDIRECT);
        }
    });
}

#[test]
fn an_unresolved_next_hop_is_the_kernels_to_find() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        for kind in KINDS {
            let mut adj = adjacency(TOR_A, kind, POLICY, rig.uplink);
            adj.flags &= !VtepAdj::RESOLVED;
            put(rig, TOR_A, adj);
            let [v4, v6, arp] = inner_frames();
            let by_device = kind.0 == Encapsulation::Vxlan;
            for inner in [v4, v6] {
                let left = check_port(rig, &inner, Verdict::Device, REDIRECT);
                assert!(left.ends_with(&inner));
                assert_eq!(left.len() == inner.len(), by_device, "{kind:?}: who wraps it");
            }
            if by_device {
                check_port(rig, &arp, Verdict::Device, REDIRECT);
            } else {
                check_port(rig, &arp, Verdict::Unresolved, DROP);
            }
        }
    });
}

#[test]
fn a_flood_serves_one_length_of_outer_headers_itself_and_the_device_the_rest() {
    Rig::with(|rig| {
        let flood = |rig: &mut Rig, kinds: [(Encapsulation, bool); 2]| {
            for (vtep, kind) in [TOR_A, TOR_B].into_iter().zip(kinds) {
                put(rig, vtep, adjacency(vtep, kind, POLICY, rig.uplink));
            }
            let flood = vec![Target::Vtep(TOR_A), Target::Vtep(TOR_B)];
            rig.apply(&Step::PutNetworks(vec![(
                VNI,
                Network { bd: 1, flags: 0, flood_limit: Limit::default(), flood },
            )]));
            let before = rig.copies().unwrap().uplink;
            let errors = |rig: &Rig| rig.kernel.vtep_stats(TOR_B).unwrap().copy_errors;
            let errors_before = errors(rig);
            check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::Flooded, DROP);
            (rig.copies().unwrap().uplink - before, errors(rig) - errors_before)
        };
        let (vxlan, geneve, nvgre) = (Encapsulation::Vxlan, Encapsulation::Geneve, Encapsulation::Nvgre);
        assert_eq!(flood(rig, [(geneve, false), (vxlan, false)]), (2, 0), "equal lengths go out in one pass");
        assert_eq!(flood(rig, [(vxlan, true), (geneve, true)]), (2, 0));
        // The device of this rig has no route: what it takes does not leave, and is no error of ours.
        assert_eq!(flood(rig, [(nvgre, false), (vxlan, false)]), (1, 0));
        assert_eq!(flood(rig, [(nvgre, false), (geneve, true)]), (1, 1), "for these there is no device");
    });
}

#[test]
fn outer_fields_are_the_inner_packets_if_asked() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let flags = VtepAdj::INHERIT_TTL | VtepAdj::INHERIT_DSCP | VtepAdj::INHERIT_DONT_FRAGMENT;
        let policy = Policy { ttl: 9, dscp: 1, flags, ..POLICY };
        put(rig, TOR_A, adjacency(TOR_A, (Encapsulation::Vxlan, false), policy, rig.uplink));
        let mut v4 = frame::with_tos(&frame::udp(VM, PEER, b"payload"), 0xb9);
        v4[20] = 0;
        v4[22] = 5;
        frame::mend_ipv4_checksum(&mut v4);
        let mut v6 = frame::with_tos(&frame::udp_v6(VM, PEER, b"payload"), 0xb9);
        v6[21] = 5;
        for (inner, expected) in
            [(v4, (0xb9, 5, false)), (v6, (0xb9, 5, true)), (arp_reply_like(VM, PEER), (4, 9, false))]
        {
            let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
            let (outer, carried) = frame::decap(&sent).unwrap();
            assert_eq!(carried, inner);
            assert_eq!((outer.tos, outer.ttl, outer.dont_fragment), expected);
        }
    });
}

#[test]
fn a_tag_inside_any_encapsulation_is_refused() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let mut tagged = frame::udp_tagged(PEER, VM, 100, b"payload");
            for tag_type in [[0x81, 0x00], [0x88, 0xa8]] {
                tagged[12..14].copy_from_slice(&tag_type);
                check_uplink(rig, &carrier(kind).wrap(&tagged), Verdict::ExtraTag, DROP);
            }
        }
    });
}

#[test]
fn bytes_behind_the_packet_reach_no_port() {
    Rig::once(false, |rig| {
        rig.decap_in_program(1);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let inner = frame::udp(PEER, VM, b"payload");
            let mut frame = carrier(kind).wrap(&inner);
            frame.extend([0xee; 7]);
            if kind.0 == Encapsulation::Vxlan {
                assert_eq!(
                    check_uplink(rig, &frame, Verdict::Admitted, NEXT),
                    frame,
                    "the device cuts them off"
                );
            } else {
                assert_eq!(check_uplink(rig, &frame, Verdict::Delivered, REDIRECT), inner);
            }
        }
    });
}

#[test]
fn a_frame_too_short_for_the_program_is_left_to_the_device() {
    Rig::once(false, |rig| {
        rig.decap_in_program(1);
        for ipv6 in [false, true] {
            let kind = (Encapsulation::Vxlan, ipv6);
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let mut inner = arp_reply_like(PEER, VM);
            inner.truncate(14 + 20);
            check_uplink(rig, &carrier(kind).wrap(&inner), Verdict::Delivered, REDIRECT);
            inner.truncate(14 + 19);
            let frame = carrier(kind).wrap(&inner);
            assert_eq!(check_uplink(rig, &frame, Verdict::Admitted, NEXT), frame);
        }
    });
}

/// For these there is no device.
#[test]
fn a_frame_too_short_for_the_program_is_dropped_with_its_reason_where_no_device_takes_it() {
    Rig::once(false, |rig| {
        for kind in KINDS.into_iter().filter(|(encapsulation, _)| *encapsulation != Encapsulation::Vxlan) {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let (arp, v6) = (arp_reply_like(PEER, VM), frame::udp_v6(PEER, VM, b"payload"));
            for (inner, min) in [(arp, 14 + 20), (v6, 14 + 40)] {
                check_uplink(rig, &carrier(kind).wrap(&inner[..min]), Verdict::Delivered, REDIRECT);
                check_uplink(rig, &carrier(kind).wrap(&inner[..min - 1]), Verdict::InnerShort, DROP);
            }
        }
    });
}

/// As the kernel has it, which cuts off what follows (`udp_rcv`).
#[test]
fn a_datagram_that_ends_before_its_packet_counts_by_its_own_length() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        let inner = frame::udp(PEER, VM, b"payload");
        for kind in KINDS.into_iter().filter(|(encapsulation, _)| *encapsulation != Encapsulation::Nvgre) {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let mut packet = carrier(kind).wrap(&[&inner[..], b"behind"].concat());
            let at = packet.len() - inner.len() - 6 - 8 - 4;
            let len = u16::from_be_bytes([packet[at], packet[at + 1]]) - 6;
            packet[at..at + 2].copy_from_slice(&len.to_be_bytes());
            if kind.0 == Encapsulation::Vxlan {
                // Its device cuts.
                check_uplink(rig, &packet, Verdict::Admitted, NEXT);
            } else {
                assert_eq!(check_uplink(rig, &packet, Verdict::Delivered, REDIRECT), inner);
            }
        }
    });
}

/// Each with the reason that says most.
#[test]
fn tunnel_headers_that_are_not_in_order_are_refused_each_with_its_reason() {
    Rig::with(|rig| {
        let inner = frame::udp(PEER, VM, b"payload");
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let good = carrier(kind).wrap(&inner);
            let header = good.len() - inner.len() - 8;
            let changes: &[(usize, u8, Verdict)] = match kind.0 {
                Encapsulation::Vxlan => &[(0, 0x08, Verdict::VxlanFlags)],
                Encapsulation::Geneve => &[
                    (0, 0x40, Verdict::TunnelHeader),
                    (0, 0x80, Verdict::TunnelHeader),
                    (1, 0x80, Verdict::GeneveCritical),
                    (1, 0x40, Verdict::GeneveCritical),
                    (2, 0x01, Verdict::TunnelHeader),
                    // Options that end behind the packet, or leave less than an Ethernet header.
                    (0, 0x3f, Verdict::OuterMalformed),
                    (0, 0x0c, Verdict::OuterMalformed),
                ],
                Encapsulation::Nvgre => &[
                    (0, 0x80, Verdict::TunnelHeader),
                    (0, 0x40, Verdict::TunnelHeader),
                    (0, 0x10, Verdict::TunnelHeader),
                    (1, 0x01, Verdict::TunnelHeader),
                ],
            };
            for &(at, bits, verdict) in changes {
                let mut odd = good.clone();
                odd[header + at] ^= bits;
                check_uplink(rig, &odd, verdict, DROP);
            }
            if kind.0 == Encapsulation::Nvgre {
                continue;
            }
            // UDP's length says less than the headers, or more than the packet.
            let len = u16::from_be_bytes([good[header - 4], good[header - 3]]);
            for wrong in [0, 8, 15, 16, 29, len + 1, u16::MAX] {
                let mut odd = good.clone();
                odd[header - 4..header - 2].copy_from_slice(&wrong.to_be_bytes());
                check_uplink(rig, &odd, Verdict::OuterMalformed, DROP);
            }
        }
    });
}

#[test]
fn a_checksum_is_left_to_the_device_to_verify() {
    Rig::once(false, |rig| {
        rig.decap_in_program(1);
        for ipv6 in [false, true] {
            let kind = (Encapsulation::Vxlan, ipv6);
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let mut frame = carrier(kind).wrap(&frame::udp(PEER, VM, b"payload"));
            frame[if ipv6 { 60 } else { 40 }] = 0x12;
            assert_eq!(check_uplink(rig, &frame, Verdict::Admitted, NEXT), frame);
        }
    });
}

#[test]
fn reserved_bits_cost_the_frame_if_the_configuration_is_strict() {
    Rig::with(|rig| {
        let config = |flags: u16| {
            Step::SetConfig(Config {
                local_v6: HOST_V6.octets(),
                local_v4: HOST.address.octets(),
                tunnel_ifindex: rig.tunnel,
                udp_port: 4789_u16.to_be_bytes(),
                flags: Config::GENEVE | Config::NVGRE | flags,
            })
        };
        let (lenient, strict) = (config(0), config(Config::STRICT_RESERVED));
        rig.decap_in_program(1);
        for kind in KINDS {
            put(rig, TOR_A, adjacency(TOR_A, kind, POLICY, rig.uplink));
            let inner = frame::udp(PEER, VM, b"payload");
            let good = carrier(kind).wrap(&inner);
            let mut odd = good.clone();
            odd[good.len() - inner.len() - 7] |= 0x08;
            rig.apply(&strict);
            check_uplink(rig, &good, Verdict::Delivered, REDIRECT);
            check_uplink(rig, &odd, Verdict::ReservedBits, DROP);
            rig.apply(&lenient);
            check_uplink(rig, &odd, Verdict::Delivered, REDIRECT);
        }
    });
}

#[test]
fn senders_of_every_kind_have_to_be_known_for_the_network() {
    Rig::with(|rig| {
        let inner = frame::udp(PEER, VM_2, b"payload");
        for kind in KINDS {
            let mut stranger = carrier(kind);
            stranger.from.1 = if kind.1 {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 99).into()
            } else {
                IpAddr::from([192, 0, 2, 99])
            };
            check_uplink(rig, &stranger.wrap(&inner), Verdict::UnknownSender, DROP);
            let (_, remote) = ends(TOR_B, kind.1);
            let address = match remote {
                IpAddr::V4(v4) => mapped_v4(v4.octets()),
                IpAddr::V6(v6) => v6.octets(),
            };
            rig.apply(&Step::PutSenders(vec![(VtepByIpKey { vni: 0, address }, TOR_B)]));
            rig.apply(&Step::RemoveSenders(vec![VtepByIpKey { vni: VNI, address }]));
            let outsider = Carrier { from: (FABRIC_MAC, remote), ..carrier(kind) };
            check_uplink(rig, &outsider.wrap(&inner), Verdict::SenderNotInVni, DROP);
        }
    });
}
