//! A host that forwards in one of the ways that are compared, with a VM on a port, and at the other end of its uplink a
//! kernel VTEP with a VM.

use std::{collections::BTreeMap, fmt::Write as _, fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use vtep_api::MacAddr;

use crate::{
    bench::{
        topology::{Ends, FAR, FAR_MAC, HOST, HOST_MAC, Topology, VM_MAC, VNI, member},
        traffic::{Bounce, Burst, Sink, Source},
    },
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{Agent, AgentConfig, AgentSource, Machine, Vm},
    link::Link,
};

/// As the generator leaves it.
const GROUP: MacAddr = MacAddr::new([0xff, 0xff, 0xff, 0, 0, 0]);
/// A million entries take their time in a file, too.
const PATIENCE: Duration = Duration::from_mins(3);
/// Frames that one injection hands over at once.
const BATCH: u32 = 64;
/// The kernel queues so many packets that wait for the far end, less a reserve.
const QUEUE: u32 = 900;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// The kernel's bridge and VXLAN device.
    Kernel,
    /// Our programs at tcx.
    Tc,
    /// The same, but the kernel's tunnel device removes outer headers.
    Device,
    /// At tcx, and frames to the VM go past its port.
    Peer,
    /// With packet-rate mode.
    Xdp,
    /// An XDP program that redirects and does nothing else.
    Floor,
}

impl Mode {
    /// All that frames leave by.
    pub(super) const ALL: [Self; 4] = [Self::Kernel, Self::Tc, Self::Xdp, Self::Floor];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "bridge + vxlan",
            Self::Tc => "TC",
            Self::Device => "TC by the device",
            Self::Peer => "TC past the port",
            Self::Xdp => "packet-rate",
            Self::Floor => "bare XDP redirect",
        }
    }

    /// Frames reach it, and leave it, before a packet of the stack is made of them.
    const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::Floor)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Out,
    In,
}

/// A burst of frames.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) direction: Direction,
    /// Random destinations.
    pub(super) macs: u32,
    pub(super) frames: u32,
    pub(super) cores: u32,
}

struct Run {
    frames_per_second: f64,
    times: Times,
}

/// How long programs ran, and how often, while the kernel keeps statistics.
type Times = BTreeMap<String, (Duration, u64)>;

pub(super) struct Side {
    pub(super) mode: Mode,
    pub(super) vm: Vm,
    pub(super) far_vm: Vm,
    port: Link,
    far: Machine,
    agent: Option<Agent>,
    host: Machine,
    members: u32,
    macs: u32,
}

impl Side {
    /// `macs`: how many the host's table has. `members`: how many VTEPs it knows.
    pub(super) fn new(mode: Mode, macs: u32, members: u32) -> Result<Self> {
        let Topology { host, vm, port, far, far_vm } = Topology::new("host", members.max(1))?;
        if mode.is_xdp() {
            // As packet-rate mode wants it; a veth takes redirected frames with NAPI at its other end only.
            vm.eth0.set_offload("tx", false)?;
            for link in [&vm.eth0, &far.uplink, &far_vm.eth0] {
                link.set_offload("gro", true)?;
            }
            // A redirect goes to the ring of its processor; with one ring, one processor would take all frames out.
            for link in [&vm.eth0, &port, &host.uplink, &far.uplink] {
                link.set_queues(2)?;
            }
        }
        let mut side = Self { mode, vm, far_vm, port, far, agent: None, host, members, macs };
        match mode {
            Mode::Kernel => side.forward_by_kernel()?,
            Mode::Tc | Mode::Device | Mode::Peer | Mode::Xdp => side.forward_by_agent()?,
            Mode::Floor => {}
        }
        Ok(side)
    }

    /// BUM goes to so many of the members from here on.
    pub(super) fn flood_to(&self, members: u32) -> Result<()> {
        ensure!(members <= self.members, "{members} of {} members", self.members);
        let Some(agent) = &self.agent else {
            let zero = MacAddr::new([0; 6]);
            self.host.netns.run(&format!("bridge fdb del {zero} dev vx-{VNI} dst {FAR} self")).ok();
            let lines = (0..members).map(|number| {
                format!("fdb append {zero} dev vx-{VNI} dst {} self permanent\n", member(number))
            });
            return self.batch(&lines.collect::<String>());
        };
        agent.write_table(&self.table(members)?)?;
        wait_for("the flood list", PATIENCE, || {
            let shown = agent.json(&["vni", "show"]).ok()?;
            let remote = shown[0]["flood"].as_array()?.iter().filter_map(|end| end.as_str());
            (remote.filter(|end| !end.contains("port")).count() == usize::try_from(members).ok()?)
                .then_some(())
        })
    }

