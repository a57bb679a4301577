//! The loaded programs on built frames: outer and inner bytes, verdicts and counters. What a test-run cannot set
//! (tags, tunnel metadata, super-packets) is tested in namespaces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "packet/bfd.rs"]
mod bfd;
#[path = "packet/flood.rs"]
mod flood;
#[path = "packet/outer.rs"]
mod outer;
#[path = "packet/packet_rate.rs"]
mod packet_rate;
#[path = "packet/rig.rs"]
mod rig;

use rig::{
    FABRIC_MAC, HOST, PEER, PEER_2, Rig, TOR_A, TOR_B, TOR_LOST, TOR_UNRESOLVED, VM, VM_2, VNI, VNI_STRICT,
};
use vtep_abi::{
    Counter, FdbValue, Limit, LocalPort, PortStats, PortValue, Target, Verdict, VniValue, VtepByIpKey,
    mapped_v4,
};
use vtep_agent::{
    dataplane::{FdbTarget, Network, PortId, VtepRow},
    kernel::Program,
    plan::Step,
};
use vtep_api::MacAddr;
use vtep_tests::frame::{self, Endpoint};

/// `TC_ACT_SHOT`, `TC_ACT_REDIRECT` and `TCX_NEXT`.
const DROP: u32 = 2;
const REDIRECT: u32 = 7;
const NEXT: u32 = u32::MAX;

/// A test-run takes no IPv4 frame without its whole IP header.
const TEST_RUN_MIN: usize = 34;

const TO_MASTER: FdbTarget = FdbTarget { master: Target::Vtep(TOR_A), slave: Target::Vtep(TOR_B), flags: 0 };

#[track_caller]
fn check_port(rig: &mut Rig, frame: &[u8], verdict: Verdict, action: u32) -> Vec<u8> {
    let seen = rig.run(Program::PortIn, frame, rig.port);
    assert_eq!((seen.verdict, seen.action), (verdict, action));
    assert_eq!(seen.bytes, frame.len() as u64, "bytes are those of the frame as it came");
    seen.frame
}

#[track_caller]
fn check_uplink(rig: &mut Rig, frame: &[u8], verdict: Verdict, action: u32) -> Vec<u8> {
    let seen = rig.run(Program::UplinkIn, frame, rig.uplink);
    assert_eq!((seen.verdict, seen.action), (verdict, action));
    seen.frame
}

#[test]
fn a_frame_for_a_remote_mac_leaves_in_vxlan_to_the_master() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let inner = frame::udp(VM, PEER, b"payload");
        let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
        let (outer, carried) = frame::decap(&sent).unwrap();
        assert_eq!(carried, inner);
        assert_eq!(outer.to.address, Rig::address(TOR_A));
        assert_eq!(outer.to.mac, FABRIC_MAC);
        assert_eq!(outer.to.port, 4789);
        assert_eq!((outer.from.address, outer.from.mac), (HOST.address, HOST.mac));
        assert!(outer.from.port >= 0xc000, "source port {} is not in the dynamic range", outer.from.port);
        assert_eq!((outer.vni, outer.flags, outer.udp_checksum), (VNI, 8, 0));
        assert_eq!((outer.ttl, outer.tos, outer.dont_fragment), (64, 0, true));
    });
}

#[test]
fn arp_for_a_known_mac_leaves_like_any_other_frame() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let mut inner = frame::arp_request(VM, PEER.address);
        inner[..6].copy_from_slice(&PEER.mac.octets());
        let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
        let (outer, carried) = frame::decap(&sent).unwrap();
        assert_eq!((outer.vni, carried), (VNI, inner));
    });
}

#[test]
fn the_inner_ecn_field_is_copied_to_the_outer_header() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        for ecn in 0..4 {
            let mut inner = frame::udp(VM, PEER, b"payload");
            inner[15] = 0xb8 | ecn;
            let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
            assert_eq!(sent[15], ecn, "DSCP is ours, ECN the frame's (RFC 6040 §4.1)");
        }
    });
}

#[test]
fn flows_differ_in_source_port_and_one_flow_keeps_its_own() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let mut port_of = |number: u16| {
            let inner = frame::udp(Endpoint { port: number, ..VM }, PEER, b"");
            let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
            frame::decap(&sent).unwrap().0.from.port
        };
        let ports: std::collections::BTreeSet<u16> = (1000..1064).map(&mut port_of).collect();
        assert!(ports.len() > 32, "64 flows share {} source ports", ports.len());
        assert_eq!(port_of(1000), port_of(1000));
    });
}

