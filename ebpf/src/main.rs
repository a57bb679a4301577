//! The programs that carry frames between the VMs' ports and the underlay.
//!
//! Each hook has one program. A program follows one path, which ends in one [`Verdict`]; [`conclude`] is the only
//! place that turns it into an action for the kernel and a counter.

#![no_std]
#![no_main]

mod choice;
mod context;
mod encap;
mod flood;
mod header;
mod maps;
mod port;
mod tunnel;
mod uplink;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use vtep_abi::Verdict;

use crate::context::{Action, Frame};

/// How a path ended, in one register: a verdict, the bridge domain that counts it, and where the frame goes on.
#[derive(Clone, Copy)]
struct End {
    verdict: Verdict,
    ifindex: u32,
}

impl End {
    const fn redirect(verdict: Verdict, ifindex: u32) -> Self {
        Self { verdict, ifindex }
    }
}

/// A path without a next hop: dropped, consumed by copies, or the host's.
impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, ifindex: 0 }
    }
}

#[classifier]
fn port_in(ctx: TcContext) -> i32 {
    let frame = Frame::new(&ctx);
    let mut bd = 0;
    let bytes = frame.len();
    let end = port::enter(&frame, &mut bd);
    conclude(&frame, bd, bytes, end)
}

#[classifier]
fn tunnel_in(ctx: TcContext) -> i32 {
    let frame = Frame::new(&ctx);
    let mut bd = 0;
    let bytes = frame.len();
    let end = tunnel::enter(&frame, &mut bd);
    conclude(&frame, bd, bytes, end)
}

#[classifier]
fn uplink_in(ctx: TcContext) -> i32 {
    let frame = Frame::new(&ctx);
    let mut bd = 0;
    let bytes = frame.len();
    let end = uplink::enter(&frame, &mut bd);
    conclude(&frame, bd, bytes, end)
}

#[inline(always)]
fn conclude(frame: &Frame, bd: u32, bytes: u32, end: End) -> i32 {
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        frame.log_context(),
        "bd {} verdict {} ifindex {}",
        bd,
        end.verdict as u32,
        end.ifindex
    );
    maps::count(bd, end.verdict, bytes);
    let action = match end.verdict {
        Verdict::Local | Verdict::Master | Verdict::Slave | Verdict::Device | Verdict::Delivered => {
            Action::Redirect(end.ifindex)
        }
        // The copies are on their way; the original ends here.
        Verdict::Flooded | Verdict::DeliveredFlood => Action::Drop,
        Verdict::Admitted | Verdict::NotOurs => Action::Next,
        Verdict::InnerTruncated
        | Verdict::Unbound
        | Verdict::UnknownVni
        | Verdict::UnknownUnicast
        | Verdict::BothDown
        | Verdict::NoRoute
        | Verdict::TooBig
        | Verdict::EncapFailed
        | Verdict::UnknownSender
        | Verdict::SenderNotInVni
        | Verdict::VxlanFlags
        | Verdict::OuterMalformed
        | Verdict::OuterFragment
        | Verdict::SplitHorizon
        | Verdict::SamePort
        | Verdict::GroupSource
        | Verdict::NoMembers
        | Verdict::PortGone
        | Verdict::DecapFailed
        | Verdict::VlanFailed => Action::Drop,
    };
    frame.act(action)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
