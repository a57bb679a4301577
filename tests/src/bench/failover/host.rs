//! A host that sends to MACs behind a pair of TORs, in one of the ways that are compared.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use nix::sys::signal::Signal;
use vtep_abi::{VtepOper, map, mapped_v4};
use vtep_api::MacAddr;

use super::{
    netlink::{Batch, Netlink, Remote},
    pair::Pair,
    watcher::Watcher,
};
use crate::{
    bench::topology::VNI,
    deadline::wait_for,
    lab::{Agent, AgentConfig, AgentSource, Machine, Vm},
    link::{Link, Vxlan},
};

/// A million entries take their time in a file, too.
const PATIENCE: Duration = Duration::from_mins(3);
/// Nexthops by TOR, and their group.
const MEMBERS: [u32; 2] = [1, 2];
const GROUP: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Ours,
    /// An FDB entry of the VXLAN device per MAC.
    Rewritten,
    /// The same, all of which lead to a group of nexthops.
    Nexthops,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Rewritten => "vxlan, entries rewritten",
            Self::Nexthops => "vxlan, nexthop group",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Ours => 1,
            Self::Rewritten => 2,
            Self::Nexthops => 3,
        }
    }
}

pub(super) struct Host {
    pub(super) way: Way,
    pub(super) vm: Vm,
    pub(super) machine: Machine,
    tors: [Ipv4Addr; 2],
    macs: u32,
    process: Process,
}

enum Process {
    Agent(Box<Agent>),
    Peer { device: Link, watcher: Option<Watcher> },
}

/// What moves all MACs of the peer's ways, made beforehand.
struct Switch {
    netlink: Netlink,
    /// To the master, and to the slave.
    batches: [Batch; 2],
}

impl Host {
    pub(super) fn new(way: Way, macs: u32, pair: &mut Pair) -> Result<Self> {
        let machine = pair.fabric.machine("host", way.number())?;
        let tors = pair.tors.each_ref().map(|tor| tor.machine.address);
        for tor in &pair.tors {
            machine.uplink.add_neighbour(tor.machine.address, tor.machine.uplink.mac()?)?;
        }
        let (mut vm, port) = Vm::new(&machine.netns, "port", way.number())?;
        vm.mac = MacAddr::new([2, 0, 1, 0, 0, way.number()]);
        vm.eth0.set_mac(vm.mac)?;
        let process = if way == Way::Ours {
            Process::Agent(Box::new(agent(&machine, &vm, macs)?))
        } else {
            let bridge = Link::bridge(&machine.netns, "bridge0")?;
            let vxlan = Vxlan { learning: false, ..Vxlan::new(VNI, machine.address) };
            let device = Link::vxlan(&machine.netns, "vx", &vxlan)?;
            device.set_bridge(&bridge)?;
            port.set_bridge(&bridge)?;
            Process::Peer { device, watcher: None }
        };
        let mut host = Self { way, vm, machine, tors, macs, process };
        host.load()?;
        host.resume()?;
        Ok(host)
    }

