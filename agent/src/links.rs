//! The host's interfaces, followed by netlink, and the tunnel device that the kernel's VXLAN code serves for us.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::netlink::{Changes, Group, Netlink, NetlinkError};

pub use crate::netlink::{Link, Vxlan};

/// A burst of notices is one change.
const SETTLE: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_secs(1);

/// All interfaces of the agent's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    pub by_name: BTreeMap<String, Link>,
}

impl Links {
    pub fn by_index(&self, ifindex: u32) -> Option<(&str, &Link)> {
        let mut links = self.by_name.iter();
        links.find(|(_, link)| link.ifindex == ifindex).map(|(name, link)| (name.as_str(), link))
    }
}

/// Follows the interfaces until nobody watches. The first state has been read when this returns.
pub async fn watch() -> Result<watch::Receiver<Links>, NetlinkError> {
    let mut socket = Sockets::open()?;
    let (sender, receiver) = watch::channel(socket.read().await?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                result = socket.followed(&sender) => {
                    if let Err(error) = result {
                        warn!(error = &error as &dyn std::error::Error, "interfaces are not followed");
                        tokio::time::sleep(RETRY).await;
                        // Should this fail too, the old sockets fail once more.
                        if let Ok(fresh) = Sockets::open() {
                            socket = fresh;
                            socket.publish(&sender).await.ok();
                        }
                    }
                }
            }
        }
    });
    Ok(receiver)
}

struct Sockets {
    changes: Changes,
    netlink: Netlink,
}

impl Sockets {
    /// Listens before it reads, so that no change falls between. Of a queueing discipline only its own group tells.
    fn open() -> Result<Self, NetlinkError> {
        Ok(Self { changes: Changes::open(&[Group::Link, Group::Tc])?, netlink: Netlink::open()? })
    }

    async fn read(&self) -> Result<Links, NetlinkError> {
        Ok(Links { by_name: self.netlink.links().await? })
    }

    async fn publish(&self, sender: &watch::Sender<Links>) -> Result<(), NetlinkError> {
        let links = self.read().await?;
        sender.send_if_modified(|last| {
            let changed = *last != links;
            *last = links;
            changed
        });
        Ok(())
    }

    async fn followed(&mut self, sender: &watch::Sender<Links>) -> Result<(), NetlinkError> {
        self.changes.changed().await.map_err(NetlinkError::Open)?;
        tokio::time::sleep(SETTLE).await;
        self.publish(sender).await
    }
}

/// The collect-metadata VXLAN device: its socket takes what arrives for the port, its ingress is where `tunnel_in`
/// stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    pub name: String,
    pub udp_port: u16,
    /// First and last.
    pub source_ports: (u16, u16),
}

/// Whether the running kernel has VXLAN, built in or as a module. Loads nothing.
pub fn has_vxlan() -> bool {
    if Path::new("/sys/module/vxlan").exists() {
        return true;
    }
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let modules = Path::new("/lib/modules").join(release.trim());
    ["modules.builtin", "modules.dep"]
        .iter()
        .any(|list| fs::read_to_string(modules.join(list)).is_ok_and(|list| list.contains("/vxlan.ko")))
}