#[test]
fn a_port_counts_what_comes_from_it_what_of_that_is_dropped_and_what_is_sent_to_it() {
    Rig::with(|rig| {
        let inner = frame::udp(VM, PEER, b"payload");
        let bytes = inner.len() as u64;
        rig.put(VNI, PEER.mac, TO_MASTER);
        check_port(rig, &inner, Verdict::Master, REDIRECT);
        rig.put(VNI, PEER.mac, FdbTarget { master: Target::Vtep(TOR_LOST), slave: Target::None, flags: 0 });
        check_port(rig, &inner, Verdict::NoRoute, DROP);
        let local = FdbTarget { master: Target::LocalPort(2), slave: Target::None, flags: 0 };
        rig.put(VNI, PEER.mac, local);
        check_port(rig, &inner, Verdict::Local, REDIRECT);
        let count = |packets| Counter { packets, bytes: packets * bytes };
        let expected = PortStats {
            received: count(3),
            dropped: count(1),
            sent: Counter::default(),
            ..PortStats::default()
        };
        assert_eq!(rig.kernel.port_stats(1).unwrap(), expected);
        assert_eq!(rig.kernel.port_stats(2).unwrap(), PortStats { sent: count(1), ..PortStats::default() });
    });
}

#[test]
fn the_slave_serves_while_the_master_is_down_and_nobody_when_both_are() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let inner = frame::udp(VM, PEER, b"");
        rig.set_up(TOR_A, false);
        let sent = check_port(rig, &inner, Verdict::Slave, REDIRECT);
        assert_eq!(frame::decap(&sent).unwrap().0.to.address, Rig::address(TOR_B));
        assert_eq!(rig.kernel.vtep_stats(TOR_B).unwrap().served_as_slave, 1);
        rig.set_up(TOR_B, false);
        check_port(rig, &inner, Verdict::BothDown, DROP);
        rig.set_up(TOR_A, true);
        check_port(rig, &inner, Verdict::Master, REDIRECT);
    });
}

#[test]
fn a_vtep_without_a_next_hop_goes_through_the_tunnel_device_and_without_a_route_nowhere() {
    Rig::with(|rig| {
        let inner = frame::udp(VM, PEER, b"");
        rig.put(
            VNI,
            PEER.mac,
            FdbTarget { master: Target::Vtep(TOR_UNRESOLVED), slave: Target::None, flags: 0 },
        );
        let left = check_port(rig, &inner, Verdict::Device, REDIRECT);
        assert_eq!(left, inner, "the device encapsulates, not the program");
        rig.put(VNI, PEER.mac, FdbTarget { master: Target::Vtep(TOR_LOST), slave: Target::None, flags: 0 });
        check_port(rig, &inner, Verdict::NoRoute, DROP);
    });
}

#[test]
fn a_frame_is_dropped_from_the_first_byte_beyond_the_path_mtu() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        // Outer IPv4, UDP and VXLAN, inner Ethernet, IPv4 and UDP.
        let overhead = 20 + 8 + 8 + 14 + 20 + 8;
        let fits = frame::udp(VM, PEER, &vec![0; 1500 - overhead]);
        let sent = check_port(rig, &fits, Verdict::Master, REDIRECT);
        assert_eq!(sent.len(), 1514);
        check_port(rig, &frame::udp(VM, PEER, &vec![0; 1501 - overhead]), Verdict::TooBigTold, REDIRECT);
    });
}

#[test]
fn a_frame_for_another_port_is_dropped_from_the_first_byte_beyond_its_mtu() {
    Rig::with(|rig| {
        let of_len = |len: usize| frame::udp(VM, VM_2, &vec![0; len - 42]);
        check_port(rig, &of_len(1514), Verdict::Local, REDIRECT);
        let told = check_port(rig, &of_len(1515), Verdict::PortMtuTold, REDIRECT);
        assert_eq!((&told[34..36], &told[40..42]), (&[3, 4][..], &1500_u16.to_be_bytes()[..]));
        let mut unknown = of_len(1515);
        unknown[12..14].copy_from_slice(&[0x12, 0x34]);
        check_port(rig, &unknown, Verdict::PortMtu, DROP);
        let stats = rig.kernel.port_stats(2).unwrap();
        assert_eq!((stats.sent.packets, stats.too_big), (1, 2));
        // Too long for the port and for the underlay.
        unknown[..6].fill(0xff);
        check_port(rig, &unknown, Verdict::TooBig, DROP);
        assert_eq!(rig.kernel.port_stats(2).unwrap().too_big, 3);
    });
}

#[test]
fn a_frame_from_the_underlay_is_dropped_from_the_first_byte_beyond_its_ports_mtu() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        let of_len =
            |len: usize| frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, &vec![0; len - 42]));
        check_uplink(rig, &of_len(1514), Verdict::Delivered, REDIRECT);
        check_uplink(rig, &of_len(1515), Verdict::PortMtu, DROP);
        let stats = rig.kernel.port_stats(1).unwrap();
        assert_eq!((stats.sent.packets, stats.too_big), (1, 1));
    });
}

#[test]
fn the_sender_of_a_frame_that_is_too_big_is_told_by_icmp() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let sent = frame::udp(VM, PEER, &[7; 1450]);
        let told = check_port(rig, &sent, Verdict::TooBigTold, REDIRECT);
        let packet = etherparse::SlicedPacket::from_ethernet(&told).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("{told:?}") };
        let header = ip.header();
        assert_eq!((header.source_addr(), header.destination_addr()), (PEER.address, VM.address));
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        let Some(etherparse::TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("{told:?}") };
        assert!(
            icmp.icmp_type()
                == etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1450 }
                )
        );
        let expected = icmp.icmp_type().calc_checksum(icmp.payload());
        assert_eq!(icmp.checksum(), expected);
        assert_eq!(icmp.payload(), &sent[14..14 + 544], "the packet is quoted");
        assert_eq!((&told[..6], &told[6..12]), (&sent[6..12], &sent[..6]));
    });
}

