//! Two TORs behind which the same MACs live: the kernel's bridge and VXLAN device, with BIRD for BFD.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    flow::{frame_to, is_from, listen},
    host::Host,
    netlink::Netlink,
};
use crate::{
    bench::topology::VNI,
    bird::Bird,
    lab::{Fabric, Machine, Vm},
    link::Link,
    packet::PacketSocket,
};

/// Addresses end so.
const NUMBERS: [u8; 2] = [11, 12];

/// How a TOR dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Death {
    InterfaceDown,
    KilledProcess,
    CutLink,
}

/// The first is the master.
pub(super) struct Pair {
    pub(super) tors: [Tor; 2],
    hosts: Vec<Ipv4Addr>,
    pub(super) fabric: Fabric,
}

pub(super) struct Tor {
    pub(super) machine: Machine,
    pub(super) far: Vm,
    /// The fabric's end of its link.
    port: Link,
    bird: Option<Bird>,
}

impl Death {
    pub(super) const ALL: [Self; 3] = [Self::InterfaceDown, Self::KilledProcess, Self::CutLink];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InterfaceDown => "interface down",
            Self::KilledProcess => "process killed",
            Self::CutLink => "link cut",
        }
    }
}

impl Pair {
    pub(super) fn new() -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let mut tor = |number| -> Result<Tor> {
            let machine = fabric.machine("tor", number)?;
            let bridge = machine.kernel_vtep(VNI, &[])?;
            let (far, port) = Vm::new(&machine.netns, "port", 3)?;
            port.set_bridge(&bridge)?;
            Ok(Tor { machine, far, port: fabric.last_port(), bird: None })
        };
        let tors = [tor(NUMBERS[0])?, tor(NUMBERS[1])?];
        Ok(Self { tors, hosts: Vec::new(), fabric })
    }

    /// From here on they speak BFD with these.
    pub(super) fn listen(&mut self, hosts: &[Ipv4Addr]) -> Result<()> {
        self.hosts = hosts.to_vec();
        self.tors.iter_mut().try_for_each(|tor| tor.start(hosts))
    }

    /// When the master did.
    pub(super) fn die(&mut self, death: Death) -> Result<Instant> {
        let tor = &mut self.tors[0];
        match death {
            Death::InterfaceDown => turn(&tor.machine.uplink, false),
            Death::CutLink => turn(&tor.port, false),
            Death::KilledProcess => {
                let mut bird = tor.bird.take().context("BIRD is not running")?;
                let died = Instant::now();
                bird.daemon().kill()?;
                Ok(died)
            }
        }
    }

    pub(super) fn revive(&mut self, death: Death) -> Result<()> {
        let tor = &mut self.tors[0];
        match death {
            Death::InterfaceDown => turn(&tor.machine.uplink, true).map(drop),
            Death::CutLink => turn(&tor.port, true).map(drop),
            Death::KilledProcess => tor.start(&self.hosts),
        }
    }

    /// Which of them gets a host's next frame.
    pub(super) fn next_frame(&self, host: &Host, macs: u32) -> Result<usize> {
        let sockets = [listen(&self.tors[0].far.eth0)?, listen(&self.tors[1].far.eth0)?];
        PacketSocket::bind(&host.vm.eth0)?.send(&frame_to(host.vm.mac, macs - 1))?;
        let end = Instant::now() + Duration::from_secs(2);
        let mut bytes = [0; 128];
        while Instant::now() < end {
            for (tor, socket) in sockets.iter().enumerate() {
                if socket.next(&mut bytes)?.is_some_and(|frame| is_from(frame, host.vm.mac)) {
                    return Ok(tor);
                }
            }
        }
        bail!("the frame came to no TOR");
    }
}

impl Tor {
    fn start(&mut self, hosts: &[Ipv4Addr]) -> Result<()> {
        let timers = "interval 50 ms; multiplier 3; idle tx interval 200 ms;";
        let local = self.machine.address;
        let neighbours: Vec<_> =
            hosts.iter().map(|host| format!("neighbor {host} local {local} multihop;")).collect();
        let text = format!("multihop {{ {timers} }};\n{}", neighbours.join("\n"));
        self.bird = Some(Bird::start(&self.machine, &text)?);
        Ok(())
    }
}

/// By a message of ours, for a command would take longer to start than a flip takes.
fn turn(link: &Link, up: bool) -> Result<Instant> {
    let mut netlink = Netlink::open(link.netns())?;
    let index = link.index()?;
    let now = Instant::now();
    netlink.set_up(index, up)?;
    Ok(now)
}
