//! Traffic for benches: frames out of nothing, and a place where they end. Not part of the product.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "a program's entry takes its context by value")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's actions have 32 bits, its helpers return 64"
)]
#![expect(unsafe_code, reason = "packet memory and map elements are raw; each use says why it is sound")]

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_redirect};
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// How many destination MACs the frames name.
#[btf_map]
static DESTINATIONS: Array<u32, 1> = Array::new();
/// Where `bounce` sends frames.
#[btf_map]
static TARGET: Array<u32, 1> = Array::new();
/// How many frames came to their end.
#[btf_map]
static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

const UDP_SOURCE: usize = 34;

/// Gives a frame one of the destinations and a source port, and lets the stack receive it.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    vary(&ctx, XDP_PASS)
}

/// The same, and sends it back to where it came from: a veth's other end receives it.
#[xdp]
fn reflect(ctx: XdpContext) -> u32 {
    vary(&ctx, XDP_TX)
}

#[inline]
fn vary(ctx: &XdpContext, action: u32) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    let destinations = DESTINATIONS.get(0).copied().unwrap_or(1);
    if data + UDP_SOURCE + 2 > end || destinations == 0 {
        return XDP_DROP;
    }
    // SAFETY: the helper takes nothing.
    let random = unsafe { bpf_get_prandom_u32() };
    let [_, a, b, c] = (random % destinations).to_be_bytes();
    // SAFETY: the comparison above proves that the bytes written are inside the packet.
    unsafe {
        *((data + 3) as *mut [u8; 3]) = [a, b, c];
        *((data + UDP_SOURCE) as *mut [u8; 2]) = [b & 3, c];
    }
    action
}

/// The floor: every frame to one interface, as it is.
#[xdp]
fn bounce(_: XdpContext) -> u32 {
    let target = TARGET.get(0).copied().unwrap_or(0);
    // SAFETY: the helper takes two numbers.
    unsafe { bpf_redirect(target, 0) as u32 }
}

#[xdp]
fn sink_xdp(_: XdpContext) -> u32 {
    count();
    XDP_DROP
}

/// At tcx ingress: an XDP program on a veth would have every frame copied for it first.
#[classifier]
fn sink(_: TcContext) -> i32 {
    count();
    TC_ACT_SHOT
}

#[inline]
fn count() {
    if let Some(count) = SUNK.get_ptr_mut(0) {
        // SAFETY: the pointer is this CPU's element.
        unsafe { *count += 1 };
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
