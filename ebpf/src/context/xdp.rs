//! The frame at an XDP hook: before the kernel has made an skb of it. Tags are in the packet, nothing is known of its
//! flow, and it can only be sent on whole to one interface, passed to TC or dropped.
#![expect(unsafe_code, reason = "packet memory and kernel helpers are raw; each use says why it is sound")]

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use aya_ebpf::{EbpfContext, cty::c_void};
use vtep_abi::{LocalPort, VtepAdj};
use vtep_outer::Shape;

use super::put::{PacketRoom, put};
use super::{Action, Frame, Refused, Skb};
use crate::flow::{self, Network, Transport};
use crate::header::{ETH_LEN, EtherType, Ethernet};

const TAG_LEN: usize = 4;
/// The two addresses, in front of a tag.
const MACS_LEN: usize = 12;

#[derive(Clone, Copy)]
pub(crate) struct Xdp {
    ctx: *mut xdp_md,
    /// A tag behind the addresses that counts as taken off. It is in the packet until something else is written there, so
    /// that TC gets the frame as it came.
    popped: bool,
}

impl Xdp {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, popped: false }
    }

    #[inline(always)]
    const fn popped_len(self) -> usize {
        if self.popped { TAG_LEN } else { 0 }
    }

    /// Where the first part of the packet begins and ends.
    #[inline(always)]
    fn first_part(&self) -> (usize, usize) {
        // SAFETY: the context is valid for the whole run of the program. Volatile, so that two such reads are not made
        // one that the verifier knows as a number.
        unsafe {
            let data = core::ptr::read_volatile(&raw const (*self.ctx).data);
            let end = core::ptr::read_volatile(&raw const (*self.ctx).data_end);
            (data as usize, end as usize)
        }
    }

    /// `N` bytes of the packet as it lies in memory, if they are in its first part, which is all of it but for jumbo
    /// frames.
    #[inline(always)]
    fn linear<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: the packet's memory; the comparison proves to the verifier that the
        // read stays inside, and an array of bytes has no alignment.
        unsafe {
            let (data, end) = self.first_part();
            if data + at + N > end {
                return None;
            }
            Some(core::ptr::read((data + at) as *const [u8; N]))
        }
    }

    /// The same, wherever they are.
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.linear(at) {
            return Some(bytes);
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the pointer and length are those of `bytes`; the helper checks the packet's bounds, and has written all of
        // them if it returns 0.
        unsafe {
            let ret = bpf_xdp_load_bytes(self.ctx, at as u32, bytes.as_mut_ptr().cast(), N as u32);
            if ret == 0 { Some(bytes.assume_init()) } else { None }
        }
    }

    /// `N` words, as [`Self::bytes`] finds them.
    #[inline(always)]
    fn words_anywhere<const N: usize>(&self, at: usize) -> Option<[u16; N]> {
        if let Some(words) = self.words(at) {
            return Some(words);
        }
        let mut words = MaybeUninit::<[u16; N]>::uninit();
        // SAFETY: as in `bytes`.
        unsafe {
            let ret = bpf_xdp_load_bytes(self.ctx, at as u32, words.as_mut_ptr().cast(), 2 * N as u32);
            if ret == 0 { Some(words.assume_init()) } else { None }
        }
    }

    /// As [`Frame::write`], by the helper, which reaches every part.
    #[inline(always)]
    fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        // SAFETY: the pointer and length are those of `bytes`; the helper checks the packet's bounds.
        let ret =
            unsafe { bpf_xdp_store_bytes(self.ctx, offset, bytes.as_ptr().cast_mut().cast(), N as u32) };
        if ret == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn adjust_head(&self, delta: i32) -> Result<(), Refused> {
        // SAFETY: the helper takes the context and a number; it invalidates packet pointers, and none is kept.
        if unsafe { bpf_xdp_adjust_head(self.ctx, delta) } == 0 { Ok(()) } else { Err(Refused) }
    }

    /// `N` words of the first part, as they lie in memory.
    #[inline(always)]
    fn words<const N: usize>(&self, at: usize) -> Option<[u16; N]> {
        // SAFETY: as in `linear`. Headers begin at even addresses: drivers align what they receive, and what is put in
        // front or taken off has even lengths.
        unsafe {
            let (data, end) = self.first_part();
            if data + at + 2 * N > end {
                return None;
            }
            Some(core::ptr::read((data + at) as *const [u16; N]))
        }
    }

    /// The IPv4 header of the frame whose Ethernet header is at `at`.
    #[inline(always)]
    fn network_v4(&self, at: usize) -> Option<Network> {
        self.words(at + ETH_LEN + self.popped_len()).map(|ip| Network::v4(&ip))
    }

    /// The same of IPv6.
    #[inline(always)]
    fn network_v6(&self, at: usize) -> Option<Network> {
        self.words(at + ETH_LEN + self.popped_len()).map(|ip| Network::v6(&ip))
    }
}

