//! The peer: FRR's EVPN (RFC 8365) over iBGP, three machines in a full mesh, each with the kernel's bridge and VXLAN
//! device. Debian's package `frr`; where it is not installed, the bench runs without it and says so.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
            socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
    unistd::{User, chown},
};
use tempfile::TempDir;
use vtep_api::MacAddr;

use crate::{
    deadline::wait_for,
    lab::{Fabric, Machine},
    link::{Link, Vxlan},
    process::Daemon,
};

const FOLDER: &str = "/usr/lib/frr";
const VNI: u32 = 5001;
const SOON: Duration = Duration::from_secs(30);
/// `RTMGRP_NEIGH` of `linux/rtnetlink.h`: changes of neighbours and of forwarding entries.
const NEIGHBOUR_GROUP: u32 = 1 << 2;

pub(super) fn is_installed() -> bool {
    Path::new(FOLDER).join("bgpd").is_file()
}

pub(super) struct Evpn {
    nodes: Vec<Node>,
    _fabric: Fabric,
}

struct Node {
    port: Link,
    vxlan: Link,
    /// Of the forwarding entries in this namespace.
    changes: Changes,
    _daemons: [Daemon; 2],
    _folder: TempDir,
    machine: Machine,
}

impl Evpn {
    /// Until every machine has both others in its flood list.
    pub(super) fn new() -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let machines: Vec<_> =
            (1..=3).map(|number| fabric.machine(&format!("evpn{number}"), number)).collect::<Result<_>>()?;
        let addresses: Vec<_> = machines.iter().map(|machine| machine.address).collect();
        let nodes =
            machines.into_iter().map(|machine| Node::new(machine, &addresses)).collect::<Result<_>>()?;
        let evpn = Self { nodes, _fabric: fabric };
        for node in &evpn.nodes {
            let others = addresses.iter().filter(|address| **address != node.machine.address);
            for other in others {
                wait_for("a BGP session", SOON, || node.floods_to(*other).then_some(()))?;
            }
        }
        Ok(evpn)
    }

    /// From the moment at which the kernel of the machine has `mac` behind a port, until the kernels of all others point
    /// to that machine for it.
    pub(super) fn appear(&self, mac: MacAddr, at: usize) -> Result<Duration> {
        self.nodes.iter().try_for_each(|node| node.changes.drain())?;
        let node = &self.nodes[at];
        node.port.netns().run(&format!("bridge fdb replace {mac} dev {} master static", node.port.name()))?;
        let start = node.changes.until(|message| names(message, mac, None))?;
        let mut last = start;
        for (_, other) in self.nodes.iter().enumerate().filter(|(index, _)| *index != at) {
            last = last.max(other.changes.until(|message| names(message, mac, Some(node.machine.address)))?);
        }
        Ok(last - start)
    }
}

impl Node {
    fn new(machine: Machine, addresses: &[Ipv4Addr]) -> Result<Self> {
        let bridge = Link::bridge(&machine.netns, "br0")?;
        let vxlan = Vxlan { learning: false, ..Vxlan::new(VNI, machine.address) };
        let vxlan = Link::vxlan(&machine.netns, "vx", &vxlan)?;
        vxlan.set_bridge(&bridge)?;
        let (port, _) = Link::veth(&machine.netns, "vm", &machine.netns, "vm-peer")?;
        port.set_bridge(&bridge)?;
        let folder = tempfile::Builder::new().prefix("vtepd-evpn-").tempdir()?;
        // The daemons drop root.
        let frr = User::from_name("frr")?.context("the package frr makes a user frr, which is not there")?;
        chown(folder.path(), Some(frr.uid), Some(frr.gid))?;
        let changes = Changes::watch(&machine)?;
        let zebra = daemon(&machine, folder.path(), "zebra", "")?;
        let bgpd = daemon(&machine, folder.path(), "bgpd", &bgp(machine.address, addresses)?)?;
        Ok(Self { port, vxlan, changes, _daemons: [zebra, bgpd], _folder: folder, machine })
    }

    fn floods_to(&self, other: Ipv4Addr) -> bool {
        let shown = self.vxlan.netns().run(&format!("bridge fdb show dev {}", self.vxlan.name()));
        shown.is_ok_and(|shown| shown.contains(&format!("00:00:00:00:00:00 dst {other} ")))
    }
}

fn bgp(own: Ipv4Addr, addresses: &[Ipv4Addr]) -> Result<String> {
    let (mut sessions, mut activated) = (String::new(), String::new());
    for other in addresses.iter().filter(|address| **address != own) {
        writeln!(sessions, " neighbor {other} remote-as 65000")?;
        writeln!(sessions, " neighbor {other} timers connect 1")?;
        writeln!(sessions, " neighbor {other} advertisement-interval 0")?;
        writeln!(activated, "  neighbor {other} activate")?;
    }
    Ok(format!(
        "router bgp 65000\n bgp router-id {own}\n no bgp default ipv4-unicast\n{sessions} address-family l2vpn \
         evpn\n{activated}  advertise-all-vni\n exit-address-family\n"
    ))
}

fn daemon(machine: &Machine, folder: &Path, program: &str, config: &str) -> Result<Daemon> {
    let file = |suffix: &str| -> PathBuf { folder.join(format!("{program}.{suffix}")) };
    fs::write(file("conf"), config)?;
    let mut command = machine.netns.command(&format!("{FOLDER}/{program}"));
    command.args(["-u", "frr", "-g", "frr", "-P", "0"]);
    command.arg("-f").arg(file("conf")).arg("-i").arg(file("pid"));
    command.arg("-z").arg(folder.join("zserv")).arg("--vty_socket").arg(folder);
    if program == "bgpd" {
        // Zebra carries the routes that matter here; no unicast ones are to be installed.
        command.arg("-n");
    }
    let socket = file("vty");
    let mut daemon = Daemon::spawn(program, &mut command)?;
    daemon.wait_for("its socket", SOON, || socket.exists().then_some(()))?;
    Ok(daemon)
}

/// Whether a netlink message is about this MAC, at that far end.
fn names(message: &[u8], mac: MacAddr, at: Option<Ipv4Addr>) -> bool {
    let holds = |wanted: &[u8]| message.windows(wanted.len()).any(|window| window == wanted);
    holds(&mac.octets()) && at.is_none_or(|address| holds(&address.octets()))
}

/// The kernel's own word of each change in one namespace.
struct Changes(OwnedFd);

impl Changes {
    fn watch(machine: &Machine) -> Result<Self> {
        machine.netns.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, NEIGHBOUR_GROUP))?;
            setsockopt(&fd, sockopt::RcvBuf, &(8 << 20))?;
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(10))?;
            Ok(Self(fd))
        })?
    }

    fn drain(&self) -> Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(nix::Error::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When the first message came for which the condition holds.
    fn until(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Instant> {
        let mut buffer = [0; 8192];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN) => bail!("the kernel reported no such change within 10 s"),
                Err(error) => return Err(error.into()),
            };
            if wanted(&buffer[..length]) {
                return Ok(Instant::now());
            }
        }
    }
}
