//! The contract between controllers, and between controllers and agents.
//!
//! It owns the words that every part of vtepd shares about the overlay, each parsed once at the edge and trusted from
//! there on, and the messages of the two kinds of session: [`FromVtep`] and [`ToVtep`] between a VTEP and its physical
//! controller, [`FromPhysical`] and [`FromLogical`] between controllers. It knows no database and no kernel layout.
//!
//! Beside it, behind features, stands what both daemons are built from: their control socket and its commands (`control`),
//! their settings, log and metrics (`daemon`).

mod bfd;
mod bounded;
mod claim;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "daemon")]
pub mod daemon;
mod encapsulation;
#[cfg(feature = "grpc")]
pub mod grpc;
mod inquiry;
mod mac;
mod name;
mod network;
mod peer;
mod session;
mod sighting;
mod table;
#[cfg(any(feature = "daemon", feature = "grpc"))]
mod tls;
mod vlan;
mod vni;

pub use bfd::{BfdTransport, BfdWord};
pub use bounded::{Bounded, BoundedError, preset};
pub use claim::{Cause, Claim, Ips, LocalMac, Origin, OriginParseError, Role, Stamp};
pub use encapsulation::{Encapsulation, Locator};
pub use inquiry::{Answer, ErrorKind, Question, Refusal};
pub use mac::{MacAddr, MacParseError};
pub use name::{ControllerName, LogicalSwitchName, NameError, PortName, SwitchPortName, VtepName};
pub use network::{Binding, Network, Replication, UnknownUnicast, VtepOutline};
pub use peer::{
    Away, Claims, FromLogical, FromPhysical, NetworkOutline, Outline, Report, Served, Session, VtepStatus,
};
pub use session::{FromVtep, Held, Inventory, InventoryRecords, PROTOCOL, ToVtep, VtepState};
pub use sighting::{SIGHTINGS_MAX, Sighting, WaitingSightings};
pub use table::{Change, Placement, ROWS_MAX, Row, TableUpdate, Term, Version};
pub use vlan::{VlanId, VlanIdError};
pub use vni::{Vni, VniError};
