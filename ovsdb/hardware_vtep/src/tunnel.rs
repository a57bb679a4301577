//! BFD on the tunnels of a device, as `Tunnel` has it (`vtep(5)`): a row for each pair of locators, made by the device;
//! the controller asks for a session in `bfd_params` and `bfd_config_remote`, the device tells of it in `bfd_status`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ovsdb::{Row, Uuid};
use vtep_api::MacAddr;

use crate::device::CREATED_BY;
use crate::mirror::Mirror;
use crate::rows::{PhysicalSwitch, Tunnel, VXLAN};
use crate::view::{Reason, Refusals, cut, unicast_address};

/// `bfd_status`, `bfd_params` and the like.
pub type Cells = BTreeMap<String, String>;

/// What a controller asks for. Where it says nothing, what `vtep(5)` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelBfd {
    /// `None`: there is no word on it.
    pub enabled: Option<bool>,
    pub min_rx_ms: u32,
    pub min_tx_ms: u32,
    /// In the place of `min_rx_ms` while no frames come from the peer; 0: never.
    pub decay_min_rx_ms: u32,
    /// The tunnel is up while frames come from the peer, whatever becomes of its control packets.
    pub forwarding_if_rx: bool,
    /// Tell the peer that it should send its frames elsewhere.
    pub cpath_down: bool,
    /// Take control packets with tunnel key 0 only.
    pub check_tnl_key: bool,
    /// Inside the tunnel, where packets to the peer go. `None`: where they go by default.
    pub dst_mac: Option<MacAddr>,
    pub dst_ip: Option<Ipv4Addr>,
}

impl Default for TunnelBfd {
    fn default() -> Self {
        Self {
            enabled: None,
            min_rx_ms: 1000,
            min_tx_ms: 100,
            decay_min_rx_ms: 0,
            forwarding_if_rx: false,
            cpath_down: false,
            check_tnl_key: false,
            dst_mac: None,
            dst_ip: None,
        }
    }
}

/// The row of a tunnel to an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub uuid: Uuid,
    pub row: &'a Tunnel,
}

impl Found<'_> {
    /// By us, who may remove no other: `bfd_config_local`, which is the device's, tells.
    pub(crate) fn is_created(&self) -> bool {
        let (key, value) = CREATED_BY;
        self.row.bfd_config_local.get(key).is_some_and(|by| by == value)
    }
}

/// The tunnels of a switch from an address of its own, by where they lead. Of several rows for one pair ours counts, then
/// the lowest.
pub(crate) fn rows<'a>(mirror: &'a Mirror, switch: &'a PhysicalSwitch) -> BTreeMap<IpAddr, Found<'a>> {
    let own: BTreeSet<IpAddr> = switch.tunnel_ips.iter().filter_map(|text| unicast_address(text)).collect();
    let mut found = BTreeMap::<IpAddr, Found<'_>>::new();
    for &uuid in &switch.tunnels {
        let Some(row) = mirror.tunnels.row(uuid) else { continue };
        let address = |locator| {
            let row = mirror.locators.row(locator).filter(|row| row.encapsulation_type == VXLAN)?;
            unicast_address(&row.dst_ip)
        };
        let (Some(local), Some(remote)) = (address(row.local), address(row.remote)) else { continue };
        if !own.contains(&local) || own.contains(&remote) {
            continue;
        }
        let this = Found { uuid, row };
        match found.get(&remote) {
            Some(other) if other.is_created() || !this.is_created() => {}
            _ => {
                found.insert(remote, this);
            }
        }
    }
    found
}

/// What is asked for on each tunnel.
pub(crate) fn derive(
    mirror: &Mirror,
    switch: &PhysicalSwitch,
    refusals: &mut Refusals,
) -> BTreeMap<IpAddr, TunnelBfd> {
    let rows = rows(mirror, switch);
    rows.into_iter().map(|(address, found)| (address, read(found, refusals))).collect()
}

fn read(found: Found<'_>, refusals: &mut Refusals) -> TunnelBfd {
    let Found { uuid, row } = found;
    let mut refuse = |key: &'static str, text: &str, expected: &'static str| {
        refusals.push(Tunnel::TABLE, uuid, Reason::Bfd { key, text: cut(text), expected });
    };
    let mut bfd = TunnelBfd::default();
    for (key, text) in &row.bfd_params {
        const FLAG: &str = "true or false";
        const INTERVAL: &str = "milliseconds from 1";
        let flag = || text.parse::<bool>().ok();
        let millis = || text.parse::<u32>().ok().filter(|ms| *ms > 0);
        match key.as_str() {
            "enable" => match flag() {
                Some(enabled) => bfd.enabled = Some(enabled),
                None => refuse("enable", text, FLAG),
            },
            "min_rx" => match millis() {
                Some(ms) => bfd.min_rx_ms = ms,
                None => refuse("min_rx", text, INTERVAL),
            },
            "min_tx" => match millis() {
                Some(ms) => bfd.min_tx_ms = ms,
                None => refuse("min_tx", text, INTERVAL),
            },
            "cpath_down" => match flag() {
                Some(down) => bfd.cpath_down = down,
                None => refuse("cpath_down", text, FLAG),
            },
            "check_tnl_key" => match flag() {
                Some(checks) => bfd.check_tnl_key = checks,
                None => refuse("check_tnl_key", text, FLAG),
            },
            "decay_min_rx" => match text.parse() {
                Ok(ms) => bfd.decay_min_rx_ms = ms,
                Err(_) => refuse("decay_min_rx", text, "milliseconds, or 0"),
            },
            "forwarding_if_rx" => match flag() {
                Some(forwards) => bfd.forwarding_if_rx = forwards,
                None => refuse("forwarding_if_rx", text, FLAG),
            },
            _ => {}
        }
    }
    if (1..bfd.min_rx_ms).contains(&bfd.decay_min_rx_ms) {
        let text = bfd.decay_min_rx_ms.to_string();
        refuse("decay_min_rx", &text, "0, or no less than min_rx");
        bfd.decay_min_rx_ms = 0;
    }
    if let Some(text) = row.bfd_config_remote.get("bfd_dst_mac") {
        match text.parse::<MacAddr>() {
            Ok(mac) => bfd.dst_mac = Some(mac),
            Err(_) => refuse("bfd_dst_mac", text, "six octets such as 00:23:20:00:00:01"),
        }
    }
    if let Some(text) = row.bfd_config_remote.get("bfd_dst_ip") {
        match text.parse::<Ipv4Addr>() {
            Ok(ip) => bfd.dst_ip = Some(ip),
            Err(_) => refuse("bfd_dst_ip", text, "an IPv4 address such as 169.254.1.1"),
        }
    }
    bfd
}