    /// Its session is up, and it sends to the master.
    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let name = self.way.name();
        wait_for(&format!("{name}: a session that is up"), PATIENCE, || match &self.process {
            Process::Agent(agent) => {
                let (session, vtep) =
                    (first(agent, &["bfd", "show", "a"])?, first(agent, &["vtep", "show", "a"])?);
                let up =
                    session["state"] == "up" && session["detection_ms"] == 150 && vtep["suspect"] == false;
                let slave = (first(agent, &["bfd", "show", "b"])?, first(agent, &["vtep", "show", "b"])?);
                (up && slave.0["state"] == "up" && slave.1["suspect"] == false).then_some(())
            }
            Process::Peer { watcher, .. } => watcher.as_ref()?.is_ready().then_some(()),
        })
    }

    /// What it knows of the TORs, for whoever asks why.
    pub(super) fn described(&self) -> String {
        match &self.process {
            Process::Agent(agent) => [["bfd", "show"], ["vtep", "show"]]
                .map(|words| {
                    agent.json(&words).map_or_else(|error| error.to_string(), |shown| shown.to_string())
                })
                .join("\n"),
            Process::Peer { watcher, .. } => {
                format!("its session is up: {}", watcher.as_ref().is_some_and(Watcher::is_ready))
            }
        }
    }

    /// Of all MACs, once the first one has.
    pub(super) fn wait_until_moved(&self) -> Result<()> {
        let Process::Peer { watcher: Some(watcher), .. } = &self.process else { return Ok(()) };
        wait_for("the last MAC at the slave", PATIENCE, || watcher.has_moved().then_some(()))
    }

    /// By hand, while nobody else does.
    pub(super) fn flip(&mut self, slave: bool) -> Result<Duration> {
        if let Process::Agent(agent) = &self.process {
            let [index, heir] = [index(agent, self.tors[0])?, index(agent, self.tors[1])?];
            let mut oper: Array<_, u8> = open(agent, map::VTEP_OPER)?.try_into()?;
            // Whose packets came late while the agent is stopped is taken back by nobody, and would not serve.
            oper.set(heir, 0, 0)?;
            let bits = if slave { VtepOper::DOWN } else { 0 };
            let start = Instant::now();
            oper.set(index, bits, 0)?;
            return Ok(start.elapsed());
        }
        let mut switch = self.switch()?;
        let start = Instant::now();
        switch.throw(slave)?;
        Ok(start.elapsed())
    }

    /// Its process does nothing from here on.
    pub(super) fn pause(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Agent(agent) => agent.daemon()?.signal(Signal::SIGSTOP),
            Process::Peer { .. } => self.kill(),
        }
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Agent(agent) => agent.daemon()?.kill(),
            Process::Peer { watcher, .. } => {
                *watcher = None;
                Ok(())
            }
        }
    }

    /// After [`Self::pause`] or [`Self::kill`].
    pub(super) fn resume(&mut self) -> Result<()> {
        if let Process::Agent(agent) = &mut self.process {
            let runs = agent.daemon().is_ok_and(|daemon| matches!(daemon.exit_status(), Ok(None)));
            return if runs { agent.daemon()?.signal(Signal::SIGCONT) } else { agent.start() };
        }
        let mut switch = self.switch()?;
        let started = Watcher::start(&self.machine, self.tors[0], move |slave| switch.throw(slave))?;
        if let Process::Peer { watcher, .. } = &mut self.process {
            *watcher = Some(started);
        }
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        if let Process::Agent(agent) = &mut self.process {
            agent.start()?;
            let expected = (self.macs + 1).to_string();
            return wait_for("all MACs", PATIENCE, || {
                agent.json(&["fdb", "count"]).ok()?.to_string().contains(&expected).then_some(())
            });
        }
        let mut netlink = Netlink::open(&self.machine.netns)?;
        let device = self.device()?;
        let mut batch = Batch::default();
        if self.way == Way::Nexthops {
            for (id, tor) in MEMBERS.into_iter().zip(self.tors) {
                batch.put_nexthop(id, tor);
            }
            batch.put_group(GROUP, MEMBERS[0]);
        }
        let remote = match self.way {
            Way::Nexthops => Remote::Nexthop(GROUP),
            _ => Remote::Address(self.tors[0]),
        };
        for number in 0..self.macs {
            batch.put_fdb(device, far_mac(number), remote);
        }
        netlink.send(&mut batch)
    }

    fn switch(&self) -> Result<Switch> {
        let netlink = Netlink::open(&self.machine.netns)?;
        let device = self.device()?;
        let batch = |tor: usize| {
            let mut batch = Batch::default();
            if self.way == Way::Nexthops {
                batch.put_group(GROUP, MEMBERS[tor]);
                return batch;
            }
            for number in 0..self.macs {
                batch.put_fdb(device, far_mac(number), Remote::Address(self.tors[tor]));
            }
            batch
        };
        Ok(Switch { netlink, batches: [batch(0), batch(1)] })
    }

    fn device(&self) -> Result<u32> {
        match &self.process {
            Process::Peer { device, .. } => device.index(),
            Process::Agent(_) => anyhow::bail!("our host has no VXLAN device of its own"),
        }
    }
}

impl Switch {
    fn throw(&mut self, slave: bool) -> Result<()> {
        self.netlink.send(&mut self.batches[usize::from(slave)])
    }
}

/// Behind both TORs.
pub(super) fn far_mac(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr::new([2, 0, 0, a, b, c])
}

fn agent(machine: &Machine, vm: &Vm, macs: u32) -> Result<Agent> {
    let mut table = format!(
        "{{\"version\":1,\"vtep\":[{{\"name\":\"a\",\"address\":\"192.0.2.11\"}},{{\"name\":\"b\",\"address\":\"192.0.2.12\"}}],\
         \"logical_switch\":[{{\"name\":\"blue\",\"vni\":{VNI},\"flood\":[\"a\"]}}],\
         \"binding\":[{{\"port\":\"port\",\"vlan\":0,\"logical_switch\":\"blue\"}}],\"mac\":["
    );
    for number in 0..macs {
        let comma = if number == 0 { "" } else { "," };
        let mac = far_mac(number);
        write!(
            table,
            "{comma}{{\"logical_switch\":\"blue\",\"mac\":\"{mac}\",\"master\":\"a\",\"slave\":\"b\"}}"
        )?;
    }
    table.push_str("]}");
    let here = format!("macs = [\"{}\"]", vm.mac);
    let room = format!("macs_max = {}", 1000 + macs / 10 * 11);
    let config = AgentConfig {
        name: "host",
        source: AgentSource::Json(table),
        ports: vec![("port", &here)],
        dataplane: &room,
    };
    let agent = Agent::new(machine, &config)?;
    agent.reconfigure(|text| {
        text + "\n[bfd]\nenabled = true\ntransport = \"multi-hop\"\nmin_tx_ms = 50\nmin_rx_ms = 50\nmultiplier = 3\nhold_ms = 0\n"
    })?;
    Ok(agent)
}

fn first(agent: &Agent, words: &[&str]) -> Option<serde_json::Value> {
    agent.json(words).ok()?.as_array()?.first().cloned()
}

fn open(agent: &Agent, name: &str) -> Result<Map> {
    let pin = agent.pins().join("v1/maps").join(name);
    let data = MapData::from_pin(&pin).with_context(|| format!("{} cannot be opened", pin.display()))?;
    Ok(match name {
        map::VTEP_BY_IP => Map::HashMap(data),
        _ => Map::Array(data),
    })
}

/// By VTEP's address.
fn index(agent: &Agent, address: Ipv4Addr) -> Result<u32> {
    let by_ip: HashMap<_, [u8; 20], u32> = open(agent, map::VTEP_BY_IP)?.try_into()?;
    // `VtepByIpKey` of VNI 0: any.
    let mut key = [0; 20];
    key[4..].copy_from_slice(&mapped_v4(address.octets()));
    let index = by_ip.get(&key, 0).with_context(|| format!("{address} has no index"))?;
    ensure!(index != 0, "{address} has no index");
    Ok(index)
}