#[test]
fn the_sender_of_an_ipv6_packet_that_is_too_big_is_told_by_icmpv6() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let sent = frame::udp_v6(VM, PEER, &[7; 1450]);
        let (vm, peer) = (frame::v6(VM.address), frame::v6(PEER.address));
        let told = check_port(rig, &sent, Verdict::TooBigTold, REDIRECT);
        let packet = etherparse::SlicedPacket::from_ethernet(&told).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = &packet.net else { panic!("{told:?}") };
        assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (peer, vm));
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &packet.transport else { panic!("{told:?}") };
        assert_eq!(icmp.icmp_type(), etherparse::Icmpv6Type::PacketTooBig { mtu: 1450 });
        assert!(icmp.is_checksum_valid(peer.octets(), vm.octets()));
        assert_eq!(icmp.payload(), &sent[14..14 + 1232]);
    });
}

#[test]
fn nobody_is_told_about_an_icmp_error_a_later_fragment_or_too_often() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let sent = frame::udp(VM, PEER, &[7; 1450]);
        let with = |at: usize, bytes: &[u8]| {
            let mut frame = sent.clone();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let icmp = |kind: u8| {
            let mut frame = with(23, &[1]);
            frame[34] = kind;
            frame
        };
        for kind in [3, 4, 5, 11, 12] {
            check_port(rig, &icmp(kind), Verdict::TooBig, DROP);
        }
        check_port(rig, &icmp(8), Verdict::TooBigTold, REDIRECT);
        check_port(rig, &with(20, &[0, 1]), Verdict::TooBig, DROP);
        for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            check_port(rig, &with(26, &source), Verdict::TooBig, DROP);
        }
        check_port(rig, &with(30, &[239, 1, 1, 1]), Verdict::TooBig, DROP);
        let told = (0..40)
            .filter(|_| rig.run(Program::PortIn, &sent, rig.port).verdict == Verdict::TooBigTold)
            .count();
        let burst = vtep_abi::TOO_BIG_LIMIT.burst as usize;
        assert!((burst - 1..40).contains(&told), "{told} were told");
    });
}

#[test]
fn a_storm_is_cut_to_the_limit_of_its_port_and_of_its_network() {
    // So slow that a test that is held up for a second or three gets no token back.
    const INTERVAL_NS: u32 = 4_000_000_000;
    const NARROW: Limit = Limit { interval_ns: INTERVAL_NS, burst: 3 };
    const NONE: Limit = Limit::per_sec(0, 0);
    for (port, network, verdict) in [
        (NARROW, NONE, Verdict::PortStorm),
        (NONE, NARROW, Verdict::VniStorm),
        (NARROW, Limit { burst: 9, ..NARROW }, Verdict::PortStorm),
    ] {
        Rig::with(|rig| {
            rig.set_flood_limits(port, network);
            let flooded = frame::arp_request(VM, PEER.address);
            for _ in 0..3 {
                check_port(rig, &flooded, Verdict::Flooded, DROP);
            }
            check_port(rig, &flooded, verdict, DROP);
            // Known unicast is no storm.
            rig.put(VNI, PEER.mac, TO_MASTER);
            check_port(rig, &frame::udp(VM, PEER, b""), Verdict::Master, REDIRECT);
            std::thread::sleep(std::time::Duration::from_nanos(u64::from(INTERVAL_NS)) * 11 / 10);
            check_port(rig, &flooded, Verdict::Flooded, DROP);
        });
    }
}

#[test]
fn a_port_sends_from_its_own_addresses_only() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        rig.enforce(VM.mac, VM.address, frame::v6(VM.address));
        check_port(rig, &frame::udp(VM, PEER, b""), Verdict::Master, REDIRECT);
        check_port(rig, &frame::udp_v6(VM, PEER, b""), Verdict::Master, REDIRECT);
        check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::Flooded, DROP);

        let other_mac = Endpoint { mac: PEER_2.mac, ..VM };
        check_port(rig, &frame::udp(other_mac, PEER, b""), Verdict::MacRefused, DROP);
        let other_ip = Endpoint { address: PEER_2.address, ..VM };
        check_port(rig, &frame::udp(other_ip, PEER, b""), Verdict::IpRefused, DROP);
        check_port(rig, &frame::udp_v6(other_ip, PEER, b""), Verdict::IpRefused, DROP);
        check_port(rig, &frame::arp_request(other_ip, PEER.address), Verdict::IpRefused, DROP);
        // The pair inside of ARP is another than the frame's.
        let mut poison = frame::arp_request(VM, PEER.address);
        poison[22..28].copy_from_slice(&PEER_2.mac.octets());
        check_port(rig, &poison, Verdict::IpRefused, DROP);
        let claim = frame::advertisement(VM, frame::v6(PEER.address));
        check_port(rig, &claim, Verdict::IpRefused, DROP);
        let own = frame::advertisement(VM, frame::v6(VM.address));
        check_port(rig, &own, Verdict::Flooded, DROP);
        let mut from_another = own;
        from_another[22..38].copy_from_slice(&frame::v6(PEER.address).octets());
        check_port(rig, &from_another, Verdict::IpRefused, DROP);

        // Who has no address yet may ask for one, and whether one is free.
        let nobody = Endpoint { address: [0, 0, 0, 0].into(), ..VM };
        let all = Endpoint { mac: MacAddr::BROADCAST, address: [255, 255, 255, 255].into(), port: 67 };
        check_port(rig, &frame::udp(nobody, all, b""), Verdict::Flooded, DROP);
        check_port(rig, &frame::arp_request(nobody, VM.address), Verdict::Flooded, DROP);
        rig.apply(&Step::Forbid(vec![vtep_abi::AllowedKey::mac(rig.port, VM.mac.octets())]));
        check_port(rig, &frame::udp(VM, PEER, b""), Verdict::MacRefused, DROP);
    });
}

