use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// Which of a few known words a string is, if any. As bytes, since `serde_json` checks no UTF-8 for those: every row of
/// a dump has some ten of them.
pub(crate) struct WordSeed(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for WordSeed {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, word: D) -> Result<Self::Value, D::Error> {
        word.deserialize_bytes(self)
    }
}

impl Visitor<'_> for WordSeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {:?}", self.0)
    }

    fn visit_bytes<E: Error>(self, word: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| known.as_bytes() == word))
    }
}
