//! A whole deployment: racks, a host with an agent (the "SFE") and VM8 on it, and controllers.

mod controllers;
mod look;
mod takeover;

use std::{collections::BTreeMap, net::Ipv4Addr, thread};

use anyhow::{Context as _, Result};
use vtep_api::Role;

pub use controllers::Controllers;
pub use takeover::{Pair, Takeover};

use super::{
    Agent, AgentConfig, AgentSource, ControllerRole, Fabric, Machine, Rack, RackHost, RackPlan, Side, Tor, Vm,
};
use crate::pki::Pki;

/// What is laid out. All of it goes by names, VTEPs by the last octets of their addresses, too.
pub struct Layout {
    /// Physical controllers join all logical ones.
    pub controllers: &'static [(&'static str, ControllerRole)],
    pub networks: &'static [NetworkLayout],
    pub racks: &'static [RackLayout],
    pub sfe_controller: &'static str,
    /// With their number and their rack host.
    pub vms: &'static [(&'static str, u8, &'static str)],
}

#[derive(Clone, Copy)]
pub struct NetworkLayout {
    pub name: &'static str,
    pub vni: u32,
    /// Its logical controller.
    pub controller: &'static str,
}

#[derive(Clone, Copy)]
pub struct RackLayout {
    /// With their physical controllers.
    pub tors: [(&'static str, u8, &'static str); 2],
    /// With the link that each uses. The last letter of a host's name is its VMs' network.
    pub hosts: &'static [(&'static str, Side)],
}

pub struct Site {
    pub controllers: Controllers,
    pub racks: Vec<Rack>,
    pub sfe: Agent,
    pub host: Machine,
    layout: &'static Layout,
    vm8: Vm,
    vms: BTreeMap<&'static str, Vm>,
    _control: Machine,
    _pki: Pki,
    _fabric: Fabric,
}

impl Site {
    /// Everything runs and nothing is declared: no network is there, and no VM has said a word. The TOR to which a
    /// rack's host sends is master of the host's network.
    pub fn new(layout: &'static Layout) -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let control = fabric.machine("control", 100)?;
        let host = fabric.machine("sfe", 8)?;
        let (vm8, _) = Vm::new(&host.netns, "p8x", 8)?;
        let plans: Vec<_> = layout.racks.iter().map(|rack| rack.plan(&mut fabric)).collect::<Result<_>>()?;
        let find = |host: &str| plans.iter().flat_map(RackPlan::hosts).find(|found| found.name() == host);
        let vm = |&(name, number, host)| anyhow::Ok((name, find(host).context("no such host")?.vm(number)?));
        let vms = layout.vms.iter().map(vm).collect::<Result<_>>()?;
        let pki = Pki::new()?;
        let sfe = AgentConfig {
            name: "sfe",
            source: AgentSource::Controller {
                address: controllers::address(layout, layout.sfe_controller),
                tls: Some(pki.issue("sfe")?),
            },
            ports: vec![("p8x", "learn = true")],
            dataplane: "macs_max = 1000",
        };
        let (racks, controllers, sfe) = thread::scope(|scope| {
            let sfe = scope.spawn(|| Agent::started(&host, &sfe));
            // All are under way before one is waited for.
            let racks: Vec<_> = plans.into_iter().map(|plan| scope.spawn(|| plan.start(learning))).collect();
            let controllers = Controllers::start(layout, &control.netns, &pki);
            let racks = racks.into_iter().map(|rack| rack.join().ok().context("a rack's start panicked")?);
            let racks = racks.collect::<Result<_>>();
            let sfe = sfe.join().ok().context("the SFE's start panicked")?;
            anyhow::Ok((racks?, controllers?, sfe?))
        })?;
        let site = Self {
            controllers,
            racks,
            sfe,
            host,
            layout,
            vm8,
            vms,
            _control: control,
            _pki: pki,
            _fabric: fabric,
        };
        site.assign_roles()?;
        Ok(site)
    }

    /// The operator's word: the networks, where they are bound, and who controls what.
    pub fn declare(&self) -> Result<()> {
        self.declare_with("")
    }

    /// The same, and further sections.
    pub fn declare_with(&self, more: &str) -> Result<()> {
        self.controllers.apply(&format!("{}\n{more}", controllers::declared(self)))
    }

    pub fn vm(&self, name: &str) -> &Vm {
        if name == "VM8" { &self.vm8 } else { &self.vms[name] }
    }

    pub fn tor(&self, name: &str) -> &Tor {
        self.tors().find(|tor| tor.name() == name).expect("a TOR of the layout")
    }

    pub fn tor_mut(&mut self, name: &str) -> &mut Tor {
        let mut tors = self.racks.iter_mut().flat_map(|rack| &mut rack.tors);
        tors.find(|tor| tor.name() == name).expect("a TOR of the layout")
    }

    pub fn tors(&self) -> impl Iterator<Item = &Tor> {
        self.racks.iter().flat_map(|rack| &rack.tors)
    }

    pub fn rack_host(&self, name: &str) -> &RackHost {
        let mut hosts = self.racks.iter().flat_map(Rack::hosts);
        hosts.find(|host| host.name() == name).expect("a rack host of the layout")
    }

    /// The agents of all VTEPs, by name.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.tors().map(|tor| (tor.name(), &tor.agent)).chain([("sfe", &self.sfe)])
    }

    pub fn address(&self, vtep: &str) -> Ipv4Addr {
        if vtep == "sfe" { self.host.address } else { self.tor(vtep).machine.address }
    }

    /// A VM lets both its TORs know where it is.
    pub fn announce(&self, vm: &str) -> Result<()> {
        if vm == "VM8" {
            return self.vm8.announce();
        }
        let (_, _, host) = self.layout.vms.iter().find(|(name, ..)| *name == vm).context("no such VM")?;
        let announce = |side| self.rack_host(host).announce_over(self.vm(vm), side);
        Side::BOTH.into_iter().try_for_each(announce)
    }

    fn assign_roles(&self) -> Result<()> {
        for (rack, layout) in self.racks.iter().zip(self.layout.racks) {
            for (host, side) in layout.hosts {
                rack.tor(*side).set_role(Role::Master, network(host))?;
                rack.tor(side.other()).set_role(Role::Slave, network(host))?;
            }
        }
        Ok(())
    }
}

impl RackLayout {
    fn plan(&self, fabric: &mut Fabric) -> Result<RackPlan> {
        let names: Vec<_> = self.hosts.iter().map(|(name, _)| *name).collect();
        let plan = RackPlan::new(fabric, self.tors.map(|(name, number, _)| (name, number)), &names)?;
        self.hosts.iter().try_for_each(|(name, side)| plan.host(name).use_link(*side))?;
        Ok(plan)
    }
}

fn learning(_tor: &str, _port: &str) -> String {
    "learn = true".to_owned()
}

/// That of all VMs behind a port.
fn network(port: &str) -> &str {
    &port[port.len() - 1..]
}
