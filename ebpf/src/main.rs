//! The programs that carry frames between the VMs' ports and the underlay.
//!
//! Each hook has one program. A program follows one path, which ends in one [`Verdict`]; [`conclude`] is the only
//! place that turns it into an action for the kernel and a counter.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a program's entry takes its context by value, a loop's body the result of a copy"
)]
#![expect(
    clippy::redundant_closure,
    reason = "a path that is handed over by name to two programs becomes a call, and its frame costs stack"
)]
#![expect(clippy::inline_always, reason = "a call costs registers and a share of 512 bytes of stack")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "header fields and helper arguments have the kernel's widths; a checked conversion is a branch per packet"
)]

mod admission;
mod capture;
mod choice;
mod context;
mod encap;
mod flood;
mod flow;
mod header;
mod learning;
mod liveness;
mod mactab;
mod maps;
mod police;
mod port;
mod recent;
mod security;
mod suppress;
mod tagged;
mod too_big;
mod trace;
mod tunnel;
mod uplink;
mod vlan;
mod witness;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use vtep_abi::{CaptureHead, Verdict};

use crate::context::{Action, Frame, Skb, Xdp};

/// How a path ended: a verdict, and where the frame goes on.
#[derive(Clone, Copy)]
struct End {
    verdict: Verdict,
    /// With [`CaptureHead::RESOLVE`] or [`CaptureHead::PEER`] on top.
    ifindex: u32,
}

impl End {
    const fn redirect(verdict: Verdict, ifindex: u32) -> Self {
        Self { verdict, ifindex }
    }

    /// The kernel finds the next hop.
    const fn resolve(verdict: Verdict, ifindex: u32) -> Self {
        Self { verdict, ifindex: ifindex | CaptureHead::RESOLVE }
    }

    /// Into the namespace at the other end of a veth.
    const fn peer(verdict: Verdict, ifindex: u32) -> Self {
        Self { verdict, ifindex: ifindex | CaptureHead::PEER }
    }

    /// XDP has no room in front of the frame, which is as it came; TC makes some.
    const fn without_headroom() -> Self {
        Self { verdict: Verdict::Passed, ifindex: u32::MAX }
    }

    const fn lacks_headroom(self) -> bool {
        matches!(self.verdict, Verdict::Passed) && self.ifindex != 0
    }

    /// By the interface all the same.
    const fn by_interface(self) -> Self {
        Self { ifindex: self.ifindex & !CaptureHead::PEER, ..self }
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
    run(Skb::new(&ctx), port::enter)
}

#[classifier]
fn tunnel_in(ctx: TcContext) -> i32 {
    run(Skb::new(&ctx), |frame, account| tunnel::enter(frame, account))
}

#[classifier]
fn uplink_in(ctx: TcContext) -> i32 {
    run(Skb::new(&ctx), |frame, account| arrive(frame, account))
}

#[inline(always)]
fn arrive<F: Frame>(frame: &mut F, account: &mut Account) -> End {
    capture::keep_outer(frame, account);
    uplink::enter(frame, account)
}

#[classifier]
fn trace_port(ctx: TcContext) -> i32 {
    let frame = Skb::new(&ctx);
    trace::untag(frame);
    run(frame, |frame, account| port::enter(frame, account))
}

#[classifier]
fn trace_uplink(ctx: TcContext) -> i32 {
    let frame = Skb::new(&ctx);
    trace::untag(frame);
    run(frame, |frame, account| arrive(frame, account))
}

#[classifier]
fn trace_tunnel(ctx: TcContext) -> i32 {
    let frame = Skb::new(&ctx);
    trace::untag(frame);
    trace::leave_tunnel(frame);
    run(frame, |frame, account| tunnel::enter(frame, account))
}

/// What it does not finish goes on to `port_in` as it came.
#[xdp(frags)]
fn port_xdp(ctx: XdpContext) -> u32 {
    run(Xdp::new(&ctx), |frame, account| port::enter(frame, account))
}

/// What it does not finish goes on to `uplink_in` as it came.
#[xdp(frags)]
fn uplink_xdp(ctx: XdpContext) -> u32 {
    run(Xdp::new(&ctx), |frame, account| arrive(frame, account))
}

/// Who counts the frame, and as how many bytes.
struct Account {
    bd: u32,
    /// That it came from; 0: from none, or from one that let it in nowhere.
    local_port: u32,
    bytes: u32,
    /// The frame's length as it came, if [`capture`] kept its head; 0 if not.
    kept: u32,
}

#[inline(always)]
fn run<F: Frame>(mut frame: F, path: impl FnOnce(&mut F, &mut Account) -> End) -> F::Code {
    // The path may change the frame's length; the counter takes it as it came.
    let mut account = Account { bd: 0, local_port: 0, bytes: frame.len(), kept: 0 };
    let end = path(&mut frame, &mut account);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(&frame, "bd {} verdict {} ifindex {}", account.bd, end.verdict as u32, end.ifindex);
    conclude(frame, &account, end)
}

#[inline(always)]
fn conclude<F: Frame>(frame: F, account: &Account, end: End) -> F::Code {
    let action = match end.verdict {
        Verdict::Device if end.ifindex & CaptureHead::RESOLVE != 0 => {
            Action::Resolve(end.ifindex & !CaptureHead::RESOLVE)
        }
        Verdict::Local | Verdict::Delivered if end.ifindex & CaptureHead::PEER != 0 => {
            Action::Peer(end.ifindex & !CaptureHead::PEER)
        }
        Verdict::Local
        | Verdict::Master
        | Verdict::Slave
        | Verdict::Device
        | Verdict::Delivered
        | Verdict::Answered
        | Verdict::TooBigTold
        | Verdict::PortMtuTold
        | Verdict::BfdAnswered => Action::Redirect(end.ifindex),
        Verdict::Admitted | Verdict::NotOurs | Verdict::Passed => Action::Next,
        // The copies are on their way, or the agent has it; the original ends here.
        Verdict::Flooded
        | Verdict::Bfd
        | Verdict::DeliveredFlood
        | Verdict::InnerTruncated
        | Verdict::Unbound
        | Verdict::UnknownVni
        | Verdict::UnknownUnicast
        | Verdict::BothDown
        | Verdict::NoRoute
        | Verdict::TooBig
        | Verdict::PortMtu
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
        | Verdict::InnerShort
        | Verdict::InnerSegments
        | Verdict::VlanFailed
        | Verdict::ExtraTag
        | Verdict::NotAdmitted
        | Verdict::EcnCongested
        | Verdict::ReservedBits
        | Verdict::GeneveCritical
        | Verdict::TunnelHeader
        | Verdict::Unresolved
        | Verdict::LinkLocal
        | Verdict::LocalSource
        | Verdict::WrongSource
        | Verdict::PortStorm
        | Verdict::VniStorm
        | Verdict::MacRefused
        | Verdict::IpRefused
        | Verdict::TenantBfd => Action::Drop,
    };
    // What XDP leaves to TC, TC counts.
    if frame.skb().is_some() || !matches!(action, Action::Next) {
        maps::count(account.bd, end.verdict, account.bytes);
        if account.local_port != 0 {
            let dropped = end.verdict.is_drop();
            if F::APART {
                maps::count_from_port_apart(account.local_port, account.bytes, dropped);
            } else {
                maps::count_from_port(account.local_port, account.bytes, dropped);
            }
        }
        capture::offer(frame, account, end);
    }
    frame.act(action)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
