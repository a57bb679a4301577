use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{kind} name is empty")]
    Empty { kind: &'static str },
    #[error("{kind} name {start:?}… has {length} bytes; expected at most {length_max}")]
    TooLong { kind: &'static str, start: String, length: usize, length_max: usize },
    #[error("{kind} name {name:?} has the character {character:?}; expected {expected}")]
    Character { kind: &'static str, name: String, character: char, expected: &'static str },
}

/// Names are shared, not copied: a table of a million MACs holds each of its names once.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $length_max:expr, $refused:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub const LENGTH_MAX: usize = $length_max;

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, Self::Error> {
                check(name, $kind, $length_max, $refused, $expected)?;
                Ok(Self(name.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::try_from(name.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::try_from(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// The name of a logical switch: a logical network that one VNI carries.
    LogicalSwitchName, "logical switch", 255, char::is_control, "no control character"
);
name!(
    /// The name of a tunnel endpoint: a TOR, or a host that runs an agent.
    VtepName, "VTEP", 255, char::is_control, "no control character"
);
name!(
    /// The name of a controller.
    ControllerName, "controller", 255, char::is_control, "no control character"
);
name!(
    /// The name of a port as its VTEP gives it: `Ethernet1/1` on a TOR, an interface on a host.
    SwitchPortName, "port", 255, char::is_control, "no control character"
);
name!(
    /// The name of a port: on a host, its network interface (`dev_valid_name` in the kernel's `net/core/dev.c`).
    PortName, "port", 15, |c| c == '/' || c == ':' || c.is_whitespace() || c.is_control(),
    "no slash, colon, white space or control character"
);

fn check(
    name: &str,
    kind: &'static str,
    length_max: usize,
    refused: impl Fn(char) -> bool,
    expected: &'static str,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > length_max {
        let start = name.chars().take(16).collect();
        return Err(NameError::TooLong { kind, start, length: name.len(), length_max });
    }
    match name.chars().find(|&c| refused(c)) {
        Some(character) => Err(NameError::Character { kind, name: name.to_owned(), character, expected }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_like_a_network_interface() {
        assert!(PortName::try_from("tap0.100").is_ok());
        assert!(matches!(PortName::try_from("a-name-of-16-byte"), Err(NameError::TooLong { .. })));
        assert!(matches!(PortName::try_from("eth0/1"), Err(NameError::Character { character: '/', .. })));
        assert!(matches!(PortName::try_from(""), Err(NameError::Empty { .. })));
    }

    #[test]
    fn a_terminal_escape_in_a_name_is_refused() {
        assert!(matches!(VtepName::try_from("tor\u{1b}[2J"), Err(NameError::Character { .. })));
        assert!(LogicalSwitchName::try_from("Kunde Nr. 7 (blau)").is_ok());
    }
}