    /// Frames that came out at the other side in a second, of those put in.
    pub(super) fn frames_per_second(&self, load: Load) -> Result<f64> {
        Ok(self.run(load)?.frames_per_second)
    }

    fn run(&self, load: Load) -> Result<Run> {
        let (from, to) = match load.direction {
            Direction::Out => (&self.vm, &self.far_vm),
            Direction::In => (&self.far_vm, &self.vm),
        };
        let inner = inner(from, to.mac, to.address);
        let frame = match load.direction {
            Direction::Out => inner,
            Direction::In => {
                let far = Endpoint { mac: FAR_MAC, address: FAR, port: 50000 };
                let host = Endpoint { mac: HOST_MAC, address: HOST, port: 4789 };
                frame::vxlan(far, host, VNI, &inner)
            }
        };
        self.rate(load, &frame, BATCH, 1)
    }

    /// What a frame takes in the programs that decide about it, by the kernel's own statistics, which are part of it: two
    /// looks at a clock.
    pub(super) fn ns_per_frame(&self, load: Load) -> Result<f64> {
        let programs: &[&str] = match (self.mode, load.direction) {
            (Mode::Kernel, _) => &[],
            (Mode::Tc | Mode::Peer, Direction::Out) => &["port_in"],
            (Mode::Tc | Mode::Peer, Direction::In) => &["uplink_in"],
            (Mode::Device, _) => &["uplink_in", "tunnel_in"],
            (Mode::Xdp, Direction::Out) => &["port_xdp"],
            (Mode::Xdp, Direction::In) => &["uplink_xdp"],
            (Mode::Floor, _) => &["bounce"],
        };
        let _statistics = enable_stats(Stats::RunTime)?;
        let run = self.run(load)?;
        let ns_of = |program: &&str| {
            let (time, runs) = run.times.get(*program).copied().unwrap_or_default();
            ensure!(runs > 0, "{program} did not run");
            Ok(time.as_secs_f64() * 1e9 / f64::from(u32::try_from(runs)?))
        };
        programs.iter().map(ns_of).sum()
    }

    /// Copies of broadcasts that came out in a second.
    pub(super) fn copies_per_second(&self, members: u32, copies: u32) -> Result<f64> {
        let frame = inner(&self.vm, GROUP, self.far_vm.address);
        let load = Load { direction: Direction::Out, macs: 1, frames: copies / members, cores: 1 };
        Ok(self.rate(load, &frame, (QUEUE / members).clamp(1, BATCH), members)?.frames_per_second)
    }

    fn rate(&self, load: Load, frame: &[u8], batch: u32, copies: u32) -> Result<Run> {
        let Load { direction, macs, frames, cores } = load;
        let (outside, entry, exit) = match direction {
            Direction::Out => (&self.vm.eth0, &self.port, &self.far.uplink),
            Direction::In => (&self.far.uplink, &self.host.uplink, &self.vm.eth0),
        };
        let way_out = if direction == Direction::Out { &self.host.uplink } else { &self.port };
        let _floor = (self.mode == Mode::Floor).then(|| Bounce::between(entry, way_out)).transpose()?;
        let (sink, source) = if self.mode.is_xdp() {
            (Sink::at_xdp(exit)?, Source::opposite(outside, macs)?)
        } else {
            (Sink::at(exit)?, Source::at(entry, macs)?)
        };
        let times_before = run_times();
        let burst = Burst { frame, frames, cores, batch, copies };
        let frames_per_second =
            burst.through(&source, &sink, 4).with_context(|| format!("{:?}", self.mode))?;
        let mut times = run_times();
        for (program, (time, runs)) in &mut times {
            let (time_then, runs_then) = times_before.get(program).copied().unwrap_or_default();
            *time = time.saturating_sub(time_then);
            *runs = runs.saturating_sub(runs_then);
        }
        Ok(Run { frames_per_second, times })
    }

    pub(super) fn set_tunnel_offload(&self, on: bool) -> Result<()> {
        Ends::set_tunnel_offload(&self.host, &self.far, on)
    }

