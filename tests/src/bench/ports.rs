//! Decapsulation for each kind of port by each way, beside the kernel's tunnel device, which is right for all: what
//! `decap = "auto"` follows.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Options, Row,
    topology::{Ends, FAR, FAR_MAC, HOST, HOST_MAC, VNI},
    traffic::{Burst, Sink, Source},
};
use crate::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Machine, Offloads, PortKind, Vm, VmPort,
        rig::{binding, mac, network, table},
        tcp_megabits,
    },
};

const PATIENCE: Duration = Duration::from_mins(1);

/// And the ways beside [`Way::Device`] that it has.
const KINDS: [(&str, PortKind, &[Way]); 5] = [
    ("tap with vnet_hdr", PortKind::Tap(Offloads::On), &[Way::Program]),
    ("tap without offloads", PortKind::Tap(Offloads::Off), &[Way::Program, Way::Xdp]),
    ("veth with GRO", PortKind::Veth { gro: true }, &[Way::Program, Way::Xdp]),
    ("veth without GRO", PortKind::Veth { gro: false }, &[Way::Program, Way::DevicePeer, Way::ProgramPeer]),
    ("macvlan", PortKind::Macvlan, &[Way::Program]),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Device,
    Program,
    /// Past the port.
    DevicePeer,
    ProgramPeer,
    Xdp,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Program => "program",
            Self::DevicePeer => "device, past the port",
            Self::ProgramPeer => "program, past the port",
            Self::Xdp => "xdp",
        }
    }

    /// Of the port in the agent's file.
    const fn lines(self) -> &'static str {
        match self {
            Self::Device => "decap = \"device\"",
            Self::Program => "decap = \"program\"",
            Self::DevicePeer => "decap = \"device\"\ndeliver = \"peer\"",
            Self::ProgramPeer => "decap = \"program\"\ndeliver = \"peer\"",
            Self::Xdp => "packet_rate = true",
        }
    }

    /// As `port show` has it.
    fn is_taken(self, port: &serde_json::Value) -> bool {
        match self {
            Self::Device => port["decap"] == "device",
            Self::Program => port["decap"] == "program",
            Self::DevicePeer => port["decap"] == "device" && port["deliver"] == "peer",
            Self::ProgramPeer => port["decap"] == "program" && port["deliver"] == "peer",
            Self::Xdp => port["decap"] == "xdp",
        }
    }
}

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, kind, ways) in KINDS {
        if options.wants(name) {
            of_kind(options, name, kind, ways, &mut rows).with_context(|| name.to_owned())?;
        }
    }
    Ok(rows)
}

fn of_kind(
    options: Options,
    kind_name: &str,
    kind: PortKind,
    ways: &[Way],
    rows: &mut Vec<Row>,
) -> Result<()> {
    let sides = [Way::Device].iter().chain(ways);
    let sides = sides.map(|way| Side::new(kind, *way).with_context(|| format!("{way:?}")));
    let sides: Vec<Side> = sides.collect::<Result<_>>()?;
    let frames = if options.quick { 100_000 } else { 1_000_000 };
    let during = Duration::from_secs(if options.quick { 1 } else { 2 });
    let mut measure = |what: &str, unit: &str, measure: &dyn Fn(&Side) -> Result<f64>| -> Result<()> {
        let mut values = BTreeMap::<&str, Vec<f64>>::new();
        // By turns, so that a drift of the machine meets all; who begins changes by round.
        for round in 0..options.rounds() {
            for turn in 0..sides.len() {
                let side = &sides[(round + turn) % sides.len()];
                let name = side.way.name();
                let value = measure(side).with_context(|| format!("{what}, {name}, round {round}"))?;
                values.entry(name).or_default().push(value);
            }
        }
        let device = values[Way::Device.name()].clone();
        for way in ways {
            let name = format!("{kind_name}: {what}, {}", way.name());
            let own = values[way.name()].clone();
            let row = Row::new(&name, unit, own, Way::Device.name(), device.clone());
            row.tell();
            rows.push(row);
        }
        Ok(())
    };
    measure("in", "frames/s", &|side| side.frames_per_second(frames))?;
    for offload in [true, false] {
        for side in &sides {
            Ends::set_tunnel_offload(&side.host, &side.far, offload)?;
        }
        let what = format!("TCP in, {} tunnel offload", if offload { "with" } else { "without" });
        measure(&what, "Mbit/s", &|side| tcp_megabits(&side.far_vm, side.port.vm(), during))?;
    }
    Ok(())
}

