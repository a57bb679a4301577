use core::net::IpAddr;
use std::vec::Vec;

use vtep_abi::{Config, Verdict, VtepAdj};

use crate::read::{self, IPV4_HEAD, IPV6_HEAD, TUNNEL_WORDS, Words};
use crate::{ETH_LEN, Encapsulation, Inner, InnerIp, Outer, Policy, Shape, TUNNEL_LEN, Tunnel};

const VNI: u32 = 0x00ab_cdef;
const POLICY: Policy =
    Policy { ttl: 64, dscp: 0, flags: VtepAdj::DONT_FRAGMENT, source_ports: (0xc000, 0xffff) };
const V4: (&str, &str) = ("192.168.255.254", "203.0.113.255");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8:ffff::2");
const ALL: [Encapsulation; 3] = [Encapsulation::Vxlan, Encapsulation::Geneve, Encapsulation::Nvgre];

fn adjacency(encapsulation: Encapsulation, (local, remote): (&str, &str), policy: Policy) -> VtepAdj {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let tunnel = Tunnel { encapsulation, local: ip(local), remote: ip(remote), udp_port: 4789 };
    let mut adj = tunnel.adjacency(&policy).unwrap();
    adj.set_macs([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    adj
}

fn inner(len: u32, ip: InnerIp, flow_hash: u32) -> Inner {
    let packet_len = len - ETH_LEN as u32;
    Inner { ethernet: [0xeeee; 7], vni: VNI, len, packet_len, ip, flow_hash, identification: 0x4711 }
}

/// The headers, and the inner Ethernet header behind them.
fn headers(adj: &VtepAdj, inner: &Inner) -> Vec<u8> {
    let shape = Shape::from_len(adj.outer_len).unwrap();
    Outer::new(adj, shape, inner).bytes(shape).to_vec()
}

/// A whole frame of 100 inner bytes, as the far end would send it to us.
fn frame(encapsulation: Encapsulation, ends: (&str, &str), inner: &Inner) -> Vec<u8> {
    let mut frame = headers(&adjacency(encapsulation, (ends.1, ends.0), POLICY), inner);
    frame.resize(frame.len() - ETH_LEN + inner.len as usize, 0);
    frame
}

fn config(flags: u16) -> Config {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (ip(V4.0), ip(V6.0)) else { panic!("one of each family") };
    Config {
        local_v6: v6.octets(),
        local_v4: v4.octets(),
        tunnel_ifindex: 9,
        udp_port: 4789_u16.to_be_bytes(),
        flags: Config::GENEVE | Config::NVGRE | flags,
    }
}

fn read(frame: &[u8], config: &Config) -> Option<read::Packet> {
    match frame[12..14] {
        [0x08, 0] => read::ipv4(&words::<IPV4_HEAD>(frame), config),
        [0x86, 0xdd] => read::ipv6(&words::<IPV6_HEAD>(frame), config),
        _ => panic!("it is not IP"),
    }
}

/// The first `N` of them.
fn words<const N: usize>(bytes: &[u8]) -> Words<N> {
    core::array::from_fn(|at| u16::from_ne_bytes([bytes[2 * at], bytes[2 * at + 1]]))
}

fn tunnel_header(frame: &[u8], packet: &read::Packet) -> Words<TUNNEL_WORDS> {
    words(&frame[packet.shape.outer_len() - TUNNEL_LEN..])
}

fn sum(words: &[u8]) -> u32 {
    let sum: u32 = words.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    (sum & 0xffff) + (sum >> 16)
}

#[test]
fn what_is_made_is_read_back() {
    for encapsulation in ALL {
        for (ends, is_ipv6) in [(V4, false), (V6, true)] {
            let ip = InnerIp { is_ip: true, tos: 2, ttl: 3, dont_fragment: false };
            let frame = frame(encapsulation, ends, &inner(100, ip, 0xdead_beef));
            let packet = read(&frame, &config(0)).expect("it is to us");
            assert_eq!(packet.encapsulation, encapsulation);
            assert_eq!(packet.shape.is_ipv6(), is_ipv6);
            assert_eq!((packet.tos, packet.checksummed), (2, false));
            assert_eq!(packet.end(frame.len() as u32, false), Ok(frame.len() as u32));
            assert_eq!(packet.end(frame.len() as u32 + 6, false), Ok(frame.len() as u32), "padded");
            assert_eq!(packet.end(frame.len() as u32 - 1, false), Err(Verdict::OuterMalformed));
            let header = tunnel_header(&frame, &packet);
            let strict = config(Config::STRICT_RESERVED);
            let read = read::tunnel(encapsulation, &header, &strict).expect("it is in order");
            assert_eq!((read.vni, read.options_len), (VNI, 0));
        }
    }
}

#[test]
fn an_ipv4_header_has_its_checksum_whatever_depends_on_the_frame() {
    for flags in [0, VtepAdj::DONT_FRAGMENT, VtepAdj::INHERIT_DONT_FRAGMENT, VtepAdj::INHERIT_TTL] {
        for dscp in [0, 46] {
            for (tos, ttl, len) in [(0, 1, 60), (3, 255, 1514), (0xff, 64, 70_000)] {
                let policy = Policy { dscp, flags, ..POLICY };
                let ip = InnerIp { is_ip: true, tos, ttl, dont_fragment: ttl == 1 };
                let adj = adjacency(Encapsulation::Vxlan, V4, policy);
                let headers = headers(&adj, &inner(len, ip, len));
                assert_eq!(sum(&headers[14..34]), 0xffff, "{policy:?}, {ip:?}, {len}");
            }
        }
    }
}

#[test]
fn fields_are_fixed_or_the_inner_packets() {
    #[track_caller]
    fn check(flags: u16, ip: InnerIp, (tos, ttl, dont_fragment): (u8, u8, bool)) {
        let policy = Policy { dscp: 10, flags, ..POLICY };
        let of_inner = inner(100, ip, 1);
        let v4 = headers(&adjacency(Encapsulation::Geneve, V4, policy), &of_inner);
        assert_eq!((v4[15], v4[22], v4[20] == 0x40), (tos, ttl, dont_fragment));
        let id = u16::from_be_bytes([v4[18], v4[19]]);
        assert_eq!(id == 0, dont_fragment, "what may be fragmented is told apart (RFC 6864)");
        let v6 = headers(&adjacency(Encapsulation::Nvgre, V6, policy), &of_inner);
        assert_eq!(((v6[14] << 4) | (v6[15] >> 4), v6[21]), (tos, ttl));
    }
    let ip = InnerIp { is_ip: true, tos: 0xb9, ttl: 7, dont_fragment: true };
    check(0, ip, (10 << 2 | 1, 64, false));
    check(VtepAdj::DONT_FRAGMENT, ip, (10 << 2 | 1, 64, true));
    check(VtepAdj::INHERIT_DSCP, ip, (0xb9, 64, false));
    check(VtepAdj::INHERIT_TTL, ip, (10 << 2 | 1, 7, false));
    check(VtepAdj::INHERIT_DONT_FRAGMENT, ip, (10 << 2 | 1, 64, true));
    let all = VtepAdj::INHERIT_DSCP | VtepAdj::INHERIT_TTL | VtepAdj::INHERIT_DONT_FRAGMENT;
    check(all, InnerIp::NONE, (10 << 2, 64, false));
    check(all, InnerIp { is_ip: true, tos: 0, ttl: 0, dont_fragment: false }, (0, 64, false));
}

#[test]
fn source_ports_are_within_their_range_and_reach_both_ends() {
    for range in [(0xc000, 0xffff), (1, 65535), (5000, 5000), (60000, 60001)] {
        let adj = adjacency(Encapsulation::Vxlan, V6, Policy { source_ports: range, ..POLICY });
        let port = |hash: u32| {
            let headers = headers(&adj, &inner(100, InnerIp::NONE, hash));
            u16::from_be_bytes([headers[54], headers[55]])
        };
        let ports = (0..=0xffff).map(port);
        let (least, most) =
            ports.fold((u16::MAX, 0), |(least, most), port| (least.min(port), most.max(port)));
        assert_eq!((least, most), range);
    }
}

#[test]
fn lengths_of_a_super_packet_saturate() {
    let v4 = headers(&adjacency(Encapsulation::Vxlan, V4, POLICY), &inner(65_535, InnerIp::NONE, 0));
    assert_eq!((&v4[16..18], &v4[38..40]), (&[0xff, 0xff][..], &[0xff, 0xff][..]));
    let v6 = headers(&adjacency(Encapsulation::Vxlan, V6, POLICY), &inner(70_000, InnerIp::NONE, 0));
    assert_eq!((&v6[18..20], &v6[58..60]), (&[0xff, 0xff][..], &[0xff, 0xff][..]));
}

#[test]
fn ends_of_two_families_make_no_tunnel() {
    let tunnel = Tunnel {
        encapsulation: Encapsulation::Vxlan,
        local: "192.0.2.1".parse().unwrap(),
        remote: "2001:db8::1".parse().unwrap(),
        udp_port: 4789,
    };
    assert!(tunnel.adjacency(&POLICY).is_none());
}

#[test]
fn what_is_not_for_us_is_the_hosts() {
    for ends in [V4, V6] {
        let good = frame(Encapsulation::Vxlan, ends, &inner(100, InnerIp::NONE, 1));
        assert!(read(&good, &config(0)).is_some());
        let last_of_address = if ends == V4 { 33 } else { 53 };
        let port = last_of_address + 4;
        for at in [last_of_address, port] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert!(read(&other, &config(0)).is_none(), "byte {at}");
        }
    }
    // Encapsulations that no VTEP uses are not looked at, nor are packets to an address that is not set.
    for encapsulation in [Encapsulation::Geneve, Encapsulation::Nvgre] {
        let frame = frame(encapsulation, V4, &inner(100, InnerIp::NONE, 1));
        assert!(read(&frame, &Config { flags: 0, ..config(0) }).is_none());
    }
    let mut to_nobody = frame(Encapsulation::Vxlan, V4, &inner(100, InnerIp::NONE, 1));
    to_nobody[30..34].fill(0);
    assert!(read(&to_nobody, &Config { local_v4: [0; 4], ..config(0) }).is_none());
}

#[test]
fn an_ipv4_header_that_does_not_sum_up_is_refused() {
    let good = frame(Encapsulation::Vxlan, V4, &inner(100, InnerIp::NONE, 1));
    // Neither whose it is nor its lengths: the checksum itself, identification, TTL, TOS, the source.
    for at in [15, 18, 19, 22, 24, 25, 26, 29] {
        for bit in 0..8 {
            let mut frame = good.clone();
            frame[at] ^= 1 << bit;
            let packet = read(&frame, &config(0)).unwrap();
            assert_eq!(packet.end(frame.len() as u32, false), Err(Verdict::OuterMalformed), "{at}, {bit}");
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    for (ends, bytes) in [(V4, [17, 39]), (V6, [19, 59])] {
        for at in bytes {
            for byte in [0xff, 20, 8, 0] {
                let mut frame = frame(Encapsulation::Vxlan, ends, &inner(100, InnerIp::NONE, 1));
                frame[at] = byte;
                let packet = read(&frame, &config(0)).unwrap();
                assert_eq!(packet.end(frame.len() as u32, false), Err(Verdict::OuterMalformed));
                assert_eq!(
                    packet.end(frame.len() as u32, true),
                    Ok(frame.len() as u32),
                    "of merged packets they say nothing"
                );
            }
        }
    }
    let mut fragment = frame(Encapsulation::Vxlan, V4, &inner(100, InnerIp::NONE, 1));
    fragment[20] = 0x20;
    let packet = read(&fragment, &config(0)).unwrap();
    assert_eq!(packet.end(fragment.len() as u32, false), Err(Verdict::OuterFragment));
}

#[test]
fn a_checksum_is_noticed() {
    for (ends, at) in [(V4, 40), (V6, 60)] {
        let mut frame = frame(Encapsulation::Geneve, ends, &inner(100, InnerIp::NONE, 1));
        assert!(!read(&frame, &config(0)).unwrap().checksummed);
        frame[at] = 1;
        assert!(read(&frame, &config(0)).unwrap().checksummed);
    }
}

#[test]
fn a_tunnels_header_is_judged_bit_by_bit() {
    #[track_caller]
    fn check(
        encapsulation: Encapsulation,
        header: [u8; 8],
        lenient: Result<u8, Verdict>,
        strict: Result<u8, Verdict>,
    ) {
        for (flags, expected) in [(0, lenient), (Config::STRICT_RESERVED, strict)] {
            let read = read::tunnel(encapsulation, &words(&header), &config(flags));
            assert_eq!(read.map(|header| header.options_len), expected, "{header:x?}");
            assert!(read.is_err() || read.is_ok_and(|header| header.vni == 0x01_02_03));
        }
    }
    let reserved = Err(Verdict::ReservedBits);
    let vxlan = |first, second, last| [first, second, 0, 0, 1, 2, 3, last];
    check(Encapsulation::Vxlan, vxlan(8, 0, 0), Ok(0), Ok(0));
    check(Encapsulation::Vxlan, vxlan(0, 0, 0), Err(Verdict::VxlanFlags), Err(Verdict::VxlanFlags));
    for header in [vxlan(9, 0, 0), vxlan(0x88, 0, 0), vxlan(8, 1, 0), vxlan(8, 0, 1)] {
        check(Encapsulation::Vxlan, header, Ok(0), reserved);
    }
    let geneve = |first, second, last| [first, second, 0x65, 0x58, 1, 2, 3, last];
    let (critical, other) = (Err(Verdict::GeneveCritical), Err(Verdict::TunnelHeader));
    check(Encapsulation::Geneve, geneve(0, 0, 0), Ok(0), Ok(0));
    check(Encapsulation::Geneve, geneve(2, 0, 0), Ok(8), Ok(8));
    check(Encapsulation::Geneve, geneve(0x3f, 0, 0), Ok(252), Ok(252));
    check(Encapsulation::Geneve, geneve(0, 0x40, 0), critical, critical);
    check(Encapsulation::Geneve, geneve(0, 0x80, 0), critical, critical);
    check(Encapsulation::Geneve, geneve(0x40, 0, 0), other, other);
    check(Encapsulation::Geneve, [0, 0, 0x08, 0, 1, 2, 3, 0], other, other);
    check(Encapsulation::Geneve, geneve(0, 1, 0), Ok(0), reserved);
    check(Encapsulation::Geneve, geneve(0, 0, 1), Ok(0), reserved);
    let nvgre = |first, second| [first, second, 0x65, 0x58, 1, 2, 3, 0xff];
    check(Encapsulation::Nvgre, nvgre(0x20, 0), Ok(0), Ok(0));
    for header in [nvgre(0xa0, 0), nvgre(0x60, 0), nvgre(0x30, 0), nvgre(0x20, 1)] {
        check(Encapsulation::Nvgre, header, other, other);
    }
    for header in [nvgre(0x21, 0), nvgre(0x20, 8)] {
        check(Encapsulation::Nvgre, header, Ok(0), reserved);
    }
}
