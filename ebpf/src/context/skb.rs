//! The frame at a TC hook.
#![expect(unsafe_code, reason = "packet memory and kernel helpers are raw; each use says why it is sound")]

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L2_ETH,
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_DONT_FRAGMENT, BPF_F_RECOMPUTE_CSUM,
    BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, bpf_check_mtu_flags,
    bpf_tunnel_key,
};
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_clone_redirect, bpf_get_hash_recalc, bpf_get_prandom_u32, bpf_jiffies64,
    bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_loop, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer,
    bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_change_type,
    bpf_skb_get_tunnel_key, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_set_tunnel_key,
    bpf_skb_store_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push,
};
use aya_ebpf::programs::TcContext;
use aya_ebpf::{EbpfContext, cty::c_void};

use vtep_abi::{ADMITTED_MARK, LocalPort, SEEN_SHIFT, VtepAdj};
use vtep_outer::{Inner, Shape};

use super::put::PacketRoom;
use super::{Action, Frame, Refused, TunnelKey};
use crate::capture;
use crate::header::{ETH_LEN, EtherType, Ethernet};
use crate::maps;

/// `enum tcx_action_base` and `TC_ACT_*` of `include/uapi/linux`.
const TCX_NEXT: i32 = -1;
const TC_ACT_SHOT: i32 = 2;

/// What stands before an IPv4 address that is mapped into IPv6.
const V4: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

