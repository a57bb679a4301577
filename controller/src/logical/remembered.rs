//! Who is master of a MAC, where the claims of a later day would not tell.

use serde::{Deserialize, Serialize};
use vtep_api::VtepName;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub master: VtepName,
    /// Nobody claims the MAC any more, and the mass-withdraw guard keeps it. Otherwise several claim it alike.
    pub kept: bool,
}

/// No name has a control character.
const KEPT: &str = "\tkept";

impl Remembered {
    /// As it is written down.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.master.as_str(), if self.kept { KEPT } else { "" })
    }

    /// `None`: it names no VTEP.
    pub fn from_text(text: &str) -> Option<Self> {
        let kept = text.strip_suffix(KEPT);
        let master = VtepName::try_from(kept.unwrap_or(text)).ok()?;
        Some(Self { master, kept: kept.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for kept in [false, true] {
            let remembered = Remembered { master: "a kept".try_into().unwrap(), kept };
            assert_eq!(Remembered::from_text(&remembered.to_text()), Some(remembered));
        }
        assert_eq!(Remembered::from_text("a\tleft"), None);
    }
}
