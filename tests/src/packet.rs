//! Frames as they are on one link: sent and received whole, by an `AF_PACKET` socket (packet(7)).

use std::{
    io::IoSliceMut,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, recvmsg,
            send, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::link::Link;

/// Hears one direction of a link, and sends on it.
pub struct PacketSocket {
    socket: OwnedFd,
    index: usize,
    direction: Direction,
    link: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Arriving,
    Leaving,
}

impl PacketSocket {
    /// Hears what arrives on the link. The kernel takes the outermost VLAN tag out of these frames: to see tags,
    /// listen on the sending end by [`Self::leaving`].
    pub fn bind(link: &Link) -> Result<Self> {
        Self::open(link, Direction::Arriving)
    }

    /// Hears what is sent on the link, with VLAN tags in their place: the link's offload of them is turned off.
    pub fn leaving(link: &Link) -> Result<Self> {
        link.insert_tags_in_software()?;
        Self::open(link, Direction::Leaving)
    }

    fn open(link: &Link, direction: Direction) -> Result<Self> {
        let opened = link.netns().within(|| {
            let protocol = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
            let address = getifaddrs()?
                .filter(|interface| interface.interface_name == link.name())
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .ok_or(Errno::ENODEV)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok::<_, Errno>((socket, address.ifindex()))
        });
        let (socket, index) = opened?.with_context(|| format!("{link} cannot be listened on"))?;
        Ok(Self { socket, index, direction, link: link.to_string() })
    }

    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        sent.map(drop).with_context(|| format!("{} bytes cannot be sent on {}", frame.len(), self.link))
    }

    /// The next frame, or none within the time.
    pub fn receive(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        self.receive_where(within, |_| true)
    }

    /// The next frame of that kind; others on the way are dropped.
    pub fn receive_where(&self, within: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.receive_one(left)? {
                Heard::Silence => return Ok(None),
                Heard::Frame(frame) if wanted(&frame) => return Ok(Some(frame)),
                Heard::Frame(_) | Heard::Other => {}
            }
        }
    }

    /// All frames of that kind until none came for a while: for counting copies.
    pub fn receive_all(&self, silence: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        while let Some(frame) = self.receive_where(silence, &wanted)? {
            all.push(frame);
        }
        Ok(all)
    }

    /// All that has come by now, without waiting.
    pub fn drain(&self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let received =
                recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT);
            let (length, from) = match received {
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                received => {
                    let received =
                        received.with_context(|| format!("nothing can be received on {}", self.link))?;
                    (received.bytes, received.address)
                }
            };
            if self.is_heard(from) {
                each(&buffer[..length]);
            }
        }
    }

    /// How long [`Self::next`] waits.
    pub fn set_patience(&self, within: Duration) -> Result<()> {
        // Zero would mean "for ever".
        let within = i64::try_from(within.as_micros())?.max(1);
        Ok(setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(within))?)
    }

    /// The head of the next frame, or none within the patience: for many frames, into the same bytes.
    pub fn next<'a>(&self, head: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
        match self.receive_into(head)? {
            Heard::Frame(length) => Ok(head.get(..length)),
            Heard::Silence | Heard::Other => Ok(None),
        }
    }

    fn receive_one(&self, within: Duration) -> Result<Heard<Vec<u8>>> {
        self.set_patience(within)?;
        let mut frame = vec![0; FRAME_BYTES_MAX];
        Ok(match self.receive_into(&mut frame)? {
            Heard::Silence => Heard::Silence,
            Heard::Other => Heard::Other,
            Heard::Frame(length) => {
                frame.truncate(length);
                Heard::Frame(frame)
            }
        })
    }

    fn receive_into(&self, bytes: &mut [u8]) -> Result<Heard<usize>> {
        let (length, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), bytes) {
            Err(Errno::EAGAIN) => return Ok(Heard::Silence),
            Err(Errno::EINTR) => return Ok(Heard::Other),
            received => received.with_context(|| format!("nothing can be received on {}", self.link))?,
        };
        Ok(if self.is_heard(from) { Heard::Frame(length) } else { Heard::Other })
    }

    fn is_heard(&self, from: Option<LinkAddr>) -> bool {
        from.is_some_and(|from| {
            let left = i32::from(from.pkttype()) == i32::from(libc::PACKET_OUTGOING);
            from.ifindex() == self.index && left == (self.direction == Direction::Leaving)
        })
    }
}

enum Heard<T> {
    /// The time is over.
    Silence,
    Frame(T),
    /// The other direction, or what came from another link before the socket was bound to this one.
    Other,
}

/// Super-frames arrive whole.
const FRAME_BYTES_MAX: usize = 1 << 17;
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
