//! Frames as they are on a link (packet(7)), and those that the examination makes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder, SlicedPacket,
};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use vtep_api::MacAddr;

use super::place::Place;

/// IEEE 802, local experimental `EtherType` 1: no station takes it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const TPID: [u8; 2] = [0x81, 0x00];
/// Of the largest MTU that a frame here has, and its headers.
const FRAME_MAX: usize = 1 << 16;
/// Between two copies of a frame that is waited for.
const AGAIN: Duration = Duration::from_millis(200);

/// A socket at one link.
#[derive(Debug)]
pub(super) struct Ear {
    socket: OwnedFd,
    leaving: bool,
}

impl Ear {
    /// `leaving`: hears what is sent on the link, not what arrives.
    pub(super) fn at(place: &Place, link: &str, leaving: bool) -> io::Result<Self> {
        place.within(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
            let address = getifaddrs()?
                .filter(|interface| interface.interface_name == link)
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .ok_or(Errno::ENODEV)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok(Self { socket, leaving })
        })
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop).map_err(io::Error::from)
    }

    /// Has a frame sent again and again until one that fits is heard.
    pub(super) fn hears<T>(
        &self,
        within: Duration,
        mut send: impl FnMut() -> io::Result<()>,
        fits: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let end = Instant::now() + within;
        let mut frame = vec![0; FRAME_MAX];
        while Instant::now() < end {
            send()?;
            let next = Instant::now() + AGAIN;
            while let Some(length) = self.receive(&mut frame, next)? {
                if let Some(found) = fits(&frame[..length]) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// None: the time is over.
    fn receive(&self, frame: &mut [u8], until: Instant) -> io::Result<Option<usize>> {
        loop {
            let left = until.saturating_duration_since(Instant::now()).as_micros();
            if left == 0 {
                return Ok(None);
            }
            let left = TimeVal::microseconds(i64::try_from(left).unwrap_or(i64::MAX));
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &left)?;
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), frame) {
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok((length, from)) => {
                    let outgoing = i32::from(libc::PACKET_OUTGOING);
                    let leaves = from.is_some_and(|from| i32::from(from.pkttype()) == outgoing);
                    if leaves == self.leaving {
                        return Ok(Some(length.min(frame.len())));
                    }
                }
            }
        }
    }
}

/// A frame of one station to another that means nothing to anybody else.
pub(super) fn marked(src: MacAddr, dst: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    const PAYLOAD: &[u8] = b"vtep-agent doctor: this frame has arrived as it should";
    let mut frame = [dst.octets(), src.octets()].concat();
    if let Some(vlan) = vlan {
        frame.extend(TPID);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ETHERTYPE);
    frame.extend(PAYLOAD);
    frame
}

/// VNI and inner frame of a VXLAN frame.
pub(super) fn inner(frame: &[u8], udp_port: u16) -> Option<(u32, Vec<u8>)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let etherparse::TransportSlice::Udp(udp) = sliced.transport? else { return None };
    let [_, _, _, _, a, b, c, _] = *udp.payload().first_chunk::<8>()?;
    (udp.destination_port() == udp_port)
        .then(|| (u32::from_be_bytes([0, a, b, c]), udp.payload()[8..].to_vec()))
}