#[test]
fn an_arp_request_for_a_known_address_is_answered() {
    Rig::with(|rig| {
        let request = frame::arp_request(VM, PEER.address);
        rig.know(PEER.mac, mapped_v4(PEER.address.octets()));
        check_port(rig, &request, Verdict::Flooded, DROP);
        rig.set_network_flags(VNI, VniValue::SUPPRESS);
        // The address is known, but nobody knows where its MAC lives.
        check_port(rig, &request, Verdict::Flooded, DROP);
        rig.put(VNI, PEER.mac, TO_MASTER);
        let answer = check_port(rig, &request, Verdict::Answered, REDIRECT);
        assert_eq!(answer, frame::arp_reply(PEER, VM));

        check_port(rig, &frame::arp_request(VM, PEER_2.address), Verdict::Flooded, DROP);
        // Gratuitous ARP and probes are for everybody.
        check_port(
            rig,
            &frame::arp_request(Endpoint { mac: VM.mac, ..PEER }, PEER.address),
            Verdict::Flooded,
            DROP,
        );
        let nobody = Endpoint { address: [0, 0, 0, 0].into(), ..VM };
        check_port(rig, &frame::arp_request(nobody, PEER.address), Verdict::Flooded, DROP);
        // Who is behind the port that asks answers for itself.
        rig.know(VM_2.mac, mapped_v4(VM_2.address.octets()));
        let other = FdbTarget { master: Target::LocalPort(1), slave: Target::None, flags: 0 };
        rig.put(VNI, VM_2.mac, other);
        check_port(rig, &frame::arp_request(VM, VM_2.address), Verdict::Flooded, DROP);
        rig.put(VNI, VM_2.mac, FdbTarget { master: Target::LocalPort(2), ..other });
        check_port(rig, &frame::arp_request(VM, VM_2.address), Verdict::Answered, REDIRECT);
    });
}

#[test]
fn a_neighbour_solicitation_for_a_known_address_is_answered() {
    Rig::with(|rig| {
        rig.set_network_flags(VNI, VniValue::SUPPRESS);
        rig.put(VNI, PEER.mac, TO_MASTER);
        let (vm, peer) = (frame::v6(VM.address), frame::v6(PEER.address));
        rig.know(PEER.mac, peer.octets());
        for with_option in [true, false] {
            let asked = frame::solicitation(VM, vm, peer, with_option);
            let answer = check_port(rig, &asked, Verdict::Answered, REDIRECT);
            let packet = etherparse::SlicedPacket::from_ethernet(&answer).unwrap();
            let Some(etherparse::NetSlice::Ipv6(ip)) = &packet.net else { panic!("{answer:?}") };
            let header = ip.header();
            assert_eq!(
                (header.source_addr(), header.destination_addr(), header.hop_limit()),
                (peer, vm, 255)
            );
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &packet.transport else {
                panic!("{answer:?}")
            };
            assert!(icmp.is_checksum_valid(peer.octets(), vm.octets()));
            assert_eq!((answer.len(), icmp.type_u8(), icmp.bytes5to8()), (86, 136, [0x60, 0, 0, 0]));
            assert_eq!(icmp.payload(), [&peer.octets()[..], &[2, 1], &PEER.mac.octets()].concat());
            assert_eq!((&answer[..6], &answer[6..12]), (&VM.mac.octets()[..], &PEER.mac.octets()[..]));
        }
        let unspecified = std::net::Ipv6Addr::UNSPECIFIED;
        check_port(rig, &frame::solicitation(VM, unspecified, peer, false), Verdict::Flooded, DROP);
        check_port(rig, &frame::advertisement(VM, peer), Verdict::Flooded, DROP);
        let router = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        rig.know(PEER.mac, router.octets());
        check_port(rig, &frame::solicitation(VM, vm, router, true), Verdict::Flooded, DROP);
        let mut from_afar = frame::solicitation(VM, vm, peer, true);
        from_afar[21] = 64;
        check_port(rig, &from_afar, Verdict::Flooded, DROP);
    });
}

