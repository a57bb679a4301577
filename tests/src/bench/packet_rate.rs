//! Packet-rate mode beside the kernel's bridge and VXLAN device, and beside the floor: a bare XDP redirect.
//!
//! Frames are put in at the other end of the veth, so that XDP sees them, for all three alike. What leaves by XDP ends at
//! an XDP hook, what leaves as an skb at tcx: each at its cheapest.

use anyhow::Result;

use super::{
    Options, Row,
    encap::{Direction, KERNEL, MACS, Side},
};

const FLOOR: &str = "bare XDP redirect";

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let mut ours = Side::new("ours")?;
    let kernel = Side::new("kernel")?;
    let floor = Side::new("floor")?;
    ours.forward_by_xdp()?;
    kernel.prepare_for_xdp()?;
    kernel.forward_by_kernel()?;
    floor.prepare_for_xdp()?;
    let _bounce = floor.bounce()?;

    let rounds = options.rounds();
    let frames = if options.quick { 200_000 } else { 2_000_000 };
    let xdp = |side: &Side, direction, macs| side.frames_per_second_at_xdp(direction, macs, frames, true);
    let skb = |side: &Side, direction, macs| side.frames_per_second_at_xdp(direction, macs, frames, false);
    let rate = "frames/s";
    let (out, within) = (Direction::Out, Direction::In);
    Ok(vec![
        Row::alternate(("out, 1 MAC", rate, KERNEL), rounds, || xdp(&ours, out, 1), || skb(&kernel, out, 1))?,
        Row::alternate(
            ("out, 10000 MACs", rate, KERNEL),
            rounds,
            || xdp(&ours, out, MACS),
            || skb(&kernel, out, MACS),
        )?,
        Row::alternate(
            ("in, 1 MAC", rate, KERNEL),
            rounds,
            || xdp(&ours, within, 1),
            || skb(&kernel, within, 1),
        )?,
        Row::alternate(("out, 1 MAC", rate, FLOOR), rounds, || xdp(&ours, out, 1), || xdp(&floor, out, 1))?,
    ])
}
