//! Open vSwitch with its datapath in user space, as a VTEP that speaks BFD inside VXLAN.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use vtep_api::Encapsulation;

use crate::{
    deadline::wait_for,
    lab::Machine,
    link::Link,
    netns::{Netns, output},
    process::Daemon,
};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const START: Duration = Duration::from_mins(1);

pub struct Ovs {
    netns: Netns,
    folder: TempDir,
    // In the order in which they end.
    _switch: Daemon,
    _database: Daemon,
}

impl Ovs {
    /// The machine's uplink becomes a port of bridge `br-phy`, which takes over its tunnel address.
    pub fn start(machine: &Machine) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-ovs-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        output(Command::new("ovsdb-tool").arg("create").arg(at("conf.db")).arg(SCHEMA))?;
        let remote = format!("punix:{}", at("db.sock").display());
        let mut database = machine.netns.command("ovsdb-server");
        own(&mut database, folder.path());
        database.arg(at("conf.db")).arg("--remote").arg(remote);
        database.arg("--unixctl").arg(at("server.ctl"));
        let mut database = Daemon::spawn("ovsdb-server", &mut database)?;
        database.wait_for("the database's socket", START, || at("db.sock").exists().then_some(()))?;
        let mut switch = machine.netns.command("ovs-vswitchd");
        own(&mut switch, folder.path());
        switch.arg(format!("unix:{}", at("db.sock").display())).arg("--unixctl").arg(at("switch.ctl"));
        let mut switch = Daemon::spawn("ovs-vswitchd", &mut switch)?;
        switch.wait_for("the switch's socket", START, || at("switch.ctl").exists().then_some(()))?;
        let ovs = Self { netns: machine.netns.clone(), folder, _switch: switch, _database: database };
        let (uplink, address) = (machine.uplink.name(), machine.address);
        // The kernel's stack behind the uplink would answer ARP, too, with a MAC that the switch does not take tunnels at.
        ovs.netns.sysctl(&format!("net.ipv4.conf.{uplink}.arp_ignore"), "1")?;
        ovs.vsctl(&format!(
            "--no-wait init -- add-br br-phy -- set bridge br-phy datapath_type=netdev -- add-port br-phy {uplink}"
        ))?;
        wait_for("bridge br-phy", START, || ovs.netns.ip("link show dev br-phy").ok())?;
        ovs.netns.ip(&format!("address flush dev {uplink}"))?;
        ovs.netns.ip(&format!("address add {address}/24 dev br-phy"))?;
        ovs.netns.ip("link set dev br-phy up")?;
        Ok(ovs)
    }

    /// Beside the tunnel address that `br-phy` has, usable at once.
    pub fn add_ipv6(&self, address: Ipv6Addr) -> Result<()> {
        self.netns.sysctl("net.ipv6.conf.br-phy.accept_dad", "0")?;
        self.netns.sysctl("net.ipv6.conf.br-phy.disable_ipv6", "0")?;
        self.netns.ip(&format!("address add {address}/64 dev br-phy nodad")).map(drop)
    }

    /// A VXLAN port to a far VTEP. `bfd`: `KEY=VALUE` pairs of the interface's column `bfd`.
    pub fn add_tunnel(
        &self,
        vni: u32,
        local: impl Into<IpAddr>,
        remote: impl Into<IpAddr>,
        bfd: &[&str],
    ) -> Result<()> {
        self.add_tunnel_of(Encapsulation::Vxlan, vni, local, remote, bfd)
    }

    pub fn add_tunnel_of(
        &self,
        encapsulation: Encapsulation,
        vni: u32,
        local: impl Into<IpAddr>,
        remote: impl Into<IpAddr>,
        bfd: &[&str],
    ) -> Result<()> {
        let (local, remote) = (local.into(), remote.into());
        let (kind, key) = match encapsulation {
            Encapsulation::Vxlan => ("vxlan", format!("options:key={vni}")),
            Encapsulation::Geneve => ("geneve", format!("options:key={vni}")),
            // The last byte of the key is a flow's (RFC 7637 §3.2).
            Encapsulation::Nvgre => ("gre", format!("options:in_key=flow options:out_key={}", vni << 8)),
        };
        let bfd: Vec<_> = bfd.iter().map(|pair| format!("bfd:{pair}")).collect();
        self.vsctl(&format!(
            "add-br br-int -- set bridge br-int datapath_type=netdev -- add-port br-int vx0 -- set interface vx0 \
             type={kind} options:local_ip={local} options:remote_ip={remote} {key} {}",
            bfd.join(" ")
        ))
        .map(drop)
    }

    /// Behind the tunnel.
    pub fn add_port(&self, port: &Link) -> Result<()> {
        self.vsctl(&format!("add-port br-int {}", port.name())).map(drop)
    }

    /// As the interface's column has it.
    pub fn bfd_status(&self, key: &str) -> Result<String> {
        let status = self.vsctl(&format!("get interface vx0 bfd_status:{key}"))?;
        Ok(status.trim().trim_matches('"').to_owned())
    }

    pub fn vsctl(&self, line: &str) -> Result<String> {
        let mut command = Command::new("ovs-vsctl");
        command.arg(format!("--db=unix:{}", self.folder.path().join("db.sock").display()));
        command.arg("--timeout=10").args(line.split_whitespace());
        output(&mut command).with_context(|| format!("ovs-vsctl {line}"))
    }
}

/// Nothing outside its own folder is shared with another one's.
fn own(command: &mut Command, folder: &Path) {
    command.env("OVS_RUNDIR", folder).env("OVS_LOGDIR", folder).env("OVS_DBDIR", folder);
}