#[test]
fn a_frame_between_ports_of_one_network_is_not_encapsulated() {
    Rig::with(|rig| {
        let inner = frame::udp(VM, VM_2, b"payload");
        let left = check_port(rig, &inner, Verdict::Local, REDIRECT);
        assert_eq!(left, inner);
        check_port(rig, &frame::udp(VM_2, VM, b""), Verdict::SamePort, DROP);
        rig.apply(&Step::RemoveLocalPorts(vec![2]));
        check_port(rig, &inner, Verdict::PortGone, DROP);
    });
}

#[test]
fn equal_macs_of_two_networks_are_kept_apart() {
    Rig::with(|rig| {
        rig.put(VNI_STRICT, PEER.mac, TO_MASTER);
        let inner = frame::udp(VM, PEER, b"");
        // In the port's own network the MAC is unknown, whatever the other one knows.
        check_port(rig, &inner, Verdict::Flooded, DROP);
        rig.put(VNI, PEER.mac, FdbTarget { master: Target::Vtep(TOR_B), ..TO_MASTER });
        let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
        assert_eq!(frame::decap(&sent).unwrap().0.vni, VNI);
    });
}

#[test]
fn unknown_unicast_follows_the_policy_of_its_network() {
    Rig::with(|rig| {
        let unknown = frame::udp(VM, PEER_2, b"");
        check_port(rig, &unknown, Verdict::Flooded, DROP);
        rig.bind(rig.port, 0, VNI_STRICT, 1);
        check_port(rig, &unknown, Verdict::UnknownUnicast, DROP);
        // Broadcast is flooded all the same, though this network has nobody to flood to.
        check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::NoMembers, DROP);
        rig.apply(&Step::RemoveNetworks(vec![VNI_STRICT]));
        check_port(rig, &unknown, Verdict::UnknownVni, DROP);
    });
}

#[test]
fn an_unbound_port_and_a_group_source_are_refused() {
    Rig::with(|rig| {
        let group = Endpoint { mac: MacAddr::new([1, 0, 0x5e, 0, 0, 1]), ..VM };
        check_port(rig, &frame::udp(group, PEER, b""), Verdict::GroupSource, DROP);
        let nobody = Endpoint { mac: MacAddr::new([0; 6]), ..VM };
        check_port(rig, &frame::udp(nobody, PEER, b""), Verdict::GroupSource, DROP);
        let seen = rig.run(Program::PortIn, &frame::udp(VM, PEER, b""), rig.uplink);
        assert_eq!((seen.verdict, seen.action), (Verdict::Unbound, DROP));
    });
}

#[test]
fn a_flood_reaches_every_member_once_but_not_the_port_that_it_came_from() {
    Rig::with(|rig| {
        let before = rig.copies().unwrap();
        check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::Flooded, DROP);
        let after = rig.copies().unwrap();
        assert_eq!(after.port - before.port, 0, "the port that it came from");
        assert_eq!(after.port_2 - before.port_2, 1);
        assert_eq!(after.uplink - before.uplink, 2, "one copy to each TOR");
        for tor in [TOR_A, TOR_B] {
            assert_eq!(rig.kernel.vtep_stats(tor).unwrap().sent.packets, 1);
        }
    });
}

#[test]
fn a_flood_skips_a_vtep_that_is_down() {
    Rig::with(|rig| {
        rig.set_up(TOR_B, false);
        let before = rig.copies().unwrap();
        check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::Flooded, DROP);
        assert_eq!(rig.copies().unwrap().uplink - before.uplink, 1);
        assert_eq!(rig.kernel.vtep_stats(TOR_B).unwrap().sent.packets, 0);
    });
}

#[test]
fn a_flood_list_without_members_drops() {
    Rig::with(|rig| {
        rig.apply(&Step::PutNetworks(vec![(
            VNI,
            Network { bd: 1, flags: 0, flood: vec![Target::LocalPort(1)], ..Network::default() },
        )]));
        check_port(rig, &frame::arp_request(VM, PEER.address), Verdict::NoMembers, DROP);
    });
}

#[test]
fn a_frame_from_a_known_vtep_is_decapsulated_for_a_port_that_asks_for_it() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        for inner in [frame::udp(PEER, VM, b"payload"), arp_reply_like(PEER, VM)] {
            let left =
                check_uplink(rig, &frame::vxlan(tor(TOR_A), HOST, VNI, &inner), Verdict::Delivered, REDIRECT);
            assert_eq!(left, inner);
        }
        assert_eq!(rig.kernel.vtep_stats(TOR_A).unwrap().received.packets, 2);
    });
}