    fn forward_by_agent(&mut self) -> Result<()> {
        let deliver = if self.mode == Mode::Peer { "\ndeliver = \"peer\"" } else { "" };
        let macs = format!("macs = [\"{VM_MAC}\"]{deliver}");
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Json(self.table(1)?),
            ports: vec![("port", &macs)],
            dataplane: match self.mode {
                Mode::Device => "macs_max = 1100000\ndecap = \"device\"",
                _ => "macs_max = 1100000",
            },
        };
        let mut agent = Agent::new(&self.host, &config)?;
        if self.mode == Mode::Xdp {
            agent.reconfigure(|text| {
                text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\"]\npacket_rate = [\"uplink\"]")
                    .replace("name = \"port\"", "name = \"port\"\npacket_rate = true")
            })?;
        }
        agent.start()?;
        self.wait_for_echo()?;
        let shown = agent.json(&["fdb", "count"])?;
        let expected = (self.macs + 1).to_string();
        ensure!(shown.to_string().contains(&expected), "the MAC table has not {expected} entries: {shown}");
        if self.mode == Mode::Xdp {
            wait_for("packet-rate mode", PATIENCE, || {
                (agent.json(&["port", "show"]).ok()?[0]["packet_rate"] == "on").then_some(())
            })
            .with_context(|| format!("{:?}", agent.json(&["port", "show"])))?;
        }
        if self.mode == Mode::Peer {
            wait_for("frames past the port", PATIENCE, || {
                (agent.json(&["port", "show"]).ok()?[0]["deliver"] == "peer").then_some(())
            })
            .with_context(|| format!("{:?}", agent.json(&["port", "show"])))?;
        }
        self.agent = Some(agent);
        Ok(())
    }

    fn forward_by_kernel(&self) -> Result<()> {
        let bridge = self.host.kernel_vtep(VNI, &[FAR])?;
        self.port.set_bridge(&bridge)?;
        let device = format!("vx-{VNI}");
        let mut lines = String::new();
        for number in 0..self.macs {
            let mac = far_mac(number);
            writeln!(lines, "fdb replace {mac} dev {device} dst {FAR} self permanent")?;
            writeln!(lines, "fdb replace {mac} dev {device} master static")?;
        }
        self.batch(&lines)?;
        self.wait_for_echo()
    }

    fn wait_for_echo(&self) -> Result<()> {
        wait_for("the far VM's answer", PATIENCE, || self.vm.pings(self.far_vm.address, 3).then_some(()))
    }

    fn batch(&self, lines: &str) -> Result<()> {
        let batch = tempfile::NamedTempFile::new()?;
        fs::write(batch.path(), lines)?;
        self.host.netns.run(&format!("bridge -batch {}", batch.path().display())).map(drop)
    }

    fn table(&self, flood: u32) -> Result<String> {
        let name = |number| if number == 0 { "far".to_owned() } else { format!("far-{number}") };
        let list =
            |numbers: u32, one: &dyn Fn(u32) -> String| (0..numbers).map(one).collect::<Vec<_>>().join(",");
        let vteps = list(self.members.max(1), &|number| {
            format!("{{\"name\":\"{}\",\"address\":\"{}\"}}", name(number), member(number))
        });
        let flood = list(flood, &|number| format!("\"{}\"", name(number)));
        let mut text = format!(
            "{{\"version\":1,\"vtep\":[{vteps}],\"logical_switch\":[{{\"name\":\"blue\",\"vni\":{VNI},\"flood\":[{flood}]}}],\
             \"binding\":[{{\"port\":\"port\",\"vlan\":0,\"logical_switch\":\"blue\"}}],\"mac\":["
        );
        for number in 0..self.macs {
            let comma = if number == 0 { "" } else { "," };
            let mac = far_mac(number);
            write!(text, "{comma}{{\"logical_switch\":\"blue\",\"mac\":\"{mac}\",\"master\":\"far\"}}")?;
        }
        text.push_str("]}");
        Ok(text)
    }
}

/// A frame of 64 bytes on a wire, its checksum of four included.
fn inner(from: &Vm, mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let from = Endpoint { mac: from.mac, address: from.address, port: 7000 };
    let mut frame = frame::udp(from, Endpoint { mac, address, port: 7000 }, &[0; 18]);
    // The generator changes ports; without a checksum that is right.
    frame[40..42].fill(0);
    frame
}

/// Addresses of VTEPs, of which only the first is there.
fn far_mac(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr::new([2, 0, 0, a, b, c])
}

/// By name: of those of one name, all but one stand still.
fn run_times() -> Times {
    let mut times = Times::new();
    for program in loaded_programs() {
        // It may be unloaded while we look.
        let Ok(program) = program else { continue };
        let (time, runs) = times.entry(program.name_as_str().unwrap_or_default().to_owned()).or_default();
        *time += program.run_time();
        *runs += program.run_count();
    }
    times
}
