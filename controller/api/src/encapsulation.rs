use std::fmt;

use serde::{Deserialize, Serialize};

/// How frames to a VTEP are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// RFC 7348.
    #[default]
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 7637.
    Nvgre,
}

impl Encapsulation {
    pub const ALL: [Self; 3] = [Self::Vxlan, Self::Geneve, Self::Nvgre];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Nvgre => "nvgre",
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
