//! The frame that is asked about.

use std::fmt::Write as _;

use etherparse::{EtherType, PacketBuilder};
use vtep_api::MacAddr;

use super::Question;

/// Ethernet needs as much.
const HEADER_LEN: usize = 14;
/// A test-run's frame lies in one page beside the room around it (`bpf_test_init` in the kernel's
/// `net/bpf/test_run.c`).
const FRAME_LEN_MAX: usize = 3520;
const VLAN_MAX: u16 = 4095;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

/// A frame as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("the frame is given by its bytes; {field} cannot be given beside them")]
    Twice { field: &'static str },
    #[error("neither the frame's bytes nor its destination address are given")]
    Nothing,
    #[error("frame has {found:?} at digit {at}; expected hexadecimal digits, two for a byte")]
    NotHex { at: usize, found: String },
    #[error("frame has {digits} hexadecimal digits; expected two for a byte")]
    HalfByte { digits: usize },
    #[error("frame has {found} bytes; expected {HEADER_LEN} to {FRAME_LEN_MAX}")]
    Length { found: usize },
    #[error(
        "frame has {found} bytes and EtherType {ether_type:#06x}; expected at least {expected}, \
         for the kernel tries no frame without its IP header"
    )]
    NoIpHeader { found: usize, ether_type: u16, expected: usize },
    #[error("{field} {value:?} is no MAC address: {problem}")]
    Address { field: &'static str, value: String, problem: String },
    #[error("VLAN {0}; expected at most {VLAN_MAX}")]
    Vlan(u16),
    #[error("no MAC is known behind {place} to be the source; give one with --src")]
    NoSource { place: String },
}

impl Probe {
    /// `known` is a MAC that lives where the frame comes from, else how that place is called.
    pub fn new(question: &Question, known: Result<MacAddr, String>) -> Result<Self, ProbeError> {
        let Question { frame, dst, src, vlan, ether_type, .. } = question;
        let bytes = match (frame, dst) {
            (Some(_), Some(_)) => return Err(ProbeError::Twice { field: "dst" }),
            (Some(_), None) if src.is_some() => return Err(ProbeError::Twice { field: "src" }),
            (Some(_), None) if vlan.is_some() => return Err(ProbeError::Twice { field: "vlan" }),
            (Some(_), None) if ether_type.is_some() => return Err(ProbeError::Twice { field: "ethertype" }),
            (Some(text), None) => hex(text)?,
            (None, Some(dst)) => {
                let dst = address("dst", dst)?;
                let src = src.as_deref().map(|src| address("src", src)).transpose()?;
                let src = src.map_or_else(|| known.map_err(|place| ProbeError::NoSource { place }), Ok)?;
                tagged(built(dst, src, ether_type.unwrap_or(EtherType::IPV4.0)), *vlan)?
            }
            (None, None) => return Err(ProbeError::Nothing),
        };
        let found = bytes.len();
        if !(HEADER_LEN..=FRAME_LEN_MAX).contains(&found) {
            return Err(ProbeError::Length { found });
        }
        let ether_type = u16::from_be_bytes(array(&bytes, 12));
        let expected = HEADER_LEN + ip_header_len(ether_type);
        if found < expected {
            return Err(ProbeError::NoIpHeader { found, ether_type, expected });
        }
        Ok(Self { bytes })
    }

    pub fn dst(&self) -> MacAddr {
        MacAddr::new(array(&self.bytes, 0))
    }

    /// The VLAN by which a port's binding is looked up; none for a provider tag, which selects no binding.
    pub fn vlan(&self) -> Option<u16> {
        match tag(&self.bytes) {
            None => Some(0),
            Some((ETH_P_8021Q, tci)) => Some(tci & 0x0fff),
            Some(_) => None,
        }
    }
}

/// As `bpf_prog_test_run_skb` wants it in the linear part (the kernel's `net/bpf/test_run.c`).
fn ip_header_len(ether_type: u16) -> usize {
    match EtherType(ether_type) {
        EtherType::IPV4 => 20,
        EtherType::IPV6 => 40,
        _ => 0,
    }
}

/// TPID and TCI of a frame's outermost tag.
pub(crate) fn tag(frame: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = frame.get(12..16)?.try_into().ok()?;
    let tpid = u16::from_be_bytes([a, b]);
    matches!(tpid, ETH_P_8021Q | ETH_P_8021AD).then(|| (tpid, u16::from_be_bytes([c, d])))
}

/// Zeros where the frame ends before.
pub(crate) fn array<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| frame.get(at + i).copied().unwrap_or(0))
}

/// Digits of bytes, as [`hex`] reads them.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from digits; spaces, colons and line ends between them are skipped.
pub fn hex(text: &str) -> Result<Vec<u8>, ProbeError> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for (at, found) in text.chars().enumerate() {
        match found.to_digit(16) {
            Some(digit) => digits.push(u8::try_from(digit).expect("a digit is small")),
            None if found.is_whitespace() || found == ':' => {}
            None => return Err(ProbeError::NotHex { at, found: found.to_string() }),
        }
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    } else {
        Err(ProbeError::HalfByte { digits: digits.len() })
    }
}