#[derive(Clone, Copy)]
pub(crate) struct Skb {
    skb: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        Self { skb: ctx.skb.skb }
    }

    #[inline(always)]
    pub(crate) fn ether_type(&self) -> EtherType {
        // SAFETY: see `len`.
        EtherType::from_be(unsafe { (*self.skb).protocol } as u16)
    }

    #[inline(always)]
    fn linear_head<const N: usize>(&self) -> Option<[u8; N]> {
        // SAFETY: `data` to `data_end` is the linear packet memory; the comparison proves to the verifier that the
        // read stays inside, and an array of bytes has no alignment.
        unsafe {
            let data = (*self.skb).data as usize;
            let end = (*self.skb).data_end as usize;
            if data + N > end {
                return None;
            }
            Some(core::ptr::read(data as *const [u8; N]))
        }
    }

    #[inline(always)]
    fn linear_words<const N: usize>(&self) -> Option<[u16; N]> {
        // SAFETY: as in `linear_head`. Headers begin at even addresses.
        unsafe {
            let data = (*self.skb).data as usize;
            if data + 2 * N > (*self.skb).data_end as usize {
                return None;
            }
            Some(core::ptr::read(data as *const [u16; N]))
        }
    }

    /// Makes the first bytes linear.
    #[inline(always)]
    fn pull(&self, len: u32) -> Option<()> {
        if self.len() < len {
            return None;
        }
        // SAFETY: the length is in bounds; the helper invalidates packet pointers, and none is kept.
        if unsafe { bpf_skb_pull_data(self.skb, len) } == 0 { Some(()) } else { None }
    }

    /// As [`Frame::load`], to where the caller wants it.
    #[inline(always)]
    pub(crate) fn load_to(&self, offset: u32, to: &mut [u8]) -> Result<(), Refused> {
        // SAFETY: the pointer and length are those of `to`; the helper checks the packet's bounds.
        done(unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to.as_mut_ptr().cast(), to.len() as u32) })
    }

    /// Cuts or grows the frame at its end. A super-packet is none any more.
    #[inline(always)]
    pub(crate) fn set_len(&self, len: u32) -> Result<(), Refused> {
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_skb_change_tail(self.skb, len, 0) })
    }

    /// Whether this is a super-packet whose segments the interface takes. The kernel knows where their headers end, also where
    /// those of a tunnel were taken off (`skb_gso_network_seglen` of its `net/core/gso.c`).
    #[inline(never)]
    pub(crate) fn has_segments_for(&self, ifindex: u32) -> bool {
        if self.gso_size() == 0 {
            return false;
        }
        let mut mtu_len = 0;
        // SAFETY: the pointer is that of `mtu_len`, of the size that the helper writes.
        let ret = unsafe {
            let segments = u64::from(bpf_check_mtu_flags::BPF_MTU_CHK_SEGS);
            bpf_check_mtu(self.skb.cast(), ifindex, &raw mut mtu_len, 0, segments)
        };
        ret == 0
    }

    /// Makes room in front of the frame, zeroed.
    #[inline(always)]
    pub(crate) fn push_head(&self, len: u32) -> Result<(), Refused> {
        // SAFETY: as for `set_len`.
        done(unsafe { bpf_skb_change_head(self.skb, len, 0) })
    }

    /// Whose the frame is was decided by its address at another interface; by its address at this one the FDB did.
    #[inline(always)]
    fn be_for_host(&self) {
        const PACKET_HOST: u32 = 0;
        // SAFETY: see `len`; the helper takes the context and a number.
        unsafe {
            if (*self.skb).pkt_type != PACKET_HOST {
                bpf_skb_change_type(self.skb, PACKET_HOST);
            }
        }
    }

    /// Lets `tunnel_in` know the frame again, behind the kernel's tunnel device.
    #[inline(always)]
    pub(crate) fn mark_admitted(&self) {
        // SAFETY: see `len`.
        unsafe { (*self.skb).mark |= ADMITTED_MARK }
    }

    /// Whether it was marked; the mark is taken off.
    #[inline(always)]
    pub(crate) fn take_admission(&self) -> bool {
        // SAFETY: see `len`.
        unsafe {
            let mark = (*self.skb).mark;
            (*self.skb).mark = mark & !ADMITTED_MARK;
            mark & ADMITTED_MARK == ADMITTED_MARK
        }
    }

    #[inline(always)]
    pub(crate) fn tunnel_key(&self) -> Option<TunnelKey> {
        let mut key = MaybeUninit::<bpf_tunnel_key>::uninit();
        // SAFETY: the helper writes at most the key's size, and if it returns 0 the VNI and the address that it was asked for.
        unsafe {
            let size = size_of::<bpf_tunnel_key>() as u32;
            let at = key.as_mut_ptr();
            if bpf_skb_get_tunnel_key(self.skb, at, size, 0) == 0 {
                let mapped = [V4, (*at).__bindgen_anon_1.remote_ipv4.to_be()];
                let remote = [0, bytemuck::must_cast(mapped)];
                return Some(TunnelKey { vni: (*at).tunnel_id, remote });
            }
            // It refuses a key of the other family.
            if bpf_skb_get_tunnel_key(self.skb, at, size, u64::from(BPF_F_TUNINFO_IPV6)) != 0 {
                return None;
            }
            let [a, b, c, d] = (*at).__bindgen_anon_1.remote_ipv6;
            let remote = [bytemuck::must_cast([a, b]), bytemuck::must_cast([c, d])];
            Some(TunnelKey { vni: (*at).tunnel_id, remote })
        }
    }

    #[inline(always)]
    pub(crate) fn push_tag_of(&self, tpid: u16, tci: u16) -> Result<(), Refused> {
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_skb_vlan_push(self.skb, tpid.to_be(), tci) })
    }

    /// Tells the kernel's tunnel device what to put around this frame.
    #[inline(always)]
    pub(crate) fn set_tunnel_key(&self, adj: &VtepAdj, inner: &Inner) -> Result<(), Refused> {
        // SAFETY: the key is plain numbers, for which zero is a value; the helper reads its size.
        let ret = unsafe {
            let mut key: bpf_tunnel_key = core::mem::zeroed();
            key.tunnel_id = inner.vni;
            let mut flags = BPF_F_ZERO_CSUM_TX;
            // The local one because the kernel would take the route's preferred source, which far VTEPs may not know.
            if adj.outer_len as usize == Shape::IPV6_UDP_LEN {
                flags |= BPF_F_TUNINFO_IPV6;
                key.__bindgen_anon_1.remote_ipv6 = words(&adj.remote);
                key.__bindgen_anon_3.local_ipv6 = words(&adj.local);
            } else {
                key.__bindgen_anon_1.remote_ipv4 = u32::from_be(words(&adj.remote)[3]);
                key.__bindgen_anon_3.local_ipv4 = u32::from_be(words(&adj.local)[3]);
            }
            if inner.outer_dont_fragment(adj) {
                flags |= BPF_F_DONT_FRAGMENT;
            }
            key.tunnel_ttl = inner.outer_ttl(adj);
            key.tunnel_tos = inner.outer_tos(adj);
            let size = size_of::<bpf_tunnel_key>() as u32;
            bpf_skb_set_tunnel_key(self.skb, &raw mut key, size, u64::from(flags))
        };
        done(ret)
    }

    /// As if the kernel's tunnel device had handed the frame on, with the key that a test-run's context has in `cb`.
    #[inline(always)]
    pub(crate) fn take_key_of_context(&self) -> Result<(), Refused> {
        // SAFETY: as for `set_tunnel_key`, and the context is valid for the whole run of the program.
        let ret = unsafe {
            // Word by word: the context is no memory that could be compared.
            let [vni, a, b, c, d] = (*self.skb).cb;
            let mut key: bpf_tunnel_key = core::mem::zeroed();
            key.tunnel_id = vni;
            // The sender of what was received is the local end of what is to be sent, which a program's key is for
            // (`bpf_skb_get_tunnel_key` of the kernel's `net/core/filter.c`).
            let mut flags = 0;
            if a == 0 && b == 0 && c == V4 {
                key.__bindgen_anon_3.local_ipv4 = u32::from_be(d);
            } else {
                flags = BPF_F_TUNINFO_IPV6;
                key.__bindgen_anon_3.local_ipv6 = [a, b, c, d];
            }
            let size = size_of::<bpf_tunnel_key>() as u32;
            bpf_skb_set_tunnel_key(self.skb, &raw mut key, size, u64::from(flags))
        };
        done(ret)
    }

    #[inline(always)]
    pub(crate) fn copy_to(&self, ifindex: u32) -> Result<(), Refused> {
        if maps::is_tracing() {
            capture::copy(*self, ifindex);
            return Ok(());
        }
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_clone_redirect(self.skb, ifindex, 0) })
    }
}

