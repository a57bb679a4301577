//! Racks: hosts whose VMs are behind a pair of TORs.

use std::{process::Command, thread};

use anyhow::{Context as _, Result};

use super::{Fabric, Machine, Tor, Vm};
use crate::{
    link::Link,
    netns::{Netns, output},
    packet::PacketSocket,
};

/// Of a rack's two TORs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Left,
    Right,
}

/// A pair of TORs, and the hosts that are connected to both.
pub struct Rack {
    pub tors: [Tor; 2],
    hosts: Vec<RackHost>,
}

/// The same before anything runs on the TORs.
pub struct RackPlan {
    tors: [(String, Machine); 2],
    hosts: Vec<RackHost>,
}

/// A bridge with VMs on it and a link to each TOR, of which it uses one, as an active-backup bond does: nothing loops,
/// and what is flooded towards the other TOR ends there.
pub struct RackHost {
    netns: Netns,
    bridge: Link,
    links: [Link; 2],
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Also the name of a host's link to that TOR.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

impl RackPlan {
    /// TORs by name and the last octet of their tunnel address. Each has one port for each host, called like it. The
    /// hosts use their left link.
    pub fn new(fabric: &mut Fabric, tors: [(&str, u8); 2], hosts: &[&str]) -> Result<Self> {
        let mut machine = |(name, number): (&str, u8)| {
            fabric.machine(name, number).map(|machine| (name.to_owned(), machine))
        };
        let tors = [machine(tors[0])?, machine(tors[1])?];
        let machines = tors.each_ref().map(|(_, machine)| machine);
        let hosts = hosts.iter().map(|name| RackHost::new(name, machines)).collect::<Result<_>>()?;
        Ok(Self { tors, hosts })
    }

    pub fn hosts(&self) -> &[RackHost] {
        &self.hosts
    }

    pub fn host(&self, name: &str) -> &RackHost {
        named(&self.hosts, name)
    }

    pub fn machine(&self, side: Side) -> &Machine {
        &self.tors[side as usize].1
    }

    /// Both TORs at once. `section`: further lines of a port's section, by TOR and port.
    pub fn start(self, section: impl Fn(&str, &str) -> String + Sync) -> Result<Rack> {
        let Self { tors: [left, right], hosts } = self;
        let start = |(name, machine): (String, Machine)| {
            let ports = hosts.iter().map(|host| (host.name(), section(&name, host.name())));
            Tor::start(&name, machine, &ports.collect::<Vec<_>>())
        };
        let tors = thread::scope(|scope| {
            let left = scope.spawn(|| start(left));
            let right = start(right);
            anyhow::Ok([left.join().ok().context("the start of the left TOR panicked")??, right?])
        })?;
        Ok(Rack { tors, hosts })
    }
}

impl Rack {
    pub fn tor(&self, side: Side) -> &Tor {
        &self.tors[side as usize]
    }

    pub fn tor_mut(&mut self, side: Side) -> &mut Tor {
        &mut self.tors[side as usize]
    }

    pub fn hosts(&self) -> &[RackHost] {
        &self.hosts
    }

    pub fn host(&self, name: &str) -> &RackHost {
        named(&self.hosts, name)
    }
}

fn named<'a>(hosts: &'a [RackHost], name: &str) -> &'a RackHost {
    hosts.iter().find(|host| host.name() == name).expect("whoever laid out the rack knows its hosts")
}

impl RackHost {
    fn new(name: &str, tors: [&Machine; 2]) -> Result<Self> {
        let netns = Netns::new(&format!("rack-{name}"))?;
        let bridge = Link::bridge(&netns, name)?;
        let connect = |side: Side| {
            let (_, link) = Link::veth(&tors[side as usize].netns, name, &netns, side.as_str())?;
            link.set_bridge(&bridge)?;
            // A VM's frame that comes back from outside says nothing of where the VM is.
            netns.run(&format!("bridge link set dev {} learning off", side.as_str()))?;
            anyhow::Ok(link)
        };
        let links = [connect(Side::Left)?, connect(Side::Right)?];
        let host = Self { netns, bridge, links };
        host.use_link(Side::Left)?;
        Ok(host)
    }

    /// Also that of its port on each TOR.
    pub fn name(&self) -> &str {
        self.bridge.name()
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Frames pass over this link, and over the other no longer.
    pub fn use_link(&self, side: Side) -> Result<()> {
        let commands = self.use_link_commands(side);
        commands.iter().try_for_each(|line| output(Command::new("sh").args(["-c", line])).map(drop))
    }

    /// What a shell, in whatever namespace, has to run for [`Self::use_link`].
    pub fn use_link_commands(&self, side: Side) -> [String; 2] {
        const DISABLED: u8 = 0;
        const FORWARDING: u8 = 3;
        let host = self.netns.name();
        [(side.other(), DISABLED), (side, FORWARDING)]
            .map(|(side, state)| format!("bridge -netns {host} link set dev {} state {state}", side.as_str()))
    }

    /// A new VM.
    pub fn vm(&self, number: u8) -> Result<Vm> {
        let (vm, port) = Vm::new(&self.netns, &format!("vm{number}"), number)?;
        port.set_bridge(&self.bridge)?;
        Ok(vm)
    }

    /// A gratuitous ARP of the VM, over one link, whether in use or not: as a host does that keeps the TOR that stands
    /// by informed, and as a frame does that comes late.
    pub fn announce_over(&self, vm: &Vm, side: Side) -> Result<()> {
        PacketSocket::bind(&self.links[side as usize])?.send(&vm.announcement())
    }

    /// The VM, which runs on, leaves for another host, and says so there.
    pub fn migrate(&self, vm: &Vm, to: &Self) -> Result<()> {
        let [.., number] = vm.mac.octets();
        let port = format!("vm{number}");
        self.netns.ip(&format!("link set dev {port} netns {}", to.netns.name()))?;
        let port = Link::named(&to.netns, &port);
        port.set_bridge(&to.bridge)?;
        port.up()?;
        vm.announce()
    }
}