impl EbpfContext for Xdp {
    fn as_ptr(&self) -> *mut c_void {
        self.ctx.cast()
    }
}

impl Frame for Xdp {
    type Code = u32;

    const APART: bool = false;

    const PORT_NEEDS: u16 = LocalPort::TAKES_XDP;
    const ADJ_NEEDS: u16 = VtepAdj::TAKES_XDP;
    const DECAP_FLAG: u16 = LocalPort::TAKES_XDP;

    #[inline(always)]
    fn skb(&self) -> Option<Skb> {
        None
    }

    #[inline(always)]
    fn act(self, action: Action) -> u32 {
        match action {
            Action::Next => XDP_PASS,
            // No path asks XDP for the others.
            Action::Drop | Action::Resolve(_) | Action::Peer(_) => XDP_DROP,
            // Frames leave in bulk, as by a device map: `dev_xdp_enqueue` in the kernel's `kernel/bpf/devmap.c` serves
            // both.
            // SAFETY: the helper takes two numbers and returns XDP_REDIRECT, or XDP_ABORTED for bad flags.
            Action::Redirect(ifindex) => unsafe { bpf_redirect(ifindex, 0) as u32 },
        }
    }

    /// Not `data_end - data`, which is only the first part of a jumbo frame.
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the helper takes the context alone.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 - self.popped_len() as u32 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn tag(&self) -> Option<(u16, u16)> {
        let [a, b, c, d] = self.bytes::<TAG_LEN>(MACS_LEN + self.popped_len())?;
        match u16::from_be_bytes([a, b]) {
            tpid @ (0x8100 | 0x88a8) => Some((tpid, u16::from_be_bytes([c, d]))),
            _ => None,
        }
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<[u8; N]> {
        const { assert!(N >= MACS_LEN) };
        let mut head = self.bytes::<N>(self.popped_len())?;
        if self.popped {
            head[..MACS_LEN].copy_from_slice(&self.bytes::<MACS_LEN>(0)?);
        }
        Some(head)
    }

    #[inline(always)]
    fn head_words<const N: usize>(&self) -> Option<[u16; N]> {
        const { assert!(N >= MACS_LEN / 2) };
        let mut words = self.words_anywhere::<N>(self.popped_len())?;
        if self.popped {
            words[..MACS_LEN / 2].copy_from_slice(&self.words_anywhere::<{ MACS_LEN / 2 }>(0)?);
        }
        Some(words)
    }

    /// It lies in the first part, or there is none.
    #[inline(always)]
    fn ethernet(&self) -> Option<Ethernet> {
        let mut words = self.words(self.popped_len())?;
        if self.popped {
            [words[0], words[1], words[2], words[3], words[4], words[5]] = self.words(0)?;
        }
        Some(Ethernet(words))
    }

    /// So does what a driver splits off for its headers.
    #[inline(always)]
    fn ip_head(&self) -> Option<[u8; 9]> {
        self.linear(ETH_LEN + self.popped_len())
    }

    /// A tag that counts as taken off is still in the bytes.
    #[inline(always)]
    fn copy_head<const N: usize>(&self, to: &mut [u8; N], limit: u32) -> u32 {
        let len = core::hint::black_box((self.len() + self.popped_len() as u32).min(limit));
        if len == 0 || len > N as u32 {
            return 0;
        }
        // SAFETY: `to` has room for `len` bytes; the helper checks the packet's bounds.
        let ret = unsafe { bpf_xdp_load_bytes(self.ctx, 0, to.as_mut_ptr().cast(), len) };
        if ret == 0 { len } else { 0 }
    }

    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        self.load::<1>(offset).map(|[byte]| byte)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let at = offset as usize + if offset as usize >= MACS_LEN { self.popped_len() } else { 0 };
        self.bytes(at)
    }

