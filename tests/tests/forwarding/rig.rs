//! A host with an agent and a VM, and a TOR that is the kernel's bridge and VXLAN device with a VM.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use serde_json::Value;
use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    lab::{Agent, AgentConfig, AgentSource, Fabric, Machine, Vm},
    link::Link,
};

pub(crate) const VNI: u32 = 5001;
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) vm: Vm,
    pub(crate) port: Link,
    pub(crate) far: Vm,
    pub(crate) far_bridge: Link,
    pub(crate) tor: Machine,
    pub(crate) host: Machine,
    pub(crate) fabric: Fabric,
}

impl Rig {
    /// VM 1 behind port `p1` of the host, VM 3 behind the TOR, in one network that both know of.
    pub(crate) fn new() -> Result<Self> {
        Self::with("")
    }

    /// `dataplane`: further lines of the agent's `[dataplane]`.
    pub(crate) fn with(dataplane: &str) -> Result<Self> {
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
                dataplane: &format!("macs_max = 1000\n{dataplane}"),
            },
        )?;
        let rig = Self { agent, vm, port, far, far_bridge, tor, host, fabric };
        rig.wait_until_forwarding()?;
        Ok(rig)
    }

    pub(crate) fn wait_until_forwarding(&self) -> Result<()> {
        wait_for("the first echo reply", SOON, || self.vm.pings(self.far.address, 1).then_some(()))
    }

    /// Frames that came to an end so, in all networks.
    pub(crate) fn count(&self, verdict: Verdict) -> u64 {
        let rows = self.agent.json(&["stats"]).unwrap();
        let rows = rows.as_array().expect("stats is a list");
        rows.iter()
            .filter(|row| row["verdict"] == verdict.name())
            .filter_map(|row| row["packets"].as_u64())
            .sum()
    }

    /// The agent's view of a VTEP by its name.
    pub(crate) fn vtep(&self, name: &str) -> Option<Value> {
        let rows = self.agent.json(&["vtep", "show"]).ok()?;
        rows.as_array()?.iter().find(|row| row["name"] == name).cloned()
    }
}

/// A table file's beginning: VTEPs by name and the last octet of their address.
pub(crate) fn table(vteps: &[(&str, u8)], rest: &str) -> String {
    let mut text = "version = 1\n".to_owned();
    for (name, number) in vteps {
        write!(text, "\n[[vtep]]\nname = \"{name}\"\naddress = \"192.0.2.{number}\"\n").unwrap();
    }
    text + rest
}

pub(crate) fn network(name: &str, vni: u32, flood: &[&str]) -> String {
    format!("\n[[logical_switch]]\nname = \"{name}\"\nvni = {vni}\nflood = {flood:?}\n")
}

pub(crate) fn binding(port: &str, vlan: u16, network: &str) -> String {
    format!("\n[[binding]]\nport = \"{port}\"\nvlan = {vlan}\nlogical_switch = \"{network}\"\n")
}

pub(crate) fn mac(network: &str, vm: &Vm, vtep: &str) -> String {
    format!("\n[[mac]]\nlogical_switch = \"{network}\"\nmac = \"{}\"\nmaster = \"{vtep}\"\n", vm.mac)
}
