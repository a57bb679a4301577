//! Frames through our host beside the same frames through a host with the kernel's bridge and VXLAN device.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use vtep_api::MacAddr;

use super::{
    Options, Row,
    topology::{FAR, FAR_MAC, HOST, HOST_MAC, Topology, VM_MAC, VNI},
    traffic::{Bounce, Sink, Source},
};
use crate::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{Agent, AgentConfig, AgentSource, Machine, Vm, tcp_megabits},
    link::Link,
};

pub(super) const KERNEL: &str = "bridge + vxlan";
pub(super) const MACS: u32 = 10_000;

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let mut ours = Side::new("ours")?;
    let kernel = Side::new("kernel")?;
    ours.forward_by_agent()?;
    kernel.forward_by_kernel()?;

    let rounds = options.rounds();
    let frames = if options.quick { 200_000 } else { 2_000_000 };
    let during = Duration::from_secs(if options.quick { 1 } else { 3 });
    let out = |side: &Side, macs| side.frames_per_second(Direction::Out, macs, frames);
    let within = |side: &Side| side.frames_per_second(Direction::In, 1, frames);
    let rate = "frames/s";
    Ok(vec![
        Row::alternate(("encap, 1 MAC", rate, KERNEL), rounds, || out(&ours, 1), || out(&kernel, 1))?,
        Row::alternate(
            ("encap, 10000 MACs", rate, KERNEL),
            rounds,
            || out(&ours, MACS),
            || out(&kernel, MACS),
        )?,
        Row::alternate(("decap, 1 MAC", rate, KERNEL), rounds, || within(&ours), || within(&kernel))?,
        Row::alternate(
            ("TCP to the far VM", "Mbit/s", KERNEL),
            rounds,
            || ours.tcp_out(during),
            || kernel.tcp_out(during),
        )?,
        Row::alternate(
            ("TCP from the far VM", "Mbit/s", KERNEL),
            rounds,
            || ours.tcp_in(during),
            || kernel.tcp_in(during),
        )?,
    ])
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Out,
    In,
}

/// A host with a VM on a port, and on the other end of its uplink a kernel VTEP with a VM.
pub(super) struct Side {
    vm: Vm,
    port: Link,
    far_vm: Vm,
    far: Machine,
    agent: Option<Agent>,
    host: Machine,
}

impl Side {
    pub(super) fn new(name: &str) -> Result<Self> {
        let Topology { host, vm, port, far, far_vm } = Topology::new(name, 1)?;
        Ok(Self { vm, port, far_vm, far, agent: None, host })
    }

    fn forward_by_agent(&mut self) -> Result<()> {
        self.forward_by(false)
    }

    /// Through XDP, with all that it takes: NAPI where frames are redirected to, no offloads in the VMs.
    pub(super) fn forward_by_xdp(&mut self) -> Result<()> {
        self.prepare_for_xdp()?;
        self.forward_by(true)
    }

    pub(super) fn prepare_for_xdp(&self) -> Result<()> {
        for link in [&self.vm.eth0, &self.far_vm.eth0, &self.far.uplink, &self.port, &self.host.uplink] {
            link.set_offload("gro", true)?;
        }
        for vm in [&self.vm, &self.far_vm] {
            vm.eth0.set_offload("tx", false)?;
        }
        Ok(())
    }

    fn forward_by(&mut self, packet_rate: bool) -> Result<()> {
        use std::fmt::Write as _;

        let mut table = format!(
            "version = 1\n\n[[vtep]]\nname = \"far\"\naddress = \"{FAR}\"\n\n\
             [[logical_switch]]\nname = \"blue\"\nvni = {VNI}\nflood = [\"far\"]\n\n\
             [[binding]]\nport = \"port\"\nvlan = 0\nlogical_switch = \"blue\"\n"
        );
        for number in 0..MACS {
            let mac = far_mac(number);
            write!(table, "\n[[mac]]\nlogical_switch = \"blue\"\nmac = \"{mac}\"\nmaster = \"far\"\n")?;
        }
        let macs = format!("macs = [\"{VM_MAC}\"]");
        let macs = format!("{macs}\npacket_rate = {packet_rate}");
        let mut agent = Agent::new(
            &self.host,
            &AgentConfig {
                name: "host",
                source: AgentSource::Table(table),
                ports: vec![("port", &macs)],
                dataplane: "macs_max = 100000",
            },
        )?;
        let uplinks = "uplinks = [\"uplink\"]";
        let at_xdp = format!("{uplinks}\npacket_rate = [\"uplink\"]");
        agent.reconfigure(|text| if packet_rate { text.replace(uplinks, &at_xdp) } else { text })?;
        agent.start()?;
        wait_for("the far VM's answer", Duration::from_secs(30), || {
            self.vm.pings(self.far_vm.address, 3).then_some(())
        })?;
        let shown = agent.json(&["fdb", "count"])?;
        ensure!(shown.to_string().contains(&(MACS + 1).to_string()), "the MAC table is not whole: {shown}");
        self.agent = Some(agent);
        Ok(())
    }

