//! Control packets of BFD: which count, what is answered, and what silence comes to.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use vtep_abi::{BfdSession, Config, Verdict, VtepByIpKey};
use vtep_agent::plan::Step;
use vtep_bfd::{Diagnostic, Inner, Packet, State};
use vtep_tests::deadline::wait_for;

use super::rig::{FABRIC_MAC, HOST, HOST_V6, Rig, TOR_A, VNI};
use super::{DROP, NEXT, REDIRECT, check_uplink};

const OURS: u32 = 0x0102_0304;
const THEIRS: u32 = 0x0506_0708;
const SOURCE_PORT: u16 = 50_001;
const TOR_A_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 11);
/// Never, as far as a test is concerned.
const NEVER_SILENT: u64 = u64::MAX;
const SILENT: u64 = 1;

/// From the peer, 50 ms × 3.
fn packet() -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state: State::Up,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: THEIRS,
        your_discriminator: OURS,
        desired_min_tx_us: 50_000,
        required_min_rx_us: 50_000,
        required_min_echo_rx_us: 0,
    }
}

fn our_packet() -> Packet {
    Packet { my_discriminator: OURS, your_discriminator: THEIRS, ..packet() }
}

fn datagram(from: IpAddr, ttl: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(FABRIC_MAC.octets(), HOST.mac.octets());
    let ip = match from {
        IpAddr::V4(from) => ethernet.ipv4(from.octets(), HOST.address.octets(), ttl),
        IpAddr::V6(from) => ethernet.ipv6(from.octets(), HOST_V6.octets(), ttl),
    };
    let mut frame = Vec::new();
    ip.udp(55_555, port).write(&mut frame, payload).unwrap();
    frame
}

/// A session with TOR A, Up.
fn rig_with(rig: &mut Rig, transport: u8, silence_ns: u64) {
    rig.apply(&Step::SetConfig(Config {
        local_v6: HOST_V6.octets(),
        local_v4: HOST.address.octets(),
        tunnel_ifindex: rig.tunnel,
        udp_port: 4789_u16.to_be_bytes(),
        flags: Config::BFD,
    }));
    rig.apply(&Step::PutSenders(vec![(VtepByIpKey { vni: 0, address: TOR_A_V6.octets() }, TOR_A)]));
    let session = BfdSession {
        sent_ns: 0,
        silence_ns,
        packet: our_packet().bytes(),
        required_min_rx_us: 50_000,
        source_port: SOURCE_PORT.to_be_bytes(),
        transport,
        flags: BfdSession::WATCHED,
    };
    rig.kernel.bfd().unwrap().set(TOR_A, &session).unwrap();
}

fn heard(rig: &Rig) -> u64 {
    rig.kernel.bfd_heard(TOR_A).unwrap().heard
}

#[test]
fn only_packets_of_the_session_from_where_it_is_keep_a_vtep_alive() {
    Rig::with(|rig| {
        rig_with(rig, BfdSession::SINGLE_HOP, NEVER_SILENT);
        let tor = IpAddr::from(Rig::address(TOR_A));
        check_uplink(rig, &datagram(tor, 255, 3784, &packet().bytes()), Verdict::Bfd, DROP);
        check_uplink(rig, &datagram(TOR_A_V6.into(), 255, 3784, &packet().bytes()), Verdict::Bfd, DROP);
        assert_eq!(heard(rig), 2);

        let with = |change: fn(&mut [u8; 24])| {
            let mut bytes = packet().bytes();
            change(&mut bytes);
            datagram(tor, 255, 3784, &bytes)
        };
        let refused = [
            datagram(tor, 254, 3784, &packet().bytes()),
            datagram(tor, 255, 3784, &packet().bytes()[..23]),
            with(|bytes| bytes[0] = 0x40),
            with(|bytes| bytes[1] = 0x40),
            with(|bytes| bytes[1] |= 0x04),
            with(|bytes| bytes[1] |= 0x02),
            with(|bytes| bytes[1] |= 0x30),
            with(|bytes| bytes[2] = 0),
            with(|bytes| bytes[3] = 26),
            with(|bytes| bytes[11] ^= 1),
            with(|bytes| bytes[4..8].fill(0)),
        ];
        for frame in &refused {
            // They are handed up, for the agent to say what is wrong with them.
            check_uplink(rig, frame, Verdict::Bfd, DROP);
        }
        // Of nobody that we know, and of a transport for which there is no session: a daemon of the host's may have one.
        let stranger = IpAddr::from([192, 0, 2, 99]);
        check_uplink(rig, &datagram(stranger, 255, 3784, &packet().bytes()), Verdict::NotOurs, NEXT);
        check_uplink(rig, &datagram(tor, 255, 4784, &packet().bytes()), Verdict::NotOurs, NEXT);
        assert_eq!(heard(rig), 2);

        rig_with(rig, BfdSession::MULTI_HOP, NEVER_SILENT);
        check_uplink(rig, &datagram(tor, 60, 4784, &packet().bytes()), Verdict::Bfd, DROP);
        assert_eq!(heard(rig), 3, "routers lower the TTL");
    });
}

