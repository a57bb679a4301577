//! The frame as a path sees it, whichever hook it came by: paths are written once, against [`Frame`].

mod place;
mod put;
mod skb;
mod xdp;

pub(crate) use self::place::Place;
pub(crate) use self::put::PacketRoom;
pub(crate) use self::skb::{Skb, now_coarse, now_coarse_ns, now_ns, random, repeat, tick, turn};
pub(crate) use self::xdp::Xdp;

use aya_ebpf::EbpfContext;

use vtep_outer::Shape;

use crate::header::{Address, EtherType, Ethernet};

#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Another program at this hook, then the host; after XDP, TC.
    Next,
    Drop,
    Redirect(u32),
    /// The same, but the kernel finds the IP packet's next hop and keeps the packet meanwhile. TC only.
    Resolve(u32),
    /// The frame enters the namespace at the other end of a veth at once, without a queue in between. TC only.
    Peer(u32),
}

/// A helper said no.
#[derive(Clone, Copy)]
pub(crate) struct Refused;

/// Sender and network of a frame that the kernel's tunnel device decapsulated.
pub(crate) struct TunnelKey {
    pub(crate) vni: u32,
    pub(crate) remote: Address,
}

/// A frame, by handle: copies of it are one frame.
pub(crate) trait Frame: Copy + EbpfContext {
    /// What the hook's program returns.
    type Code;

    /// Whether parts of a path are calls of their own. TC's paths need all of the 512 bytes of stack, and what a part put there is
    /// gone when they go on; XDP's have room, and a call with its return costs more than most parts.
    const APART: bool;

    /// Flags without which a [`LocalPort`](vtep_abi::LocalPort) cannot be sent this kind of frame.
    const PORT_NEEDS: u16;
    /// Flags without which the interface of a [`VtepAdj`](vtep_abi::VtepAdj) cannot be sent this kind of frame.
    const ADJ_NEEDS: u16;
    /// The flag of a port whose frames from the underlay are decapsulated at this hook.
    const DECAP_FLAG: u16;

    /// For what only TC can do: copies, marks, the tunnel device. Without, the path ends in
    /// [`Verdict::Passed`](vtep_abi::Verdict::Passed), the frame as it came.
    fn skb(&self) -> Option<Skb>;

    fn act(self, action: Action) -> Self::Code;

    fn len(&self) -> u32;

    fn ifindex(&self) -> u32;

    /// 0 unless the frame is a super-packet that a device will segment.
    fn gso_size(&self) -> u32;

    /// The outermost tag: TPID and TCI.
    fn tag(&self) -> Option<(u16, u16)>;

    /// The first `N` bytes, without a tag that [`Self::tag`] shows.
    fn head<const N: usize>(&self) -> Option<[u8; N]>;

    /// The same in words, as they lie in memory.
    fn head_words<const N: usize>(&self) -> Option<[u16; N]>;

    /// Its Ethernet header, as [`Self::head`].
    fn ethernet(&self) -> Option<Ethernet>;

    /// An IP header's beginning, up to IPv4's TTL.
    fn ip_head(&self) -> Option<[u8; 9]>;

    /// Copies the first bytes, at most `limit`. How many; 0 if that fails.
    fn copy_head<const N: usize>(&self, to: &mut [u8; N], limit: u32) -> u32;

    fn byte(&self, offset: u32) -> Option<u8>;

    /// `N` bytes from anywhere.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    fn write<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused>;

    /// To the frame's beginning.
    fn write_ethernet(&self, ethernet: &Ethernet) -> Result<(), Refused>;

    /// For outer headers and the inner Ethernet header, `N` bytes together, at the frame's beginning.
    fn room<const N: usize>(&self) -> Result<PacketRoom, Refused>;

    /// The same as [`Self::write`] for bytes that a checksum over the whole packet covers, should the kernel keep one.
    fn write_summed<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused>;

    /// Equal for all frames of a flow, taken before the frame changes.
    fn flow_hash(&self) -> u32;

    /// Whether the packet behind the Ethernet header at `at` waits for its checksum or for being cut into segments, as
    /// only an skb knows how.
    fn is_unfinished(&self, at: usize, ether_type: EtherType) -> bool;

    /// Makes room for outer headers in front of the whole frame. The room is in front of the frame's own Ethernet header
    /// or behind it, as the kernel likes; the caller writes both headers anyway.
    fn push_outer(&self, shape: Shape) -> Result<(), Refused>;

    /// Removes outer headers of so many bytes; the frame then starts with the outer Ethernet header, to be overwritten by
    /// the inner.
    fn pop_outer(&self, outer_len: u32, inner: EtherType) -> Result<(), Refused>;

    fn push_tag(&self, vlan: u16) -> Result<(), Refused>;

    /// Takes off the tag that [`Self::tag`] shows; a second one takes its place.
    fn pop_tag(&mut self) -> Result<(), Refused>;

    /// Bytes of a tag that is taken off and still in the packet, though not in [`Self::len`].
    fn noted_tag_len(&self) -> u32;

    /// Carries out what [`Self::pop_tag`] may have put off, for a frame that leaves without another header or tag.
    fn settle(&self) -> Result<(), Refused>;
}
