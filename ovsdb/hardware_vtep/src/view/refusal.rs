use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, MacAddr, NameError, PortName, VlanIdError, Vni, VniError, VtepName};

/// A row that is set aside, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row} of {table}: {reason}")]
pub struct Refusal {
    pub table: &'static str,
    pub row: Uuid,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("logical switch {name}: {source}")]
    Vni { name: LogicalSwitchName, source: VniError },
    #[error("logical switch {name} has VNI {vni}, which {holder} has already")]
    VniTaken { name: LogicalSwitchName, vni: Vni, holder: LogicalSwitchName },
    #[error("logical switch {name} has a replication mode of no known kind; service_node is taken")]
    ReplicationMode { name: LogicalSwitchName },
    #[error("port {port}: {source}")]
    Vlan { port: PortName, source: VlanIdError },
    #[error("port {port} stands in the switch twice; row {kept} counts")]
    PortTwice { port: String, kept: Uuid },
    #[error("MAC address {text:?} is malformed; expected six octets such as 02:00:00:00:00:01")]
    Mac { text: String },
    #[error("MAC address {mac} is not that of one station")]
    NoStation { mac: MacAddr },
    #[error("{switch} {mac} has {rows} rows; that with master {kept} counts")]
    MacTwice { switch: LogicalSwitchName, mac: MacAddr, rows: usize, kept: IpAddr },
    #[error("multicast address {text:?} is not supported; expected unknown-dst")]
    Multicast { text: String },
    #[error("locator's address {text:?} is malformed; expected the unicast IP address of a tunnel endpoint")]
    Address { text: String },
    #[error("tunnel address {text:?} of our own is malformed; expected a unicast IP address")]
    OwnAddress { text: String },
    #[error("locator's encapsulation {text:?} is not supported; expected vxlan_over_ipv4")]
    Encapsulation { text: String },
    #[error("locator has tunnel key {key}; expected none, or the logical switch's {vni}")]
    LocatorKey { key: i64, vni: Vni },
    #[error("locator is an address of our own, {address}")]
    OwnLocator { address: IpAddr },
    #[error("locator is {address}; expected a tunnel address of a switch in this database")]
    NoSwitchLocator { address: IpAddr },
    #[error("IP address {text:?} is malformed; expected that of one station")]
    StationAddress { text: String },
    #[error("there is no switch {name}")]
    NoSwitch { name: VtepName },
    #[error("locator is not there")]
    NoLocator,
    #[error("{key} of BFD is {text:?}; expected {expected}")]
    Bfd { key: &'static str, text: String, expected: &'static str },
    #[error("role is of no known kind; expected master or slave")]
    Role,
}

/// All that was set aside: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    total: usize,
    first: Vec<Refusal>,
}

/// A controller that errs a million times is told a hundred.
const FIRST_MAX: usize = 100;

impl Refusals {
    pub(crate) fn push(&mut self, table: &'static str, row: Uuid, reason: impl Into<Reason>) {
        self.total += 1;
        // The lowest rows are kept, so that equal databases give equal views.
        let place = self.first.partition_point(|known| (known.table, known.row) <= (table, row));
        if place < FIRST_MAX {
            self.first.insert(place, Refusal { table, row, reason: reason.into() });
            self.first.truncate(FIRST_MAX);
        }
    }

    pub fn total(&self) -> usize {
        self.total
    }

    /// By table and row; of very many only the first.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.first.iter()
    }
}

/// Text from outside is repeated in messages only so far.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