#[test]
fn while_the_agent_is_silent_the_program_turns_packets_round() {
    Rig::with(|rig| {
        let transports = [(BfdSession::SINGLE_HOP, 255, 3784), (BfdSession::MULTI_HOP, 61, 4784)];
        for (transport, ttl, port) in transports {
            for from in [IpAddr::from(Rig::address(TOR_A)), TOR_A_V6.into()] {
                for poll in [false, true] {
                    rig_with(rig, transport, SILENT);
                    let frame = datagram(from, ttl, port, &Packet { poll, ..packet() }.bytes());
                    let answer = check_uplink(rig, &frame, Verdict::BfdAnswered, REDIRECT);
                    check_answer(&answer, from, port, poll);
                }
            }
        }
        // An agent that speaks is not interrupted.
        rig_with(rig, BfdSession::SINGLE_HOP, NEVER_SILENT);
        let frame = datagram(Rig::address(TOR_A).into(), 255, 3784, &packet().bytes());
        check_uplink(rig, &frame, Verdict::Bfd, DROP);
    });
}

#[track_caller]
fn check_answer(frame: &[u8], to: IpAddr, port: u16, polled: bool) {
    assert_eq!(frame[..6], FABRIC_MAC.octets(), "by the way of the VTEP's frames");
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP in {frame:x?}") };
    let header = udp.to_header();
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header();
            assert_eq!((ip.source_addr(), IpAddr::from(ip.destination_addr())), (HOST.address, to));
            assert_eq!((ip.ttl(), ip.header_checksum()), (255, ip.to_header().calc_header_checksum()));
            assert_eq!(header.checksum, 0);
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header();
            assert_eq!((ip.source_addr(), IpAddr::from(ip.destination_addr())), (HOST_V6, to));
            assert_eq!(ip.hop_limit(), 255);
            let sum = header.calc_checksum_ipv6(&ip.to_header(), udp.payload()).unwrap();
            assert_eq!(header.checksum, sum);
        }
        NetSlice::Arp(arp) => panic!("{arp:?}"),
    }
    assert_eq!((header.source_port, header.destination_port), (SOURCE_PORT, port));
    let answer = Packet::parse(udp.payload()).unwrap();
    assert_eq!(answer, Packet { is_final: polled, ..our_packet() });
}

#[test]
fn inside_vxlan_both_headers_are_turned_round() {
    Rig::with(|rig| {
        rig_with(rig, BfdSession::VXLAN, SILENT);
        let theirs = Inner {
            dst_mac: Inner::DST_MAC,
            src_mac: [2, 0, 0, 0, 0, 9],
            dst_ip: Inner::LOCAL_IP,
            src_ip: Inner::REMOTE_IP,
            src_port: 55_555,
        };
        let mut payload = vec![8, 0, 0, 0];
        payload.extend((VNI << 8).to_be_bytes());
        payload.extend(theirs.wrap(&packet()));
        let tor = Rig::address(TOR_A);
        let answer =
            check_uplink(rig, &datagram(tor.into(), 64, 4789, &payload), Verdict::BfdAnswered, REDIRECT);
        let outer = SlicedPacket::from_ethernet(&answer).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &outer.net else { panic!("no IPv4 in {answer:x?}") };
        let ip = ip.header();
        assert_eq!((ip.source_addr(), ip.destination_addr()), (HOST.address, tor));
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        let Some(TransportSlice::Udp(udp)) = outer.transport else { panic!("no UDP in {answer:x?}") };
        assert_eq!((udp.destination_port(), udp.checksum()), (4789, 0));
        assert_eq!(udp.payload()[..8], payload[..8], "the VNI stays");
        let (port, ttl, control) = Inner::unwrap(&udp.payload()[8..]).unwrap();
        assert_eq!((port, ttl, Packet::parse(control)), (3784, 255, Ok(our_packet())));
        // What only looks like it is no tenant's either.
        let mut other = payload.clone();
        other[8 + 37] = 1;
        check_uplink(rig, &datagram(tor.into(), 64, 4789, &other), Verdict::OuterMalformed, DROP);
    });
}

#[test]
fn silence_takes_a_vtep_down_and_a_farewell_does_not() {
    Rig::once(false, |rig| {
        rig_with(rig, BfdSession::MULTI_HOP, NEVER_SILENT);
        let tor = IpAddr::from(Rig::address(TOR_A));
        let within = Duration::from_secs(20);
        let up = |rig: &Rig| rig.kernel.vtep_oper_up(TOR_A).unwrap();

        // Three seconds: a test that is held up for less is no silence.
        let packet = || Packet { desired_min_tx_us: 1_000_000, ..packet() };
        let alive = datagram(tor, 255, 4784, &packet().bytes());
        let farewell = Packet { state: State::AdminDown, ..packet() };
        check_uplink(rig, &alive, Verdict::Bfd, DROP);
        check_uplink(rig, &datagram(tor, 255, 4784, &farewell.bytes()), Verdict::Bfd, DROP);
        std::thread::sleep(Duration::from_secs(4));
        assert!(up(rig), "it said so");

        check_uplink(rig, &alive, Verdict::Bfd, DROP);
        assert!(up(rig));
        // What is no packet in order is no farewell.
        for (at, byte) in [(1, 0x30), (1, 0x04), (2, 0), (3, 26)] {
            let mut bytes = farewell.bytes();
            bytes[at] = byte;
            assert!(Packet::parse(&bytes).is_err());
            check_uplink(rig, &datagram(tor, 255, 4784, &bytes), Verdict::Bfd, DROP);
        }
        wait_for("the timer", within, || (!up(rig)).then_some(())).unwrap();
        assert_eq!(rig.kernel.bfd_heard(TOR_A).unwrap().expired, 1);
        check_uplink(rig, &alive, Verdict::Bfd, DROP);
        assert!(!up(rig), "only the agent brings it back");
    });
}