#[test]
fn what_was_looked_up_counts_until_it_changes() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        let inward = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b""));
        let outward = frame::udp(VM, VM_2, b"");
        rig.take_xdp(2);
        let check_both = |rig: &mut Rig| {
            check_uplink(rig, &inward, Verdict::Delivered, REDIRECT);
            check_port(rig, &outward, Verdict::Local, REDIRECT);
        };
        check_both(rig);

        let key = VtepByIpKey { vni: VNI, address: mapped_v4(Rig::address(TOR_A).octets()) };
        rig.apply(&Step::RemoveSenders(vec![key]));
        check_uplink(rig, &inward, Verdict::SenderNotInVni, DROP);
        rig.apply(&Step::PutSenders(vec![(key, TOR_B)]));
        check_uplink(rig, &inward, Verdict::Delivered, REDIRECT);
        assert_eq!(
            rig.kernel.vtep_stats(TOR_B).unwrap().received.packets,
            1,
            "the address is another VTEP's"
        );

        let network = rig.kernel.installed().unwrap().networks[&VNI].clone();
        rig.apply(&Step::RemoveNetworks(vec![VNI]));
        check_uplink(rig, &inward, Verdict::UnknownVni, DROP);
        rig.apply(&Step::PutNetworks(vec![(VNI, network)]));
        check_both(rig);
        rig.set_network_flags(VNI, VniValue::CHECK_SOURCE);
        check_uplink(rig, &inward, Verdict::WrongSource, DROP);

        let id = PortId { ifindex: rig.port, vlan: 0 };
        rig.apply(&Step::RemovePorts(vec![id]));
        check_port(rig, &outward, Verdict::Unbound, DROP);
        rig.bind(rig.port, 0, VNI_STRICT, 1);
        check_port(rig, &outward, Verdict::UnknownUnicast, DROP);
        rig.bind(rig.port, 0, VNI, 1);
        check_port(rig, &outward, Verdict::Local, REDIRECT);
    });
}

#[test]
fn frames_for_other_ports_and_floods_are_left_to_the_tunnel_device() {
    Rig::with(|rig| {
        let unicast = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b""));
        let left = check_uplink(rig, &unicast, Verdict::Admitted, NEXT);
        assert_eq!(left, unicast);
        let broadcast = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::arp_request(PEER, VM.address));
        check_uplink(rig, &broadcast, Verdict::Admitted, NEXT);
    });
}

/// RFC 6040 §4.2, figure 4: a row for each inner field, a column for each outer one; both in the order Not-ECT, ECT(0),
/// ECT(1), CE.
const ECN: [u8; 4] = [0, 2, 1, 3];
const COMBINED: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(2), Some(2), Some(1), Some(3)],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

#[test]
fn ecn_fields_are_combined_where_the_program_decapsulates_and_not_before_the_device() {
    Rig::with(|rig| {
        for in_program in [true, false] {
            if in_program {
                rig.decap_in_program(1);
            } else {
                rig.bind(rig.port, 0, VNI, 1);
            }
            for (inner_ecn, row) in ECN.into_iter().zip(COMBINED) {
                for (outer_ecn, combined) in ECN.into_iter().zip(row) {
                    for of in [frame::udp(PEER, VM, b"payload"), frame::udp_v6(PEER, VM, b"payload")] {
                        let inner = frame::with_tos(&of, 0xb8 | inner_ecn);
                        let sent = frame::with_tos(&frame::vxlan(tor(TOR_A), HOST, VNI, &inner), outer_ecn);
                        let Some(combined) = combined else {
                            check_uplink(rig, &sent, Verdict::EcnCongested, DROP);
                            continue;
                        };
                        if in_program {
                            let left = check_uplink(rig, &sent, Verdict::Delivered, REDIRECT);
                            let expected = frame::with_tos(&of, 0xb8 | combined);
                            assert_eq!(left, expected, "inner {inner_ecn}, outer {outer_ecn}");
                        } else {
                            assert_eq!(check_uplink(rig, &sent, Verdict::Admitted, NEXT), sent);
                        }
                    }
                }
            }
        }
        // What is not IP has no field.
        rig.decap_in_program(1);
        let arp = arp_reply_like(PEER, VM);
        let sent = frame::with_tos(&frame::vxlan(tor(TOR_A), HOST, VNI, &arp), 3);
        assert_eq!(check_uplink(rig, &sent, Verdict::Delivered, REDIRECT), arp);
    });
}

#[test]
fn the_bytes_of_a_frame_from_the_underlay_are_those_of_the_inner_one() {
    Rig::with(|rig| {
        let inner = frame::udp(PEER, VM, b"payload");
        let frame = frame::vxlan(tor(TOR_A), HOST, VNI, &inner);
        assert_eq!(rig.run(Program::UplinkIn, &frame, rig.uplink).bytes, inner.len() as u64);
        rig.decap_in_program(1);
        assert_eq!(rig.run(Program::UplinkIn, &frame, rig.uplink).bytes, inner.len() as u64);
    });
}

#[test]
fn what_the_uplink_did_not_admit_does_not_leave_the_tunnel_device() {
    Rig::with(|rig| {
        let seen = rig.run(Program::TunnelIn, &frame::udp(PEER, VM, b""), rig.tunnel);
        assert_eq!((seen.verdict, seen.action), (Verdict::NotAdmitted, DROP));
    });
}

#[test]
fn only_members_of_a_network_may_send_into_it() {
    Rig::with(|rig| {
        let inner = frame::udp(PEER, VM, b"");
        let stranger = Endpoint::new([2, 0, 0, 0, 9, 9], [192, 0, 2, 99], 50000);
        check_uplink(rig, &frame::vxlan(stranger, HOST, VNI, &inner), Verdict::UnknownSender, DROP);
        check_uplink(rig, &frame::vxlan(tor(TOR_LOST), HOST, VNI, &inner), Verdict::SenderNotInVni, DROP);
        check_uplink(rig, &frame::vxlan(tor(TOR_A), HOST, 4711, &inner), Verdict::UnknownVni, DROP);
    });
}