struct Side {
    way: Way,
    port: VmPort,
    far_vm: Vm,
    far: Machine,
    _agent: Agent,
    host: Machine,
}

impl Side {
    fn new(kind: PortKind, way: Way) -> Result<Self> {
        // As our own programs send: what has an outer checksum goes by the device, for it must be verified.
        let ends = Ends::new("host", 1, "noudpcsum")?;
        let mut port = VmPort::new(kind, &ends.host.netns, "port", 1)?;
        ends.introduce(port.vm_mut())?;
        if way == Way::Xdp {
            // As packet-rate mode wants it.
            if matches!(kind, PortKind::Veth { .. }) {
                port.vm().eth0.set_offload("tx", false)?;
            }
            ends.far.uplink.set_offload("gro", true)?;
        }
        let macs = format!("macs = [\"{}\"]\n{}", port.vm().mac, way.lines());
        let rest =
            [network("blue", VNI, &["far"]), binding("port", 0, "blue"), mac("blue", &ends.far_vm, "far")];
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(table(&[("far", FAR.octets()[3])], &rest.concat())),
            ports: vec![("port", &macs)],
            dataplane: "macs_max = 1000",
        };
        let mut agent = Agent::new(&ends.host, &config)?;
        if way == Way::Xdp {
            let uplinks = "uplinks = [\"uplink\"]";
            agent.reconfigure(|text| {
                text.replace(uplinks, &format!("{uplinks}\npacket_rate = [\"uplink\"]"))
            })?;
        }
        agent.start()?;
        let shown = || agent.json(&["port", "show"]);
        wait_for("the way", PATIENCE, || way.is_taken(&shown().ok()?[0]).then_some(()))
            .with_context(|| format!("{:?}", shown()))?;
        wait_for("the far VM's answer", PATIENCE, || port.vm().pings(ends.far_vm.address, 3).then_some(()))?;
        let Ends { host, far, far_vm } = ends;
        Ok(Self { way, port, far_vm, far, _agent: agent, host })
    }

    /// As packets of the stack they come and, in the VM, they are counted. A tap's reader may lose some: what it hands on counts.
    fn frames_per_second(&self, frames: u32) -> Result<f64> {
        const BATCH: u32 = 64;
        const ONE_IN: u64 = 50;
        let vm = self.port.vm();
        let (far, host) = (
            Endpoint { mac: FAR_MAC, address: FAR, port: 50000 },
            Endpoint { mac: HOST_MAC, address: HOST, port: 4789 },
        );
        let from = Endpoint { mac: self.far_vm.mac, address: self.far_vm.address, port: 7000 };
        let to = Endpoint { mac: vm.mac, address: vm.address, port: 7000 };
        let mut inner = frame::udp(from, to, &[0; 18]);
        // The generator changes ports; without a checksum that is right.
        inner[40..42].fill(0);
        let frame = frame::vxlan(far, host, VNI, &inner);
        let sink = Sink::at(&vm.eth0)?;
        let source = match self.way {
            Way::Xdp => Source::opposite(&self.far.uplink, 1)?,
            _ => Source::at(&self.host.uplink, 1)?,
        };
        Burst { frame: &frame, frames, cores: 1, batch: BATCH, copies: 1 }.through(&source, &sink, ONE_IN)
    }
}
