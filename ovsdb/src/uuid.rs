use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The identity of a row (RFC 4122 text in RFC 7047 `<uuid>`). OVSDB never reuses one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Uuid([u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("UUID {text:?} is malformed; expected the form 00000000-0000-0000-0000-000000000000")]
pub struct UuidError {
    /// The text as it was received, cut to 64 characters.
    pub text: String,
}

impl Uuid {
    /// What a reference column holds by default, and "no transaction yet" in `monitor_cond_since`.
    pub const ZERO: Self = Self([0; 16]);
    pub const TEXT_LEN: usize = 36;

    pub const fn from_u128(value: u128) -> Self {
        Self(value.to_be_bytes())
    }

    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    pub fn from_text(text: &[u8]) -> Option<Self> {
        let text: &[u8; Self::TEXT_LEN] = text.try_into().ok()?;
        if [8, 13, 18, 23].iter().any(|&at| text[at] != b'-') {
            return None;
        }
        let mut octets = [0; 16];
        let mut refused = 0;
        for (octet, at) in octets.iter_mut().zip(DIGIT_PAIRS) {
            let (high, low) = (NIBBLES[usize::from(text[at])], NIBBLES[usize::from(text[at + 1])]);
            refused |= high | low;
            *octet = high << 4 | (low & 0xf);
        }
        (refused < 0x10).then_some(Self(octets))
    }
}

const DIGIT_PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The value of each hexadecimal digit; `0xff` elsewhere.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value as usize] as usize] = value;
        nibbles[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
};

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(text.as_bytes()).ok_or_else(|| UuidError { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Hash for Uuid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.as_u128());
    }
}

/// The bare text: what stands in a row's key. A reference in a cell is `["uuid", text]` and is written by
/// [`Atom`](crate::Atom).
impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Uuid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a UUID")
            }

            // serde_json checks no UTF-8 for bytes; only hexadecimal digits and dashes pass.
            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Uuid, E> {
                Uuid::from_text(text).ok_or_else(|| {
                    E::custom(UuidError { text: String::from_utf8_lossy(text).chars().take(64).collect() })
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
                self.visit_bytes(text.as_bytes())
            }
        }

        deserializer.deserialize_bytes(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_in_either_case() {
        let text = "0856bc7a-b9ef-4d51-92fa-2db352bf8658";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(uuid));
        assert_eq!(serde_json::from_str::<Uuid>(&format!("\"{text}\"")).unwrap(), uuid);
    }

    #[test]
    fn text_of_another_form_is_refused() {
        for text in
            ["", "0856bc7a", "0856bc7ab-9ef-4d51-92fa-2db352bf8658", "g856bc7a-b9ef-4d51-92fa-2db352bf8658"]
        {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
