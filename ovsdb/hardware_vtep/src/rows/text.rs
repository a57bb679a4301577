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
        Some(match canonical(text).map_or_else(|| text.parse(), Ok) {
            Ok(mac) => Self::Mac(mac),
            Err(_) => Self::Malformed(text.into()),
        })
    }
}

/// The form that nearly all rows have, read without searching for separators: a dump has a million.
fn canonical(text: &str) -> Option<MacAddr> {
    let text: &[u8; 17] = text.as_bytes().try_into().ok()?;
    let mut octets = [0; 6];
    for (index, octet) in octets.iter_mut().enumerate() {
        let at = 3 * index;
        if index > 0 && text[at - 1] != b':' {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *octet = digit(text[at])? << 4 | digit(text[at + 1])?;
    }
    Some(MacAddr::new(octets))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_canonical_form_is_read_as_every_other(text in "[0-9a-fA-F:. +-]{17}|([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}") {
            if let Some(mac) = canonical(&text) {
                prop_assert_eq!(text.parse(), Ok(mac));
            }
        }
    }

    #[test]
    fn each_notation_of_a_mac_gives_the_same_row() {
        let mac = MacAddr::new([2, 0, 0, 0xab, 0xcd, 1]);
        for text in ["02:00:00:ab:cd:01", "02-00-00-AB-CD-01", "0200.00ab.cd01"] {
            assert_eq!(MacText::from_text(text), Some(MacText::Mac(mac)));
        }
        assert_eq!(MacText::from_text("unknown-dst"), Some(MacText::Malformed("unknown-dst".into())));
    }
}
