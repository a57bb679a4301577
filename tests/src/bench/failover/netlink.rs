//! The few messages of rtnetlink(7) that the peers need, as fast as they can be sent: many to a call, one answer.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
    socket, sockopt,
};
use vtep_api::MacAddr;

use crate::netns::Netns;

/// What one call carries at most.
const CALL_BYTES_MAX: usize = 1 << 16;
const ALIGN: usize = 4;
const HEADER_BYTES: usize = 16;
/// Of `struct nlmsghdr`, where the flags stand.
const FLAGS_AT: usize = 6;

/// netlink(7).
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;
const PUT: u16 = REQUEST | CREATE | REPLACE;
/// `linux/nexthop.h`.
const RTM_NEWNEXTHOP: u16 = 104;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GATEWAY: u16 = 6;
const NHA_FDB: u16 = 11;
/// `linux/neighbour.h`.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_NH_ID: u16 = 13;
const NTF_SELF: u8 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

pub(super) struct Netlink(OwnedFd);

/// Messages that are sent together, made beforehand.
#[derive(Default)]
pub(super) struct Batch {
    calls: Vec<Vec<u8>>,
    /// Where the last message of the last call begins.
    last: usize,
}

/// Where an FDB entry leads to.
#[derive(Clone, Copy)]
pub(super) enum Remote {
    Address(Ipv4Addr),
    Nexthop(u32),
}

impl Netlink {
    pub(super) fn open(netns: &Netns) -> Result<Self> {
        let opened = netns.within(|| {
            let protocol = SockProtocol::NetlinkRoute;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            setsockopt(&socket, sockopt::SndBuf, &(4 * CALL_BYTES_MAX))?;
            connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok::<_, nix::Error>(socket)
        })?;
        Ok(Self(opened.context("a netlink socket cannot be opened")?))
    }

    pub(super) fn set_up(&mut self, index: u32, up: bool) -> Result<()> {
        let iff_up = u32::try_from(libc::IFF_UP)?;
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend(if up { iff_up } else { 0 }.to_ne_bytes());
        body.extend(iff_up.to_ne_bytes());
        let mut batch = Batch::default();
        batch.push(libc::RTM_NEWLINK, REQUEST, &body);
        self.send(&mut batch)
    }

    /// Until the kernel has carried out all of it.
    pub(super) fn send(&mut self, batch: &mut Batch) -> Result<()> {
        let last = batch.calls.last_mut().context("nothing is to be sent")?;
        let at = batch.last + FLAGS_AT;
        let flags = u16::from_ne_bytes([last[at], last[at + 1]]) | ACK;
        last[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        for call in &batch.calls {
            send(self.0.as_raw_fd(), call, MsgFlags::empty()).context("netlink takes nothing")?;
        }
        // Errors are told of unasked, before the last one's answer.
        let mut answer = [0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        ensure!(length >= HEADER_BYTES + 4, "netlink's answer has {length} bytes");
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => bail!("netlink refuses: {}", nix::Error::from_raw(-error)),
        }
    }
}

impl Batch {
    pub(super) fn put_fdb(&mut self, device: u32, mac: MacAddr, remote: Remote) {
        let mut body = vec![u8::try_from(libc::AF_BRIDGE).unwrap_or_default(), 0, 0, 0];
        body.extend(device.to_ne_bytes());
        body.extend((NUD_NOARP | NUD_PERMANENT).to_ne_bytes());
        body.extend([NTF_SELF, 0]);
        attribute(&mut body, NDA_LLADDR, &mac.octets());
        match remote {
            Remote::Address(address) => attribute(&mut body, NDA_DST, &address.octets()),
            Remote::Nexthop(id) => attribute(&mut body, NDA_NH_ID, &id.to_ne_bytes()),
        }
        self.push(libc::RTM_NEWNEIGH, PUT, &body);
    }

    pub(super) fn put_nexthop(&mut self, id: u32, gateway: Ipv4Addr) {
        let mut body = nexthop(u8::try_from(libc::AF_INET).unwrap_or_default(), id);
        attribute(&mut body, NHA_GATEWAY, &gateway.octets());
        attribute(&mut body, NHA_FDB, &[]);
        self.push(RTM_NEWNEXTHOP, PUT, &body);
    }

    pub(super) fn put_group(&mut self, id: u32, member: u32) {
        let mut body = nexthop(0, id);
        // `struct nexthop_grp`: the member, and its weight less one.
        attribute(&mut body, NHA_GROUP, &[member.to_ne_bytes(), [0; 4]].concat());
        attribute(&mut body, NHA_FDB, &[]);
        self.push(RTM_NEWNEXTHOP, PUT, &body);
    }

    fn push(&mut self, kind: u16, flags: u16, body: &[u8]) {
        let length = HEADER_BYTES + body.len();
        if self.calls.last().is_none_or(|call| call.len() + length > CALL_BYTES_MAX) {
            self.calls.push(Vec::with_capacity(CALL_BYTES_MAX));
        }
        let Some(call) = self.calls.last_mut() else { return };
        self.last = call.len();
        call.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        call.extend(kind.to_ne_bytes());
        call.extend(flags.to_ne_bytes());
        call.extend([0; 8]);
        call.extend(body);
        call.resize(call.len().next_multiple_of(ALIGN), 0);
    }
}

/// `struct nhmsg`.
fn nexthop(family: u8, id: u32) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(ALIGN), 0);
}