impl EbpfContext for Skb {
    fn as_ptr(&self) -> *mut c_void {
        self.skb.cast()
    }
}

impl Frame for Skb {
    type Code = i32;

    const APART: bool = true;

    const PORT_NEEDS: u16 = 0;
    const ADJ_NEEDS: u16 = 0;
    const DECAP_FLAG: u16 = LocalPort::DECAP_IN_PROGRAM;

    #[inline(always)]
    fn skb(&self) -> Option<Skb> {
        Some(*self)
    }

    #[inline(always)]
    fn act(self, action: Action) -> i32 {
        match action {
            Action::Next => TCX_NEXT,
            Action::Drop => TC_ACT_SHOT,
            // SAFETY: the helper takes two numbers and returns TC_ACT_REDIRECT, or TC_ACT_SHOT for bad flags.
            Action::Redirect(ifindex) => unsafe { bpf_redirect(ifindex, 0) as i32 },
            // SAFETY: the same; without parameters the helper looks the packet's destination up.
            Action::Resolve(ifindex) => unsafe {
                bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
            },
            // SAFETY: the same.
            Action::Peer(ifindex) => unsafe {
                self.be_for_host();
                bpf_redirect_peer(ifindex, 0) as i32
            },
        }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context is valid for the whole run of the program; so for all fields below.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: see `len`.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: see `len`.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn tag(&self) -> Option<(u16, u16)> {
        // SAFETY: see `len`.
        unsafe {
            if (*self.skb).vlan_present == 0 {
                return None;
            }
            Some((u16::from_be((*self.skb).vlan_proto as u16), (*self.skb).vlan_tci as u16))
        }
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<[u8; N]> {
        if let Some(head) = self.linear_head() {
            return Some(head);
        }
        self.pull(N as u32)?;
        self.linear_head()
    }

    #[inline(always)]
    fn head_words<const N: usize>(&self) -> Option<[u16; N]> {
        if let Some(words) = self.linear_words() {
            return Some(words);
        }
        self.pull(2 * N as u32)?;
        self.linear_words()
    }

    #[inline(always)]
    fn ethernet(&self) -> Option<Ethernet> {
        self.head_words().map(Ethernet)
    }

    #[inline(always)]
    fn ip_head(&self) -> Option<[u8; 9]> {
        self.head::<{ ETH_LEN + 9 }>()?.last_chunk().copied()
    }

    #[inline(always)]
    fn copy_head<const N: usize>(&self, to: &mut [u8; N], limit: u32) -> u32 {
        let len = core::hint::black_box(self.len().min(limit));
        if len == 0 || len > N as u32 {
            return 0;
        }
        // SAFETY: `to` has room for `len` bytes; the helper checks the packet's bounds.
        let ret = unsafe { bpf_skb_load_bytes(self.skb.cast(), 0, to.as_mut_ptr().cast(), len) };
        if ret == 0 { len } else { 0 }
    }

    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        self.load::<1>(offset).map(|[byte]| byte)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the pointer and length are those of `bytes`; the helper checks the packet's bounds, and has written all of
        // them if it returns 0.
        unsafe {
            let ret = bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
            if ret == 0 { Some(bytes.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn write<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        // SAFETY: the pointer and length are those of `bytes`; the helper checks the packet's bounds.
        let ret = unsafe { bpf_skb_store_bytes(self.skb, offset, bytes.as_ptr().cast(), N as u32, 0) };
        done(ret)
    }

    #[inline(always)]
    fn write_ethernet(&self, ethernet: &Ethernet) -> Result<(), Refused> {
        // SAFETY: as in `linear_words`. The kernel makes the memory this packet's own before a program that writes to it begins
        // (`bpf_unclone_prologue` of its `net/core/filter.c`).
        unsafe {
            let data = (*self.skb).data as usize;
            if data + ETH_LEN <= (*self.skb).data_end as usize {
                core::ptr::write(data as *mut [u16; ETH_LEN / 2], ethernet.0);
                return Ok(());
            }
        }
        self.write(0, ethernet.bytes())
    }

    /// Linear and this packet's own: the kernel makes it so where room is made, where a copy leaves, and where a program that
    /// writes sees a packet first (`bpf_unclone_prologue` of its `net/core/filter.c`).
    #[inline(always)]
    fn room<const N: usize>(&self) -> Result<PacketRoom, Refused> {
        // SAFETY: see `len`. Volatile, for each copy that left has moved the packet.
        let (data, end) = unsafe {
            let data = core::ptr::read_volatile(&raw const (*self.skb).data);
            (data as usize, core::ptr::read_volatile(&raw const (*self.skb).data_end) as usize)
        };
        if data + N > end {
            return Err(Refused);
        }
        // SAFETY: it was compared just now.
        Ok(unsafe { PacketRoom::new::<N>(data) })
    }

    #[inline(always)]
    fn write_summed<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        // SAFETY: as for `write`.
        let ret = unsafe { bpf_skb_store_bytes(self.skb, offset, bytes.as_ptr().cast(), N as u32, flags) };
        done(ret)
    }

    #[inline(always)]
    fn flow_hash(&self) -> u32 {
        // SAFETY: the helper takes the context alone.
        unsafe { bpf_get_hash_recalc(self.skb) }
    }

    #[inline(always)]
    fn is_unfinished(&self, _: usize, _: EtherType) -> bool {
        false
    }

    #[inline(always)]
    fn push_outer(&self, shape: Shape) -> Result<(), Refused> {
        let ret = if self.ether_type().is_ip() {
            let family =
                if shape.is_ipv6() { BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 } else { BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 };
            let transport =
                if shape.is_udp() { BPF_F_ADJ_ROOM_ENCAP_L4_UDP } else { BPF_F_ADJ_ROOM_ENCAP_L4_GRE };
            // ENCAP_L2 is the length of what lies between the outer UDP payload's start and the inner IP header as the
            // kernel counts it: the inner Ethernet header, without VXLAN (22 would break TSO).
            let flags =
                u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | family | transport)
                    | (ETH_LEN as u64) << 56;
            // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
            unsafe { bpf_skb_adjust_room(self.skb, shape.outer_len() as i32, BPF_ADJ_ROOM_MAC, flags) }
        } else {
            // SAFETY: as above. `adjust_room` refuses what is not IP.
            unsafe { bpf_skb_change_head(self.skb, shape.outer_len() as u32, 0) }
        };
        done(ret)
    }

    #[inline(always)]
    fn pop_outer(&self, outer_len: u32, inner: EtherType) -> Result<(), Refused> {
        let family = match inner {
            EtherType::IPV6 => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
            // Of a frame that is not IP the helper wants to know nothing else, only less room for an IP header.
            _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        };
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | family);
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_skb_adjust_room(self.skb, -(outer_len as i32), BPF_ADJ_ROOM_MAC, flags) })
    }

    #[inline(always)]
    fn push_tag(&self, vlan: u16) -> Result<(), Refused> {
        const ETH_P_8021Q: u16 = 0x8100;
        self.push_tag_of(ETH_P_8021Q, vlan)
    }

    #[inline(always)]
    fn pop_tag(&mut self) -> Result<(), Refused> {
        // SAFETY: as for `push_tag`.
        done(unsafe { bpf_skb_vlan_pop(self.skb) })
    }

    #[inline(always)]
    fn noted_tag_len(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn settle(&self) -> Result<(), Refused> {
        Ok(())
    }
}

