//! Text that has a meaning. The database checks none of it, so what has no meaning is kept as it came, to be named when
//! its row is set aside.

use ovsdb::Atom;
use vtep_api::MacAddr;

/// The MAC column of a unicast row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MacText {
    Mac(MacAddr),
    Malformed(Box<str>),
}

impl MacText {
    pub fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Mac(mac) => Some(*mac),
            Self::Malformed(_) => None,
        }
    }
}

impl Default for MacText {
    fn default() -> Self {
        Self::Malformed(Box::default())
    }
}

impl Atom for MacText {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(match text.parse() {
            Ok(mac) => Self::Mac(mac),
            Err(_) => Self::Malformed(text.into()),
        })
    }
}

/// Our extension's `role` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleText {
    Master,
    Slave,
    /// A later schema may know more.
    Other,
}

impl RoleText {
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Master => Some("master"),
            Self::Slave => Some("slave"),
            Self::Other => None,
        }
    }
}

impl Atom for RoleText {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "master" => Self::Master,
            "slave" => Self::Slave,
            _ => Self::Other,
        })
    }
}

/// `Logical_Switch.replication_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationText {
    ServiceNode,
    SourceNode,
    /// A later schema may know more.
    Other,
}

impl Atom for ReplicationText {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "service_node" => Self::ServiceNode,
            "source_node" => Self::SourceNode,
            _ => Self::Other,
        })
    }
}