/// An IP packet that must not be fragmented, of so many bytes.
pub(super) fn oversize(src: MacAddr, dst: MacAddr, v6: bool, length: usize) -> Vec<u8> {
    let header = if v6 {
        let [source, destination] = [1, 2].map(|host| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        IpHeaders::Ipv6(
            Ipv6Header { source, destination, hop_limit: 64, ..Ipv6Header::default() },
            Ipv6Extensions::default(),
        )
    } else {
        let (source, destination) = ([198, 18, 255, 1], [198, 18, 255, 2]);
        let header = Ipv4Header {
            source,
            destination,
            time_to_live: 64,
            dont_fragment: true,
            ..Ipv4Header::default()
        };
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    };
    let ip_len = if v6 { 40 } else { 20 };
    let payload = vec![0; length.saturating_sub(ip_len + 8)];
    let builder = PacketBuilder::ethernet2(src.octets(), dst.octets()).ip(header).udp(7, 7);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    // A vector takes everything, and no length here is above that of IP.
    drop(builder.write(&mut frame, &payload));
    frame
}

/// The MTU that an ICMP answer to a packet that is too big names.
pub(super) fn named_mtu(frame: &[u8], v6: bool) -> Option<u32> {
    let ethertype = if v6 { 0x86dd_u16 } else { 0x0800 };
    if frame.get(12..14)? != ethertype.to_be_bytes() {
        return None;
    }
    let (protocol_at, icmp_at, protocol) =
        if v6 { (20, 54, IpNumber::IPV6_ICMP) } else { (23, 34, IpNumber::ICMP) };
    let icmp = frame.get(icmp_at..icmp_at + 8)?;
    let [kind, code, _, _, a, b, c, d] = *icmp.first_chunk::<8>()?;
    // RFC 1191 §4, RFC 4443 §3.2.
    let is_answer = if v6 { kind == 2 } else { (kind, code) == (3, 4) };
    let mtu = if v6 { u32::from_be_bytes([a, b, c, d]) } else { u32::from(u16::from_be_bytes([c, d])) };
    (*frame.get(protocol_at)? == protocol.0 && is_answer).then_some(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const FAR: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

    #[test]
    fn an_oversize_packet_is_as_long_as_asked_and_must_not_be_fragmented() {
        for (v6, length) in [(false, 1470), (true, 1470), (true, 8970)] {
            let frame = oversize(VM, FAR, v6, length);
            assert_eq!(frame.len(), 14 + length);
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv4(packet)) = sliced.net else {
                assert!(v6);
                continue;
            };
            assert!(packet.header().dont_fragment());
        }
    }

    #[test]
    fn only_an_answer_to_a_packet_that_is_too_big_names_an_mtu() {
        let fragmentation_needed = |kind, code| {
            let builder =
                PacketBuilder::ethernet2(FAR.octets(), VM.octets()).ipv4([1, 1, 1, 1], [2, 2, 2, 2], 64);
            let mut frame = Vec::new();
            builder.icmpv4_raw(kind, code, [0, 0, 0x05, 0xaa]).write(&mut frame, &[0; 28]).unwrap();
            frame
        };
        assert_eq!(named_mtu(&fragmentation_needed(3, 4), false), Some(1450));
        assert_eq!(named_mtu(&fragmentation_needed(3, 3), false), None);
        assert_eq!(named_mtu(&fragmentation_needed(3, 4), true), None);
        let mut too_big = Vec::new();
        let builder = PacketBuilder::ethernet2(FAR.octets(), VM.octets()).ipv6([1; 16], [2; 16], 64);
        builder.icmpv6_raw(2, 0, [0, 0, 0x05, 0xaa]).write(&mut too_big, &[0; 48]).unwrap();
        assert_eq!(named_mtu(&too_big, true), Some(1450));
        for cut in 0..too_big.len() {
            named_mtu(&too_big[..cut], true);
            inner(&too_big[..cut], 4789);
        }
    }

    #[test]
    fn the_inner_frame_is_what_stands_behind_the_header_of_its_vni() {
        let marked = marked(VM, FAR, Some(20));
        let payload = [&[8, 0, 0, 0, 0, 0, 12, 0], &marked[..]].concat();
        let mut frame = Vec::new();
        let builder =
            PacketBuilder::ethernet2(VM.octets(), FAR.octets()).ipv4([1, 1, 1, 1], [2, 2, 2, 2], 64);
        builder.udp(50_000, 4789).write(&mut frame, &payload).unwrap();
        assert_eq!(inner(&frame, 4789), Some((12, marked)));
        assert_eq!(inner(&frame, 8472), None);
    }
}
