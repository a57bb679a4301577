//! The contract between controllers, and between controllers and agents.
//!
//! It owns the words that every part of vtepd shares about the overlay: MAC addresses, VNIs, VLAN ids and names,
//! each parsed once at the edge and trusted from there on. It knows no transport, no database and no kernel layout.

mod mac;
mod name;
mod vlan;
mod vni;

pub use mac::{MacAddr, MacParseError};
pub use name::{LogicalSwitchName, NameError, PortName, VtepName};
pub use vlan::{VlanId, VlanIdError};
pub use vni::{Vni, VniError};