fn address(field: &'static str, text: &str) -> Result<MacAddr, ProbeError> {
    text.parse().map_err(|error| ProbeError::Address {
        field,
        value: text.to_owned(),
        problem: format!("{error}"),
    })
}

/// A small UDP packet for the two kinds of IP, else zeros.
fn built(dst: MacAddr, src: MacAddr, ether_type: u16) -> Vec<u8> {
    /// TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849); port 9 is discard.
    const IPV4: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];
    const PORTS: (u16, u16) = (49152, 9);
    const PAYLOAD: [u8; 18] = [0; 18];
    let ipv6 = |last: u8| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let ethernet = PacketBuilder::ethernet2(src.octets(), dst.octets());
    let builder = match EtherType(ether_type) {
        EtherType::IPV4 => ethernet.ipv4(IPV4[0], IPV4[1], 64),
        EtherType::IPV6 => ethernet.ipv6(ipv6(1), ipv6(2), 64),
        _ => {
            let mut frame = [dst.octets(), src.octets()].concat();
            frame.extend_from_slice(&ether_type.to_be_bytes());
            frame.resize(60, 0);
            return frame;
        }
    };
    let builder = builder.udp(PORTS.0, PORTS.1);
    let mut frame = Vec::with_capacity(builder.size(PAYLOAD.len()));
    builder.write(&mut frame, &PAYLOAD).expect("a vector takes any payload that fits a UDP datagram");
    frame
}

fn tagged(mut frame: Vec<u8>, vlan: Option<u16>) -> Result<Vec<u8>, ProbeError> {
    let Some(vlan) = vlan else { return Ok(frame) };
    if vlan > VLAN_MAX {
        return Err(ProbeError::Vlan(vlan));
    }
    let [a, b] = ETH_P_8021Q.to_be_bytes();
    let [c, d] = vlan.to_be_bytes();
    frame.splice(12..12, [a, b, c, d]);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_address() -> Question {
        Question {
            dst: Some("02:00:00:00:00:01".to_owned()),
            src: Some("02:00:00:00:00:aa".to_owned()),
            ..Question::default()
        }
    }

    fn nobody() -> Result<MacAddr, String> {
        Err("p2 VLAN 7".to_owned())
    }

    fn whole(frame: &str) -> Question {
        Question { frame: Some(frame.to_owned()), ..Question::default() }
    }

    #[track_caller]
    fn check_refused(question: &Question, expected: &str) {
        assert_eq!(Probe::new(question, nobody()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn digits_may_stand_in_groups() {
        assert_eq!(hex("0x02:00 ffAB\n").unwrap(), [2, 0, 0xff, 0xab]);
        assert_eq!(hex("020").unwrap_err(), ProbeError::HalfByte { digits: 3 });
        assert_eq!(hex("02xy").unwrap_err(), ProbeError::NotHex { at: 2, found: "x".to_owned() });
    }

    #[test]
    fn a_frame_is_built_from_its_addresses() {
        let probe = Probe::new(&by_address(), nobody()).unwrap();
        assert_eq!((probe.dst().to_string(), probe.vlan()), ("02:00:00:00:00:01".to_owned(), Some(0)));
        assert_eq!(probe.bytes.len(), 60);
        let tagged = Probe::new(&Question { vlan: Some(20), ..by_address() }, nobody()).unwrap();
        assert_eq!((tagged.vlan(), tagged.bytes.len()), (Some(20), 64));
        assert_eq!(tagged.bytes[16..], probe.bytes[12..]);
        let arp = Probe::new(&Question { ether_type: Some(0x0806), ..by_address() }, nobody()).unwrap();
        assert_eq!(arp.bytes[12..14], [8, 6]);
    }

    #[test]
    fn what_makes_no_frame_is_refused_by_name_and_value() {
        check_refused(
            &Question::default(),
            "neither the frame's bytes nor its destination address are given",
        );
        check_refused(&whole("0200"), "frame has 2 bytes; expected 14 to 3520");
        check_refused(&whole(&"00".repeat(4000)), "frame has 4000 bytes; expected 14 to 3520");
        let twice = Question { dst: Some("02:00:00:00:00:01".to_owned()), ..whole("00") };
        check_refused(&twice, "the frame is given by its bytes; dst cannot be given beside them");
        check_refused(&Question { vlan: Some(5000), ..by_address() }, "VLAN 5000; expected at most 4095");
        check_refused(
            &Question { src: None, ..by_address() },
            "no MAC is known behind p2 VLAN 7 to be the source; give one with --src",
        );
        let headless = |ether_type: &str, len: usize| {
            whole(&format!("{}{ether_type}{}", "02".repeat(12), "00".repeat(len - 14)))
        };
        check_refused(
            &headless("0800", 15),
            "frame has 15 bytes and EtherType 0x0800; expected at least 34, \
             for the kernel tries no frame without its IP header",
        );
        assert!(Probe::new(&headless("0800", 34), nobody()).is_ok());
        assert!(Probe::new(&headless("86dd", 53), nobody()).is_err());
        assert!(Probe::new(&headless("88b5", 14), nobody()).is_ok());
        let bad = Question { dst: Some("nonsense".to_owned()), ..by_address() };
        assert!(
            Probe::new(&bad, nobody()).unwrap_err().to_string().starts_with("dst \"nonsense\" is no MAC")
        );
    }
}