    #[inline(always)]
    fn write<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        // SAFETY: as in `bytes`.
        unsafe {
            let (data, end) = self.first_part();
            let at = data + offset as usize;
            if at + N <= end {
                put(at, bytes);
                return Ok(());
            }
        }
        self.store(offset, bytes)
    }

    #[inline(always)]
    fn write_ethernet(&self, ethernet: &Ethernet) -> Result<(), Refused> {
        // SAFETY: as in `words`.
        unsafe {
            let (data, end) = self.first_part();
            if data + ETH_LEN <= end {
                core::ptr::write(data as *mut [u16; ETH_LEN / 2], ethernet.0);
                return Ok(());
            }
        }
        self.store(0, ethernet.bytes())
    }

    /// In the first part, in which there was an Ethernet header before room was made.
    #[inline(always)]
    fn room<const N: usize>(&self) -> Result<PacketRoom, Refused> {
        let (data, end) = self.first_part();
        if data + N > end {
            return Err(Refused);
        }
        // SAFETY: it was compared just now.
        Ok(unsafe { PacketRoom::new::<N>(data) })
    }

    /// There is no checksum beside the packet.
    #[inline(always)]
    fn write_summed<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        self.write(offset, bytes)
    }

    #[inline(always)]
    fn flow_hash(&self) -> u32 {
        flow_hash(*self)
    }

    #[inline(always)]
    fn is_unfinished(&self, at: usize, ether_type: EtherType) -> bool {
        ether_type.is_ip() && is_unfinished(*self, at, ether_type)
    }

    #[inline(always)]
    fn push_outer(&self, shape: Shape) -> Result<(), Refused> {
        self.adjust_head(self.popped_len() as i32 - shape.outer_len() as i32)
    }

    #[inline(always)]
    fn pop_outer(&self, outer_len: u32, _: EtherType) -> Result<(), Refused> {
        self.adjust_head(outer_len as i32)
    }

    #[inline(always)]
    fn push_tag(&self, vlan: u16) -> Result<(), Refused> {
        let macs = self.bytes::<MACS_LEN>(0).ok_or(Refused)?;
        if !self.popped {
            self.adjust_head(-(TAG_LEN as i32))?;
        }
        let mut head = [0; MACS_LEN + TAG_LEN];
        head[..MACS_LEN].copy_from_slice(&macs);
        head[MACS_LEN] = 0x81;
        head[MACS_LEN + 2..].copy_from_slice(&vlan.to_be_bytes());
        self.write(0, &head)
    }

    #[inline(always)]
    fn pop_tag(&mut self) -> Result<(), Refused> {
        self.popped = true;
        Ok(())
    }

    #[inline(always)]
    fn noted_tag_len(&self) -> u32 {
        self.popped_len() as u32
    }

    /// Takes a popped tag out of the packet.
    #[inline(always)]
    fn settle(&self) -> Result<(), Refused> {
        if !self.popped {
            return Ok(());
        }
        let macs = self.bytes::<MACS_LEN>(0).ok_or(Refused)?;
        self.adjust_head(TAG_LEN as i32)?;
        self.write(0, &macs)
    }
}

#[inline(always)]
fn flow_hash(frame: Xdp) -> u32 {
    let popped = frame.popped_len();
    let Some([ether_type]) = frame.words(MACS_LEN + popped) else {
        return 0;
    };
    let network = match EtherType::from_be(ether_type) {
        EtherType::IPV4 => frame.network_v4(0),
        EtherType::IPV6 => frame.network_v6(0),
        _ => None,
    };
    if let Some(network) = network {
        let ports =
            if network.transport.has_ports() { frame.words(ETH_LEN + popped + network.len) } else { None };
        return network.hash(ports.unwrap_or([0; 2]));
    }
    frame.words(0).map_or(0, |macs| flow::hash_macs(&macs))
}

/// A NIC's frame is whole. What a VM has handed over may wait for its checksum or for being cut into segments, as only
/// the skb says that XDP does not see.
#[inline(always)]
fn is_unfinished(frame: Xdp, at: usize, ether_type: EtherType) -> bool {
    match ether_type {
        EtherType::IPV6 => is_unfinished_v6(frame, at),
        _ => is_packet_unfinished(frame, at, frame.network_v4(at)),
    }
}

/// Two addresses of sixteen bytes take more of the stack than there is below a path.
#[inline(never)]
fn is_unfinished_v6(frame: Xdp, at: usize) -> bool {
    is_packet_unfinished(frame, at, frame.network_v6(at))
}

#[inline(always)]
fn is_packet_unfinished(frame: Xdp, at: usize, network: Option<Network>) -> bool {
    let Some(network) = network else {
        return true;
    };
    let at = at + ETH_LEN + frame.popped_len() + network.len;
    match network.transport {
        Transport::Tcp => frame.words::<{ flow::TCP_WORDS }>(at).is_none_or(|tcp| network.is_partial(tcp[8])),
        Transport::Udp => frame
            .words::<{ flow::UDP_WORDS }>(at)
            .is_none_or(|udp| flow::is_tunnel(udp[1]) || network.is_partial(udp[3])),
        Transport::Whole => false,
        Transport::Unknown => true,
    }
}
