//! A VM's port of each kind that a host may have.

use anyhow::Result;

use super::{Offloads, TapVm, Vm};
use crate::{link::Link, netns::Netns};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortKind {
    Tap(Offloads),
    /// With GRO at both ends, or without.
    Veth {
        gro: bool,
    },
    /// Neither tap nor veth: a macvlan that takes all frames of its lower link.
    Macvlan,
}

/// With its VM.
pub enum VmPort {
    Tap(TapVm),
    Link(Vm, Link),
}

impl VmPort {
    pub fn new(kind: PortKind, host: &Netns, name: &str, number: u8) -> Result<Self> {
        Ok(match kind {
            PortKind::Tap(offloads) => Self::Tap(TapVm::new(host, name, number, offloads)?),
            PortKind::Veth { gro } => {
                let (vm, port) = Vm::new(host, name, number)?;
                for link in [&vm.eth0, &port] {
                    link.set_offload("gro", gro)?;
                }
                Self::Link(vm, port)
            }
            PortKind::Macvlan => {
                let (vm, lower) = Vm::new(host, "lower", number)?;
                host.ip(&format!("link add {name} link {} type macvlan mode passthru", lower.name()))?;
                let port = Link::named(host, name);
                // Its own filter would let few groups through.
                port.set("promisc on")?;
                port.up()?;
                Self::Link(vm, port)
            }
        })
    }

    pub fn vm(&self) -> &Vm {
        match self {
            Self::Tap(tap) => &tap.vm,
            Self::Link(vm, _) => vm,
        }
    }

    pub fn vm_mut(&mut self) -> &mut Vm {
        match self {
            Self::Tap(tap) => &mut tap.vm,
            Self::Link(vm, _) => vm,
        }
    }

    pub fn link(&self) -> &Link {
        match self {
            Self::Tap(tap) => &tap.port,
            Self::Link(_, port) => port,
        }
    }
}