#[test]
fn a_frame_from_the_underlay_never_returns_to_it() {
    Rig::with(|rig| {
        rig.put(VNI, PEER_2.mac, TO_MASTER);
        let inner = frame::udp(PEER, PEER_2, b"");
        check_uplink(rig, &frame::vxlan(tor(TOR_A), HOST, VNI, &inner), Verdict::SplitHorizon, DROP);
        let group = Endpoint { mac: MacAddr::BROADCAST, ..PEER };
        let inner = frame::udp(group, VM, b"");
        check_uplink(rig, &frame::vxlan(tor(TOR_A), HOST, VNI, &inner), Verdict::GroupSource, DROP);
        rig.bind(rig.port, 0, VNI_STRICT, 1);
        let inner = frame::udp(PEER, PEER_2, b"");
        check_uplink(rig, &frame::vxlan(tor(TOR_A), HOST, VNI_STRICT, &inner), Verdict::UnknownUnicast, DROP);
    });
}

#[test]
fn the_vxlan_header_needs_its_flag_and_reserved_bits_are_ignored() {
    Rig::with(|rig| {
        let good = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b""));
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            frame
        };
        check_uplink(rig, &with(42, 0), Verdict::VxlanFlags, DROP);
        check_uplink(rig, &with(42, 0xff), Verdict::Admitted, NEXT);
        check_uplink(rig, &with(49, 0xff), Verdict::Admitted, NEXT);
        // A UDP checksum that is not zero is accepted too (RFC 7348 §4.1 lets a receiver verify it).
        check_uplink(rig, &with(40, 0x12), Verdict::Admitted, NEXT);
    });
}

#[test]
fn what_is_not_vxlan_to_our_address_is_the_hosts() {
    Rig::with(|rig| {
        let inner = frame::udp(PEER, VM, b"");
        let other_address = Endpoint { address: [192, 0, 2, 77].into(), ..HOST };
        let other_port = Endpoint { port: 53, ..HOST };
        for frame in [
            frame::vxlan(tor(TOR_A), other_address, VNI, &inner),
            frame::vxlan(tor(TOR_A), other_port, VNI, &inner),
            frame::arp_request(tor(TOR_A), HOST.address),
            // A later fragment has no ports.
            fragment(&frame::vxlan(tor(TOR_A), HOST, VNI, &inner), 0x0010),
        ] {
            let left = check_uplink(rig, &frame, Verdict::NotOurs, NEXT);
            assert_eq!(left, frame);
        }
        let first = fragment(&frame::vxlan(tor(TOR_A), HOST, VNI, &inner), 0x2000);
        check_uplink(rig, &first, Verdict::OuterFragment, DROP);
    });
}

/// Whatever is missing, no frame is delivered and nothing but a verdict comes of it.
#[test]
fn a_vxlan_frame_cut_at_any_length_is_refused() {
    Rig::with(|rig| {
        rig.decap_in_program(1);
        let whole = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b"payload"));
        for length in TEST_RUN_MIN..whole.len() {
            let seen = rig.run(Program::UplinkIn, &whole[..length], rig.uplink);
            let expected = if length < 42 { Verdict::NotOurs } else { Verdict::OuterMalformed };
            assert_eq!(seen.verdict, expected, "cut to {length} bytes");
        }
        check_uplink(rig, &whole, Verdict::Delivered, REDIRECT);
    });
}

#[test]
fn a_port_frame_of_any_length_is_carried_whole() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let udp = frame::udp(VM, PEER, b"payload");
        let arp = arp_reply_like(VM, PEER);
        let cuts = (TEST_RUN_MIN..udp.len()).map(|length| &udp[..length]);
        for cut in cuts.chain((15..arp.len()).map(|length| &arp[..length])) {
            let seen = rig.run(Program::PortIn, cut, rig.port);
            match seen.verdict {
                Verdict::Master => assert_eq!(&seen.frame[50..], cut),
                // The kernel's encapsulation helper wants an IP header where the frame says IP.
                Verdict::Device => assert_eq!(seen.frame, cut),
                other => panic!("{other:?} for a frame of {} bytes", cut.len()),
            }
        }
    });
}

#[test]
fn outer_lengths_and_sums_that_are_wrong_are_refused() {
    Rig::with(|rig| {
        let good = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b"payload"));
        for (at, byte) in [(17, 0xff), (17, 20), (39, 0xff), (39, 8), (39, 0)] {
            let mut frame = good.clone();
            frame[at] = byte;
            check_uplink(rig, &frame, Verdict::OuterMalformed, DROP);
        }
        // The checksum itself, and the source that would admit it.
        for at in [24, 29] {
            let mut frame = good.clone();
            frame[at] ^= 1;
            check_uplink(rig, &frame, Verdict::OuterMalformed, DROP);
        }
        // Ethernet pads what is short.
        let padded = [good.as_slice(), &[0; 6]].concat();
        check_uplink(rig, &padded, Verdict::Admitted, NEXT);
    });
}

