//! The tables of `vtep(5)`, schema 1.7.0, as far as a device or a controller needs to know them. The columns under
//! `optional` are our extension, schema 1.8.0.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use ovsdb::{Uuid, row};

pub use self::text::{MacText, ReplicationText, RoleText};

/// The MAC column's text for "every address that is not known", in the multicast tables.
pub const UNKNOWN_DST: &str = "unknown-dst";
/// The one encapsulation there is.
pub const VXLAN: &str = "vxlan_over_ipv4";

row! {
    /// Exactly one row: the root from which all physical rows hang.
    #[derive(Debug)]
    pub struct Global in "Global" {
        pub switches: BTreeSet<Uuid> = "switches",
    }
}

row! {
    /// Written by the device.
    #[derive(Debug)]
    pub struct PhysicalSwitch in "Physical_Switch" {
        pub name: String = "name",
        pub description: String = "description",
        pub tunnel_ips: BTreeSet<String> = "tunnel_ips",
        pub ports: BTreeSet<Uuid> = "ports",
        pub tunnels: BTreeSet<Uuid> = "tunnels",
        pub faults: BTreeSet<String> = "switch_fault_status",
    }
}

row! {
    /// Written by the device, but for its bindings, which the controller (or under OVN an administrator) writes.
    #[derive(Debug)]
    pub struct PhysicalPort in "Physical_Port" {
        pub name: String = "name",
        pub description: String = "description",
        pub vlan_bindings: BTreeMap<i64, Uuid> = "vlan_bindings",
        pub other_config: BTreeMap<String, String> = "other_config",
        pub faults: BTreeSet<String> = "port_fault_status",
    }
}

row! {
    /// Written by the controller.
    #[derive(Debug)]
    pub struct LogicalSwitch in "Logical_Switch" {
        pub name: String = "name",
        pub tunnel_key: Option<i64> = "tunnel_key",
        pub replication_mode: Option<ReplicationText> = "replication_mode",
    }
    optional {
        /// Old schemas lack it.
        pub other_config: BTreeMap<String, String> = "other_config",
    }
}

row! {
    /// Written by whoever refers to it; gone with the last reference.
    #[derive(Debug)]
    pub struct PhysicalLocator in "Physical_Locator" {
        pub encapsulation_type: String = "encapsulation_type",
        pub dst_ip: String = "dst_ip",
        pub tunnel_key: Option<i64> = "tunnel_key",
    }
}

row! {
    /// Written by whoever refers to it, and never changed.
    #[derive(Debug)]
    pub struct PhysicalLocatorSet in "Physical_Locator_Set" {
        pub locators: BTreeSet<Uuid> = "locators",
    }
}

row! {
    /// Written by the device: a MAC behind one of its ports.
    #[derive(Debug)]
    pub struct UcastMacLocal in "Ucast_Macs_Local" {
        pub mac: MacText = "MAC",
        pub logical_switch: Uuid = "logical_switch",
        pub locator: Uuid = "locator",
        pub ipaddr: String = "ipaddr",
    }
    optional {
        pub role: Option<RoleText> = "role",
        /// The device's own time of its claim, in milliseconds since the epoch.
        pub claimed_at_ms: Option<i64> = "claimed_at",
    }
}

row! {
    /// Written by the controller: a MAC behind another device. There may be a million of these, so they are kept small.
    #[derive(Debug)]
    pub struct UcastMacRemote in "Ucast_Macs_Remote" {
        pub mac: MacText = "MAC",
        pub logical_switch: Uuid = "logical_switch",
        pub locator: Uuid = "locator",
        pub ipaddr: Box<str> = "ipaddr",
    }
    optional {
        pub slave_locators: BTreeSet<Uuid> = "slave_locators",
        /// What the receiving device itself is for this MAC, where it is one of the claimants.
        pub role: Option<RoleText> = "role",
    }
}

row! {
    /// Written by the device.
    #[derive(Debug)]
    pub struct McastMacLocal in "Mcast_Macs_Local" {
        pub mac: String = "MAC",
        pub logical_switch: Uuid = "logical_switch",
        pub locator_set: Uuid = "locator_set",
    }
}

row! {
    /// Written by the controller.
    #[derive(Debug)]
    pub struct McastMacRemote in "Mcast_Macs_Remote" {
        pub mac: String = "MAC",
        pub logical_switch: Uuid = "logical_switch",
        pub locator_set: Uuid = "locator_set",
    }
}

row! {
    /// A pair of locators, made by the device; the controller asks for BFD on it.
    #[derive(Debug)]
    pub struct Tunnel in "Tunnel" {
        pub local: Uuid = "local",
        pub remote: Uuid = "remote",
        pub bfd_config_local: BTreeMap<String, String> = "bfd_config_local",
        pub bfd_config_remote: BTreeMap<String, String> = "bfd_config_remote",
        pub bfd_params: BTreeMap<String, String> = "bfd_params",
        pub bfd_status: BTreeMap<String, String> = "bfd_status",
    }
}