    pub(super) fn forward_by_kernel(&self) -> Result<()> {
        let bridge = self.host.kernel_vtep(VNI, &[])?;
        self.port.set_bridge(&bridge)?;
        let device = format!("vx-{VNI}");
        let entry = |number| {
            let mac = far_mac(number);
            format!(
                "fdb replace {mac} dev {device} dst {FAR} self permanent\nfdb replace {mac} dev {device} master static\n"
            )
        };
        let batch = tempfile::NamedTempFile::new()?;
        fs::write(batch.path(), (0..MACS).map(entry).collect::<String>())?;
        self.host.netns.run(&format!("bridge -batch {}", batch.path().display()))?;
        wait_for("the far VM's answer", Duration::from_secs(30), || {
            self.vm.pings(self.far_vm.address, 3).then_some(())
        })
    }

    /// Frames that came out at the other side in a second, of those put in as if they had just been received.
    fn frames_per_second(&self, direction: Direction, macs: u32, frames: u32) -> Result<f64> {
        let (frame, entry, sink) = self.way(direction);
        flow(&Source::at(entry, macs)?, &Sink::at(sink)?, &frame, frames)
    }

    /// The same, put in at the other end of the veth, so that XDP sees them; what comes out by XDP ends there too.
    pub(super) fn frames_per_second_at_xdp(
        &self,
        direction: Direction,
        macs: u32,
        frames: u32,
        leaves_by_xdp: bool,
    ) -> Result<f64> {
        let (frame, _, sink) = self.way(direction);
        let opposite = match direction {
            Direction::Out => &self.vm.eth0,
            Direction::In => &self.far.uplink,
        };
        let sink = if leaves_by_xdp { Sink::at_xdp(sink)? } else { Sink::at(sink)? };
        flow(&Source::opposite(opposite, macs)?, &sink, &frame, frames)
    }

    pub(super) fn bounce(&self) -> Result<Bounce> {
        Bounce::between(&self.port, &self.host.uplink)
    }

    /// A frame, where it enters and where it comes out.
    fn way(&self, direction: Direction) -> (Vec<u8>, &Link, &Link) {
        let inner = |from: &Vm, to: &Vm| {
            let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 7000 };
            let mut frame = frame::udp(end(from), end(to), &[0; 18]);
            // The generator changes ports; without a checksum that is right.
            frame[40..42].fill(0);
            frame
        };
        match direction {
            Direction::Out => (inner(&self.vm, &self.far_vm), &self.port, &self.far.uplink),
            Direction::In => {
                let far = Endpoint { mac: FAR_MAC, address: FAR, port: 50000 };
                let host = Endpoint { mac: HOST_MAC, address: HOST, port: 4789 };
                let frame = frame::vxlan(far, host, VNI, &inner(&self.far_vm, &self.vm));
                (frame, &self.host.uplink, &self.vm.eth0)
            }
        }
    }

    fn tcp_out(&self, during: Duration) -> Result<f64> {
        tcp_megabits(&self.vm, &self.far_vm, during).context("to the far VM")
    }

    fn tcp_in(&self, during: Duration) -> Result<f64> {
        tcp_megabits(&self.far_vm, &self.vm, during).context("from the far VM")
    }
}

fn flow(source: &Source, sink: &Sink, frame: &[u8], frames: u32) -> Result<f64> {
    source.send(frame, frames / 20)?;
    let before = sink.count()?;
    let took = source.send(frame, frames)?;
    let arrived = wait_for("the last frame", Duration::from_secs(5), || {
        let arrived = sink.count().ok()? - before;
        (arrived >= u64::from(frames)).then_some(arrived)
    })
    .or_else(|_| sink.count().map(|count| count - before))?;
    ensure!(arrived > u64::from(frames) / 2, "of {frames} frames only {arrived} arrived");
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    Ok(arrived as f64 / took.as_secs_f64())
}

fn far_mac(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr::new([2, 0, 0, a, b, c])
}