#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error(
        "interface {name} is {found}, expected a VXLAN device with external control on UDP port {udp_port}; \
         it was not touched"
    )]
    NotOurs { name: String, udp_port: u16, found: String },
    #[error(
        "UDP port {udp_port} is taken by {}", by.as_deref().map_or("another socket".to_owned(), |by| format!("VXLAN device {by}"))
    )]
    PortTaken { udp_port: u16, by: Option<String> },
    #[error("the kernel has no VXLAN; type `modprobe vxlan`")]
    NoVxlan,
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl Tunnel {
    /// The largest that a VXLAN device without an interface of its own may have: a whole super-frame fits.
    const MTU: u32 = 65_485;
    /// Marks the device as made by us: nothing without it is ever removed.
    const ALIAS: &str = "vtepd";

    /// Adopts the device or makes it, and sets it up. One of ours with other ports makes room: a device's ports cannot
    /// be changed.
    pub async fn ensure(&self) -> Result<Link, TunnelError> {
        let netlink = Netlink::open()?;
        self.remove_outdated(&netlink).await?;
        let (link, made) = match self.find(&netlink).await? {
            Some(link) => (link, false),
            None => (self.add(&netlink).await?, true),
        };
        if link.up {
            return Ok(link);
        }
        if let Err(error) = netlink.set_up(link.ifindex).await {
            if made {
                netlink.remove_link(link.ifindex).await?;
            }
            return Err(self.port_taken(&netlink, error).await);
        }
        self.find(&netlink).await?.ok_or_else(|| self.not_ours("gone again"))
    }

    /// Whether it was there. A device that is not ours stays.
    pub async fn remove(&self) -> Result<bool, TunnelError> {
        let netlink = Netlink::open()?;
        let Some(link) = netlink.links().await?.remove(&self.name) else { return Ok(false) };
        if link.alias.as_deref() != Some(Self::ALIAS) {
            return Ok(false);
        }
        netlink.remove_link(link.ifindex).await?;
        Ok(true)
    }

    async fn remove_outdated(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let Some(link) = netlink.links().await?.remove(&self.name) else { return Ok(()) };
        let ports = |vxlan: Vxlan| (vxlan.udp_port, vxlan.source_ports);
        let outdated = |vxlan: Vxlan| {
            let fits = ports(vxlan) == (self.udp_port, self.source_ports) && vxlan.zero_checksum6;
            vxlan.collect_metadata && !fits
        };
        if link.alias.as_deref() == Some(Self::ALIAS) && link.vxlan.is_some_and(outdated) {
            netlink.remove_link(link.ifindex).await?;
        }
        Ok(())
    }

    async fn find(&self, netlink: &Netlink) -> Result<Option<Link>, TunnelError> {
        let Some(link) = netlink.links().await?.remove(&self.name) else { return Ok(None) };
        let found = match (&link.kind, link.vxlan) {
            (_, Some(Vxlan { udp_port, collect_metadata: true, .. })) if udp_port == self.udp_port => {
                return Ok(Some(link));
            }
            (_, Some(Vxlan { udp_port, collect_metadata: true, .. })) => format!("one on port {udp_port}"),
            (_, Some(_)) => "one without external control".to_owned(),
            (Some(kind), None) => format!("a {kind} device"),
            (None, None) => "a hardware device".to_owned(),
        };
        Err(self.not_ours(found))
    }

    async fn add(&self, netlink: &Netlink) -> Result<Link, TunnelError> {
        if let Err(error) = netlink.add_vxlan(&self.name, self.udp_port, self.source_ports, Self::MTU).await {
            return Err(self.port_taken(netlink, error).await);
        }
        let link = self.find(netlink).await?.ok_or_else(|| self.not_ours("gone again"))?;
        // The kernel takes no alias while it makes a device.
        netlink.set_alias(link.ifindex, Self::ALIAS).await?;
        Ok(link)
    }

    /// The kernel refuses a second collect-metadata device of a port with EEXIST, and any other holder of the port
    /// with EADDRINUSE.
    async fn port_taken(&self, netlink: &Netlink, error: NetlinkError) -> TunnelError {
        match error.errno() {
            Some(libc::EEXIST | libc::EADDRINUSE) => {}
            Some(libc::EOPNOTSUPP) => return TunnelError::NoVxlan,
            _ => return error.into(),
        }
        let links = netlink.links().await.unwrap_or_default();
        let shares = |link: &Link| link.vxlan.is_some_and(|vxlan| vxlan.udp_port == self.udp_port);
        let by =
            links.into_iter().find(|(name, link)| *name != self.name && shares(link)).map(|(name, _)| name);
        TunnelError::PortTaken { udp_port: self.udp_port, by }
    }

    fn not_ours(&self, found: impl Into<String>) -> TunnelError {
        TunnelError::NotOurs { name: self.name.clone(), udp_port: self.udp_port, found: found.into() }
    }
}