/// An address as the tunnel key has it: in the packet's byte order.
#[inline(always)]
const fn words(address: &[u8; 16]) -> [u32; 4] {
    let a = address;
    [
        u32::from_ne_bytes([a[0], a[1], a[2], a[3]]),
        u32::from_ne_bytes([a[4], a[5], a[6], a[7]]),
        u32::from_ne_bytes([a[8], a[9], a[10], a[11]]),
        u32::from_ne_bytes([a[12], a[13], a[14], a[15]]),
    ]
}

/// Not predictable, nor worth a secret.
#[inline(always)]
pub(crate) fn random() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_prandom_u32() }
}

#[inline(always)]
const fn done(ret: i64) -> Result<(), Refused> {
    if ret == 0 { Ok(()) } else { Err(Refused) }
}

/// Calls `body(i, state)` for `i` in `0..times`, by a helper: the verifier walks the body once, not `times` times.
/// A body returns 0 to go on and 1 to stop.
#[inline(always)]
pub(crate) fn repeat<S>(times: u32, state: &mut S, body: extern "C" fn(u32, &mut S) -> u64) {
    // SAFETY: the helper calls `body` with an index and `state`'s address, which outlives the call; a reference and
    // a pointer are passed alike.
    unsafe {
        bpf_loop(times, body as *mut core::ffi::c_void, core::ptr::from_mut(state).cast(), 0);
    }
}

/// Ticks of the kernel's timer. The verifier makes a load of it, where every clock is a call.
#[inline(always)]
pub(crate) fn tick() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_jiffies64() }
}

/// Changes every 128 ticks.
#[inline(always)]
pub(crate) fn turn() -> u32 {
    (tick() >> 7) as u32
}

/// The same clock as of its last tick, which costs a load instead of a read of the hardware, as `SeenValue` has it.
#[inline(always)]
pub(crate) fn now_coarse() -> u32 {
    (now_coarse_ns() >> SEEN_SHIFT) as u32
}

#[inline(always)]
pub(crate) fn now_coarse_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Nanoseconds since the host started, without the time that it slept.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}
