//! A host with an agent and a VM, and a TOR that is the kernel's bridge and VXLAN device with a VM.

use std::{fmt::Write as _, time::Duration};

use super::{Agent, AgentConfig, AgentSource, Fabric, Machine, Vm};
use crate::{deadline::wait_for, link::Link};
use anyhow::Result;
use serde_json::Value;
use vtep_abi::Verdict;

pub const VNI: u32 = 5001;
pub const SOON: Duration = Duration::from_mins(1);

pub struct Rig {
    pub agent: Agent,
    pub vm: Vm,
    pub port: Link,
    pub far: Vm,
    pub far_bridge: Link,
    pub tor: Machine,
    pub host: Machine,
    pub fabric: Fabric,
}

impl Rig {
    /// VM 1 behind port `p1` of the host, VM 3 behind the TOR, in one network that both know of.
    pub fn new() -> Result<Self> {
        Self::with("macs_max = 1000")
    }

    /// `dataplane`: lines of the agent's `[dataplane]`.
    pub fn with(dataplane: &str) -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let host = fabric.machine("host", 1)?;
        let tor = fabric.machine("tor", 11)?;
        let (vm, port) = Vm::new(&host.netns, "p1", 1)?;
        let far_bridge = tor.kernel_vtep(VNI, &[host.address])?;
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3)?;
        far_port.set_bridge(&far_bridge)?;
        let table =
            table(&[("tor", 11)], &format!("{}{}", network("blue", VNI, &["tor"]), binding("p1", 0, "blue")))
                + &mac("blue", &far, "tor");
        let macs = format!("macs = [\"{}\"]", vm.mac);
        let agent = Agent::started(
            &host,
            &AgentConfig {
                name: "host",
                source: AgentSource::Table(table),
                ports: vec![("p1", &macs), ("p2", "learn = true")],
                dataplane,
            },
        )?;
        let rig = Self { agent, vm, port, far, far_bridge, tor, host, fabric };
        rig.wait_until_forwarding()?;
        Ok(rig)
    }

    /// VM 2 behind port `p2`, in the same network. Returns it with the port.
    pub fn second_vm(&self) -> Result<(Vm, Link)> {
        let second = Vm::new(&self.host.netns, "p2", 2)?;
        let text = [
            network("blue", VNI, &["tor"]),
            binding("p1", 0, "blue"),
            binding("p2", 0, "blue"),
            mac("blue", &self.far, "tor"),
        ];
        self.agent.write_table(&table(&[("tor", 11)], &text.concat()))?;
        Ok(second)
    }

    pub fn wait_until_forwarding(&self) -> Result<()> {
        wait_for("the first echo reply", SOON, || self.vm.pings(self.far.address, 1).then_some(()))
    }

    /// Frames that came to an end so, in all networks.
    pub fn count(&self, verdict: Verdict) -> u64 {
        let rows = self.agent.json(&["stats"]).expect("the agent answers");
        let rows = rows.as_array().expect("stats is a list");
        rows.iter()
            .filter(|row| row["verdict"] == verdict.name())
            .filter_map(|row| row["packets"].as_u64())
            .sum()
    }

    /// The agent's view of a VTEP by its name.
    pub fn vtep(&self, name: &str) -> Option<Value> {
        let rows = self.agent.json(&["vtep", "show"]).ok()?;
        rows.as_array()?.iter().find(|row| row["name"] == name).cloned()
    }
}

/// A table file's beginning: VTEPs by name and the last octet of their address.
pub fn table(vteps: &[(&str, u8)], rest: &str) -> String {
    let mut text = "version = 1\n".to_owned();
    for (name, number) in vteps {
        write!(text, "\n[[vtep]]\nname = \"{name}\"\naddress = \"192.0.2.{number}\"\n")
            .expect("a string takes any text");
    }
    text + rest
}

pub fn network(name: &str, vni: u32, flood: &[&str]) -> String {
    format!("\n[[logical_switch]]\nname = \"{name}\"\nvni = {vni}\nflood = {flood:?}\n")
}

pub fn binding(port: &str, vlan: u16, network: &str) -> String {
    format!("\n[[binding]]\nport = \"{port}\"\nvlan = {vlan}\nlogical_switch = \"{network}\"\n")
}

pub fn mac(network: &str, vm: &Vm, vtep: &str) -> String {
    format!("\n[[mac]]\nlogical_switch = \"{network}\"\nmac = \"{}\"\nmaster = \"{vtep}\"\n", vm.mac)
}
