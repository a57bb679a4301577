use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit IEEE 802 address in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr([u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MAC address {text:?} is malformed; expected six octets such as 02:00:00:00:00:01")]
pub struct MacParseError {
    /// The text as it was given, cut to 64 characters.
    pub text: String,
}

impl MacAddr {
    pub const BROADCAST: Self = Self([0xff; 6]);

    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// A group address (I/G bit of IEEE 802-2014 §8.2): multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// Whether the address can name one station: what a MAC table may hold.
    pub fn is_station(self) -> bool {
        !self.is_group() && !self.is_zero()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4], o[5])
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Accepts `02:00:00:00:00:01`, `02-00-00-00-00-01`, `0200.0000.0001` and `020000000001`, in either case; octets
/// between colons or dashes may have one digit.
impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| MacParseError { text: text.chars().take(64).collect() })
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let octet = |digits: &str| {
        let hex = !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if hex { u8::from_str_radix(digits, 16).ok() } else { None }
    };
    let mut octets = [0; 6];
    if let Some(separator) = [':', '-'].into_iter().find(|&s| text.contains(s)) {
        let mut parts = text.split(separator);
        for slot in &mut octets {
            *slot = octet(parts.next()?)?;
        }
        return parts.next().is_none().then_some(octets);
    }
    let groups: Vec<&str> = text.split('.').collect();
    let well_grouped = match groups.len() {
        1 => text.len() == 12,
        3 => groups.iter().all(|group| group.len() == 4),
        _ => false,
    };
    let digits = groups.concat();
    if !well_grouped || !digits.is_ascii() {
        return None;
    }
    for (slot, at) in octets.iter_mut().zip((0..12).step_by(2)) {
        *slot = octet(&digits[at..at + 2])?;
    }
    Some(octets)
}

impl TryFrom<String> for MacAddr {
    type Error = MacParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<[u8; 6]>) {
        assert_eq!(text.parse::<MacAddr>().ok().map(MacAddr::octets), expected, "{text:?}");
    }

    #[test]
    fn the_three_notations_in_use_parse_to_the_same_address() {
        let mac = Some([2, 0, 0, 0xab, 0xcd, 1]);
        check("02:00:00:ab:cd:01", mac);
        check("2:0:0:AB:cd:1", mac);
        check("02-00-00-AB-CD-01", mac);
        check("0200.00ab.cd01", mac);
        check("020000abcd01", mac);
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:+1", "g2:00:00:00:00:01"] {
            check(text, None);
        }
        for text in
            ["02-00:00-00:00-01", "02000000000", "0200.00ab", "é2:00:00:00:00:01", "0200.00é.cd01", ":::::"]
        {
            check(text, None);
        }
    }

    #[test]
    fn only_individual_nonzero_addresses_name_a_station() {
        assert!(MacAddr::new([2, 0, 0, 0, 0, 1]).is_station());
        assert!(!MacAddr::new([1, 0, 0x5e, 0, 0, 1]).is_station());
        assert!(!MacAddr::BROADCAST.is_station());
        assert!(!MacAddr::new([0; 6]).is_station());
    }
}
