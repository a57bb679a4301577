//! The codec and the frame inside a tunnel.

use proptest::prelude::*;
use vtep_bfd::{Diagnostic, Inner, InnerError, Packet, PacketError, State, Transport, TransportError};

/// A packet as RFC 5880 §4.1 draws it, written by hand.
const UP: [u8; 24] =
    [0x20, 0xc8, 3, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xc3, 0x50, 0, 1, 0x86, 0xa0, 0, 0, 0, 0];

#[track_caller]
fn check(change: impl FnOnce(&mut Vec<u8>), expected: PacketError) {
    let mut bytes = UP.to_vec();
    change(&mut bytes);
    assert_eq!(Packet::parse(&bytes), Err(expected));
}

#[test]
fn every_field_is_where_the_rfc_draws_it() {
    let packet = Packet::parse(&UP).unwrap();
    assert_eq!(
        packet,
        Packet {
            diagnostic: Diagnostic::NONE,
            state: State::Up,
            poll: false,
            is_final: false,
            control_plane_independent: true,
            demand: false,
            detect_mult: 3,
            my_discriminator: 1,
            your_discriminator: 2,
            desired_min_tx_us: 50_000,
            required_min_rx_us: 100_000,
            required_min_echo_rx_us: 0,
        }
    );
    assert_eq!(packet.bytes(), UP);
}

#[test]
fn what_is_wrong_with_a_packet_is_named() {
    check(|bytes| bytes.truncate(23), PacketError::Short { found: 23 });
    check(Vec::clear, PacketError::Short { found: 0 });
    check(|bytes| bytes[0] = 0x40, PacketError::Version { found: 2 });
    check(|bytes| bytes[3] = 25, PacketError::Length { field: 25, found: 24 });
    check(|bytes| bytes[3] = 23, PacketError::Length { field: 23, found: 24 });
    check(|bytes| bytes[1] |= 0x04, PacketError::Authenticated);
    check(|bytes| bytes[1] |= 0x01, PacketError::Multipoint);
    check(|bytes| bytes[1] |= 0x30, PacketError::PollAndFinal);
    check(|bytes| bytes[2] = 0, PacketError::DetectMult);
    check(|bytes| bytes[7] = 0, PacketError::MyDiscriminator);
    check(|bytes| bytes[11] = 0, PacketError::YourDiscriminator { state: State::Up });
    let trailing = |bytes: &mut Vec<u8>| {
        bytes.extend([0; 2]);
        bytes[3] = 26;
    };
    check(trailing, PacketError::Trailing { field: 26 });
}

/// UDP may carry more than the length field says (RFC 5880 §6.8.6 asks only that it is not less).
#[test]
fn bytes_behind_the_length_are_ignored() {
    let mut bytes = UP.to_vec();
    bytes.extend([0xff; 9]);
    assert_eq!(Packet::parse(&bytes).map(|packet| packet.bytes()), Ok(UP));
}

#[test]
fn a_single_hop_asks_for_a_ttl_that_no_router_lowered() {
    assert_eq!(Transport::SingleHop.check(3784, 255), Ok(()));
    assert_eq!(Transport::SingleHop.check(3784, 254), Err(TransportError::Ttl { found: 254 }));
    assert_eq!(Transport::Vxlan.check(3784, 64), Err(TransportError::Ttl { found: 64 }));
    assert_eq!(Transport::MultiHop.check(4784, 60), Ok(()));
    let port = TransportError::Port { found: 3784, expected: 4784 };
    assert_eq!(Transport::MultiHop.check(3784, 255), Err(port));
}

fn inner() -> Inner {
    Inner {
        dst_mac: Inner::DST_MAC,
        src_mac: [2, 0, 0, 0, 0, 7],
        dst_ip: Inner::LOCAL_IP,
        src_ip: Inner::REMOTE_IP,
        src_port: 50_000,
    }
}

#[test]
fn a_frame_inside_a_tunnel_is_a_whole_udp_datagram() {
    let packet = Packet::parse(&UP).unwrap();
    let frame = inner().wrap(&packet);
    assert_eq!(Inner::unwrap(&frame), Ok((3784, 255, &UP[..])));
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the IP checksum");
    assert_eq!(frame[15], 0xc0, "the class of control traffic");
}

#[test]
fn what_is_wrong_with_a_frame_is_named() {
    #[track_caller]
    fn check(at: usize, byte: u8, expected: InnerError) {
        let mut frame = inner().wrap(&Packet::parse(&UP).unwrap());
        frame[at] = byte;
        assert_eq!(Inner::unwrap(&frame), Err(expected));
    }
    check(12, 0x86, InnerError::EtherType { found: 0x8600 });
    check(14, 0x46, InnerError::Header { found: 0x46 });
    check(20, 0x20, InnerError::Fragment);
    check(23, 6, InnerError::Protocol { found: 6 });
    check(39, 200, InnerError::UdpLength { found: 200, room: 32 });
    check(39, 7, InnerError::UdpLength { found: 7, room: 32 });
    assert_eq!(Inner::unwrap(&[0; 41]), Err(InnerError::Short { found: 41 }));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_parses_comes_out_again(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            // But for the length field, which may only be 24.
            prop_assert_eq!(&packet.bytes()[..], &bytes[..24]);
        }
        let _ = Inner::unwrap(&bytes);
    }

    /// Random bytes are seldom near a packet: these differ from one in a few places.
    #[test]
    fn no_mutation_of_a_packet_panics(
        changes in prop::collection::vec((0_usize..66, any::<u8>()), 0..6),
        cut in 0_usize..67,
    ) {
        let mut frame = inner().wrap(&Packet::parse(&UP).unwrap()).to_vec();
        for (at, byte) in changes {
            frame[at] = byte;
        }
        frame.truncate(cut);
        if let Ok((_, _, payload)) = Inner::unwrap(&frame)
            && let Ok(packet) = Packet::parse(payload)
        {
            prop_assert_eq!(Packet::parse(&packet.bytes()), Ok(packet));
        }
    }
}