#[test]
fn an_entry_that_names_nobody_is_unknown_unicast() {
    Rig::with(|rig| {
        rig.put(
            VNI,
            PEER.mac,
            FdbTarget { master: Target::None, slave: Target::None, flags: FdbValue::LEARNT },
        );
        check_port(rig, &frame::udp(VM, PEER, b""), Verdict::UnknownUnicast, DROP);
    });
}

#[test]
fn an_adjacency_is_replaced_between_two_frames() {
    Rig::with(|rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let inner = frame::udp(VM, PEER, b"");
        let other = MacAddr::new([2, 0, 0, 0, 0xfa, 2]);
        let mut adj = Rig::adjacency(TOR_A, rig.uplink);
        for mac in [other, FABRIC_MAC, other] {
            adj.set_macs(mac.octets(), HOST.mac.octets());
            rig.apply(&Step::PutVteps(vec![(TOR_A, VtepRow { adj, up: true, suspect: false })]));
            let sent = check_port(rig, &inner, Verdict::Master, REDIRECT);
            assert_eq!(frame::decap(&sent).unwrap().0.to.mac, mac);
        }
    });
}

#[test]
fn control_frames_of_one_link_pass_only_between_ports_that_ask() {
    Rig::with(|rig| {
        let bpdu = Endpoint { mac: MacAddr::new([1, 0x80, 0xc2, 0, 0, 0]), ..PEER };
        let frame = frame::udp(VM, bpdu, b"");
        check_port(rig, &frame, Verdict::LinkLocal, DROP);
        let beyond = Endpoint { mac: MacAddr::new([1, 0x80, 0xc2, 0, 0, 0x10]), ..PEER };
        check_port(rig, &frame::udp(VM, beyond, b""), Verdict::Flooded, DROP);
        rig.set_port_flags(1, PortValue::LINK_LOCAL, LocalPort::LINK_LOCAL);
        let before = rig.copies().unwrap();
        check_port(rig, &frame, Verdict::Flooded, DROP);
        let after = rig.copies().unwrap();
        assert_eq!((after.port_2 - before.port_2, after.uplink - before.uplink), (0, 2));
    });
}

/// Else a VM could keep a VTEP alive that is dead, or wear out the pace at which the far one reads control packets.
#[test]
fn a_port_does_not_speak_to_vteps_as_vteps_speak_to_each_other() {
    Rig::with(|rig| {
        let vteps = Endpoint { mac: MacAddr::new([0, 0x23, 0x20, 0, 0, 1]), port: 3784, ..PEER };
        let beside = Endpoint { mac: MacAddr::new([0, 0x23, 0x20, 0, 0, 2]), port: 3784, ..PEER };
        rig.put(VNI, vteps.mac, TO_MASTER);
        rig.put(VNI, beside.mac, TO_MASTER);
        check_port(rig, &frame::udp(VM, vteps, b""), Verdict::TenantBfd, DROP);
        check_port(rig, &frame::udp_v6(VM, vteps, b""), Verdict::TenantBfd, DROP);
        check_port(rig, &frame::udp(VM, beside, b""), Verdict::Master, REDIRECT);
    });
}

#[test]
fn a_source_from_the_underlay_is_neither_ours_nor_anothers_where_that_is_checked() {
    Rig::with(|rig| {
        let from = |inner: &[u8], vtep| frame::vxlan(tor(vtep), HOST, VNI, inner);
        let looped = frame::udp(VM_2, VM, b"");
        check_uplink(rig, &from(&looped, TOR_A), Verdict::LocalSource, DROP);
        let looped = frame::arp_request(VM, PEER.address);
        check_uplink(rig, &from(&looped, TOR_A), Verdict::LocalSource, DROP);

        let sent = frame::udp(PEER, VM, b"");
        check_uplink(rig, &from(&sent, TOR_A), Verdict::Admitted, NEXT);
        rig.set_network_flags(VNI, VniValue::CHECK_SOURCE);
        check_uplink(rig, &from(&sent, TOR_A), Verdict::WrongSource, DROP);
        let target = FdbTarget { master: Target::Vtep(TOR_A), slave: Target::None, flags: 0 };
        rig.put(VNI, PEER.mac, target);
        check_uplink(rig, &from(&sent, TOR_A), Verdict::Admitted, NEXT);
        check_uplink(rig, &from(&sent, TOR_B), Verdict::WrongSource, DROP);
        rig.put(VNI, PEER.mac, TO_MASTER);
        check_uplink(rig, &from(&sent, TOR_B), Verdict::Admitted, NEXT);
    });
}

fn tor(vtep: u32) -> Endpoint {
    Endpoint { mac: FABRIC_MAC, address: Rig::address(vtep), port: 50000 }
}

/// A frame that is not IP.
fn arp_reply_like(from: Endpoint, to: Endpoint) -> Vec<u8> {
    let mut frame = frame::arp_request(from, to.address);
    frame[..6].copy_from_slice(&to.mac.octets());
    frame
}

fn fragment(frame: &[u8], field: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame::mend_ipv4_checksum(&mut frame);
    frame
}
