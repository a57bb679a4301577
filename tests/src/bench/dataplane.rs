//! Frames through our host, in each of its modes, beside the same frames through a host with the kernel's bridge and
//! VXLAN device, and beside a bare XDP redirect.
//!
//! Every mode is fed and drained where that costs it least: what works on packets of the stack gets packets and is
//! counted at tcx, what works before the stack gets bare frames and is counted by XDP.

mod side;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};

use self::side::{Direction, Load, Mode, Side};
use super::{Options, Row};
use crate::lab::{round_trips, tcp_megabits};

const RATE: &str = "frames/s";
/// VTEPs; the port is a member, too, and 128 are the most.
const FLOODS: [u32; 3] = [8, 64, 127];

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let quick = options.quick;
    let macs: &[u32] = if quick { &[1, 1_000] } else { &[1, 1_000, 100_000, 1_000_000] };
    let frames = if quick { 100_000 } else { 1_000_000 };
    let most = macs.last().copied().unwrap_or(1);
    let sides = Mode::ALL.map(|mode| Side::new(mode, most, FLOODS[2]).with_context(|| format!("{mode:?}")));
    let mut sides: Vec<Side> = sides.into_iter().collect::<Result<_>>()?;
    for mode in [Mode::Device, Mode::Peer] {
        sides.push(Side::new(mode, 1, 1).with_context(|| format!("{mode:?}"))?);
    }
    let mut bench = Bench { options, sides, rows: Vec::new() };

    for &macs in macs {
        let load = Load { direction: Direction::Out, macs, frames, cores: 1 };
        bench.frames(&format!("out, {macs} MACs"), load)?;
    }
    bench.frames("in", Load { direction: Direction::In, macs: 1, frames, cores: 1 })?;
    for (direction, name) in [(Direction::Out, "out, 2 cores"), (Direction::In, "in, 2 cores")] {
        bench.frames(name, Load { direction, macs: 1, frames: 2 * frames, cores: 2 })?;
    }
    bench.stations(quick)?;
    bench.floods(if quick { 50_000 } else { 500_000 })?;
    Ok(bench.rows)
}

struct Bench {
    options: Options,
    sides: Vec<Side>,
    rows: Vec<Row>,
}

impl Bench {
    fn frames(&mut self, name: &str, load: Load) -> Result<()> {
        if !self.options.wants(name) {
            return Ok(());
        }
        let inward = [Mode::Kernel, Mode::Tc, Mode::Device, Mode::Peer, Mode::Xdp, Mode::Floor];
        let modes = if load.direction == Direction::In { &inward[..] } else { &Mode::ALL };
        let values = self.rounds(modes, |side| side.frames_per_second(load), name)?;
        self.compare(name, RATE, &values, Mode::Kernel);
        self.compare(name, RATE, &values, Mode::Floor);
        let ours: Vec<_> = modes.iter().copied().filter(|mode| *mode != Mode::Kernel).collect();
        let name = format!("{name}, in the program");
        let values = self.rounds(&ours, |side| side.ns_per_frame(load), &name)?;
        self.compare(&name, "ns/frame", &values, Mode::Floor);
        Ok(())
    }

    /// What the VMs themselves see.
    fn stations(&mut self, quick: bool) -> Result<()> {
        const WITH_VMS: [Mode; 3] = [Mode::Kernel, Mode::Tc, Mode::Xdp];
        const INTO_VMS: [Mode; 5] = [Mode::Kernel, Mode::Tc, Mode::Device, Mode::Peer, Mode::Xdp];
        const ASKED: [Mode; 4] = [Mode::Kernel, Mode::Tc, Mode::Peer, Mode::Xdp];
        let during = Duration::from_secs(if quick { 1 } else { 2 });
        for offload in [true, false] {
            self.sides.iter().try_for_each(|side| side.set_tunnel_offload(offload))?;
            let how = if offload { "with" } else { "without" };
            let out = |side: &Side| tcp_megabits(&side.vm, &side.far_vm, during);
            self.station(&format!("TCP out, {how} tunnel offload"), "Mbit/s", &WITH_VMS, out)?;
            let within = |side: &Side| tcp_megabits(&side.far_vm, &side.vm, during);
            self.station(&format!("TCP in, {how} tunnel offload"), "Mbit/s", &INTO_VMS, within)?;
        }
        self.sides.iter().try_for_each(|side| side.set_tunnel_offload(true))?;
        let count = if quick { 2_000 } else { 20_000 };
        let latency = |side: &Side| round_trips(&side.vm, &side.far_vm, count);
        self.station("request and response", "µs", &ASKED, latency)
    }

    fn station(
        &mut self,
        name: &str,
        unit: &str,
        modes: &[Mode],
        measure: impl Fn(&Side) -> Result<f64>,
    ) -> Result<()> {
        if self.options.wants(name) {
            let values = self.rounds(modes, measure, name)?;
            self.compare(name, unit, &values, Mode::Kernel);
        }
        Ok(())
    }

    fn floods(&mut self, copies: u32) -> Result<()> {
        const COPYING: [Mode; 2] = [Mode::Kernel, Mode::Tc];
        for members in FLOODS {
            let name = format!("broadcast to {members} VTEPs");
            if !self.options.wants(&name) {
                continue;
            }
            let mut sides = self.sides.iter().filter(|side| COPYING.contains(&side.mode));
            sides.try_for_each(|side| side.flood_to(members))?;
            let values = self.rounds(&COPYING, |side| side.copies_per_second(members, copies), &name)?;
            self.compare(&name, "copies/s", &values, Mode::Kernel);
        }
        Ok(())
    }

    /// By turns, so that a drift of the machine meets all; who begins changes by round.
    fn rounds(
        &self,
        modes: &[Mode],
        measure: impl Fn(&Side) -> Result<f64>,
        name: &str,
    ) -> Result<BTreeMap<&'static str, Vec<f64>>> {
        let sides: Vec<_> = self.sides.iter().filter(|side| modes.contains(&side.mode)).collect();
        let mut values = BTreeMap::<_, Vec<f64>>::new();
        for round in 0..self.options.rounds() {
            for turn in 0..sides.len() {
                let side = sides[(round + turn) % sides.len()];
                let value =
                    measure(side).with_context(|| format!("{name}, {}, round {round}", side.mode.name()))?;
                values.entry(side.mode.name()).or_default().push(value);
            }
        }
        Ok(values)
    }

    /// Our modes with a peer that has values.
    fn compare(&mut self, name: &str, unit: &str, values: &BTreeMap<&'static str, Vec<f64>>, peer: Mode) {
        let Some(peers) = values.get(peer.name()) else { return };
        for ours in [Mode::Tc, Mode::Device, Mode::Peer, Mode::Xdp] {
            if let Some(own) = values.get(ours.name()) {
                let name = format!("{name}, {}", ours.name());
                let row = Row::new(&name, unit, own.clone(), peer.name(), peers.clone());
                row.tell();
                self.rows.push(row);
            }
        }
    }
}
