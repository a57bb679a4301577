//! The frame at a TC hook.
#![expect(unsafe_code, reason = "packet memory and kernel helpers are raw; each use says why it is sound")]

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L2_ETH,
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_DONT_FRAGMENT,
    BPF_F_ZERO_CSUM_TX, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, bpf_tunnel_key,
};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_get_hash_recalc, bpf_loop, bpf_redirect, bpf_skb_adjust_room,
    bpf_skb_change_head, bpf_skb_get_tunnel_key, bpf_skb_load_bytes, bpf_skb_pull_data,
    bpf_skb_set_tunnel_key, bpf_skb_store_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push,
};
use aya_ebpf::programs::TcContext;
use aya_ebpf::{EbpfContext, cty::c_void};

use vtep_abi::{ADMITTED_MARK, LocalPort, VtepAdj};

use super::{Action, Frame, Refused, TunnelKey};
use crate::header::{ENCAP_LEN, ETH_LEN, EtherType, v4};

/// `enum tcx_action_base` and `TC_ACT_*` of `include/uapi/linux`.
const TCX_NEXT: i32 = -1;
const TC_ACT_SHOT: i32 = 2;

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
        // SAFETY: the key is plain numbers, for which zero is a value; the helper writes at most its size.
        unsafe {
            let mut key: bpf_tunnel_key = core::mem::zeroed();
            let size = size_of::<bpf_tunnel_key>() as u32;
            if bpf_skb_get_tunnel_key(self.skb, &raw mut key, size, 0) != 0 {
                return None;
            }
            Some(TunnelKey { vni: key.tunnel_id, remote: key.__bindgen_anon_1.remote_ipv4.to_be_bytes() })
        }
    }

    /// Tells the kernel's tunnel device what to put around this frame.
    #[inline(always)]
    pub(crate) fn set_tunnel_key(&self, vni: u32, adj: &VtepAdj, tos: u8) -> Result<(), Refused> {
        // SAFETY: the key is plain numbers, for which zero is a value; the helper reads its size.
        let ret = unsafe {
            let mut key: bpf_tunnel_key = core::mem::zeroed();
            key.tunnel_id = vni;
            key.__bindgen_anon_1.remote_ipv4 = u32::from_be_bytes(v4(&adj.remote));
            // Without it the kernel would take the route's preferred source, which far VTEPs may not know.
            key.__bindgen_anon_3.local_ipv4 = u32::from_be_bytes(v4(&adj.local));
            key.tunnel_ttl = adj.ttl;
            key.tunnel_tos = tos;
            let flags = u64::from(BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT);
            bpf_skb_set_tunnel_key(self.skb, &raw mut key, size_of::<bpf_tunnel_key>() as u32, flags)
        };
        done(ret)
    }

    #[inline(always)]
    pub(crate) fn copy_to(&self, ifindex: u32) -> Result<(), Refused> {
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
        if self.len() < N as u32 {
            return None;
        }
        // SAFETY: the length is in bounds; the helper invalidates packet pointers, and none is kept.
        if unsafe { bpf_skb_pull_data(self.skb, N as u32) } != 0 {
            return None;
        }
        self.linear_head()
    }

    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        let mut byte = 0_u8;
        // SAFETY: the pointer is that of one byte; the helper checks the packet's bounds.
        let ret = unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, (&raw mut byte).cast(), 1) };
        if ret == 0 { Some(byte) } else { None }
    }

    #[inline(always)]
    fn write<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        // SAFETY: the pointer and length are those of `bytes`; the helper checks the packet's bounds.
        let ret = unsafe { bpf_skb_store_bytes(self.skb, offset, bytes.as_ptr().cast(), N as u32, 0) };
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
    fn push_outer(&self) -> Result<(), Refused> {
        let ret = if self.ether_type().is_ip() {
            // ENCAP_L2 is the length of what lies between the outer UDP payload's start and the inner IP header as the
            // kernel counts it: the inner Ethernet header, without VXLAN (22 would break TSO).
            let flags = u64::from(
                BPF_F_ADJ_ROOM_FIXED_GSO
                    | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
                    | BPF_F_ADJ_ROOM_ENCAP_L4_UDP
                    | BPF_F_ADJ_ROOM_ENCAP_L2_ETH,
            ) | (ETH_LEN as u64) << 56;
            // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
            unsafe { bpf_skb_adjust_room(self.skb, ENCAP_LEN as i32, BPF_ADJ_ROOM_MAC, flags) }
        } else {
            // SAFETY: as above. `adjust_room` refuses what is not IP.
            unsafe { bpf_skb_change_head(self.skb, ENCAP_LEN as u32, 0) }
        };
        done(ret)
    }

    #[inline(always)]
    fn pop_outer(&self, inner: EtherType) -> Result<(), Refused> {
        let family = match inner {
            EtherType::IPV4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
            EtherType::IPV6 => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
            _ => 0,
        };
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | family);
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_skb_adjust_room(self.skb, -(ENCAP_LEN as i32), BPF_ADJ_ROOM_MAC, flags) })
    }

    #[inline(always)]
    fn push_tag(&self, vlan: u16) -> Result<(), Refused> {
        const ETH_P_8021Q: u16 = 0x8100;
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        done(unsafe { bpf_skb_vlan_push(self.skb, ETH_P_8021Q.to_be(), vlan) })
    }

    #[inline(always)]
    fn pop_tag(&mut self) -> Result<(), Refused> {
        // SAFETY: as for `push_tag`.
        done(unsafe { bpf_skb_vlan_pop(self.skb) })
    }

    #[inline(always)]
    fn settle(&self) -> Result<(), Refused> {
        Ok(())
    }
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
