//! Gives a test-run's frame what only a device could have given it, a tag beside its bytes and a tunnel's key, and goes
//! on with another program. For tests; not part of the product.
//!
//! What is asked for stands in the context: `priority` says what ([`TAGGED`] and so on, the tag's TCI in its upper half),
//! `cb` the tunnel's VNI and the address of who sent it.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "a program's entry takes its context by value")]
#![expect(clippy::cast_possible_truncation, reason = "helpers take sizes of 32 bits")]
#![expect(unsafe_code, reason = "the context and kernel helpers are raw; each use says why it is sound")]

use aya_ebpf::bindings::{BPF_F_TUNINFO_IPV6, TC_ACT_SHOT, bpf_tunnel_key};
use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::helpers::generated::{bpf_skb_set_tunnel_key, bpf_skb_vlan_push};
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// What to go on with, by the lowest two bits.
#[btf_map]
static PROGRAMS: ProgramArray<4> = ProgramArray::new();

const PROGRAM: u32 = 3;
/// By IEEE 802.1Q, or else by IEEE 802.1ad.
const TAGGED: u32 = 4;
const PROVIDER: u32 = 8;
const TUNNELLED: u32 = 16;
const IPV6: u32 = 32;

/// What cannot be done ends in a drop that nobody counts.
#[classifier]
fn received(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is valid for the whole run of the program.
    let (asked, cb) = unsafe { ((*skb).priority, (*skb).cb) };
    // SAFETY: as above.
    unsafe { (*skb).priority = 0 };
    if asked & TAGGED != 0 {
        let tpid: u16 = if asked & PROVIDER != 0 { 0x88a8 } else { 0x8100 };
        // SAFETY: the helper takes the context and numbers; no packet pointer is kept.
        if unsafe { bpf_skb_vlan_push(skb, tpid.to_be(), (asked >> 16) as u16) } != 0 {
            return TC_ACT_SHOT;
        }
    }
    if asked & TUNNELLED != 0 {
        // SAFETY: the key is plain numbers, for which zero is a value; the helper reads its size.
        let set = unsafe {
            let mut key: bpf_tunnel_key = core::mem::zeroed();
            key.tunnel_id = cb[0];
            // The sender of what was received is the local end of what is to be sent.
            let mut flags = 0;
            if asked & IPV6 != 0 {
                flags = u64::from(BPF_F_TUNINFO_IPV6);
                key.__bindgen_anon_3.local_ipv6 = [cb[1], cb[2], cb[3], cb[4]];
            } else {
                key.__bindgen_anon_3.local_ipv4 = u32::from_be(cb[1]);
            }
            bpf_skb_set_tunnel_key(skb, &raw mut key, size_of::<bpf_tunnel_key>() as u32, flags)
        };
        if set != 0 {
            return TC_ACT_SHOT;
        }
    }
    // SAFETY: nothing here has to be dropped.
    unsafe { PROGRAMS.tail_call(&ctx, asked & PROGRAM) };
    TC_ACT_SHOT
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
