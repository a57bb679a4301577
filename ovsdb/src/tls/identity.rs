//! The names that a certificate gives its holder (RFC 5280): those common names of its subject and those alternative
//! names that are text or addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const EXPLICIT_VERSION: u8 = 0xa0;
const EXPLICIT_EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What cannot be read gives no names: a pinned peer is then refused.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    collect(certificate, &mut names);
    names
}

fn collect(certificate: &[u8], names: &mut Vec<String>) -> Option<()> {
    let mut signed = Der(Der(certificate).expect(SEQUENCE)?);
    let mut body = Der(signed.expect(SEQUENCE)?);
    // Version (absent in version 1), serial number, algorithm, issuer, validity.
    if body.0.first() == Some(&EXPLICIT_VERSION) {
        body.next()?;
    }
    for _ in 0..4 {
        body.next()?;
    }
    let mut subject = Der(body.expect(SEQUENCE)?);
    while let Some(relative) = subject.expect(SET) {
        let mut relative = Der(relative);
        while let Some(attribute) = relative.expect(SEQUENCE) {
            let mut attribute = Der(attribute);
            if attribute.expect(OID)? == COMMON_NAME {
                let (_, value) = attribute.next()?;
                names.extend(str::from_utf8(value).ok().map(str::to_owned));
            }
        }
    }
    while let Some((tag, value)) = body.next() {
        if tag == EXPLICIT_EXTENSIONS {
            let mut extensions = Der(Der(value).expect(SEQUENCE)?);
            while let Some(extension) = extensions.expect(SEQUENCE) {
                let mut extension = Der(extension);
                if extension.expect(OID)? == SUBJECT_ALT_NAME {
                    alternative_names(extension, names)?;
                }
            }
        }
    }
    Some(())
}

fn alternative_names(mut extension: Der<'_>, names: &mut Vec<String>) -> Option<()> {
    let value = loop {
        // A boolean, "critical", may come first.
        let (tag, value) = extension.next()?;
        if tag == OCTET_STRING {
            break value;
        }
    };
    let mut alternatives = Der(Der(value).expect(SEQUENCE)?);
    while let Some((tag, value)) = alternatives.next() {
        match tag {
            EMAIL | DNS | URI => names.extend(str::from_utf8(value).ok().map(str::to_owned)),
            IP => {
                let v4 = <[u8; 4]>::try_from(value).ok().map(|octets| Ipv4Addr::from(octets).to_string());
                let v6 = <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).to_string());
                names.extend(v4.or(v6));
            }
            _ => {}
        }
    }
    Some(())
}

/// What is left of a run of DER values (X.690 §8.1).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let len = if first < 0x80 {
            usize::from(first)
        } else {
            let octets = rest.get(..usize::from(first & 0x7f)).filter(|octets| octets.len() <= 4)?;
            rest = &rest[octets.len()..];
            octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet))
        };
        let content = rest.get(..len)?;
        self.0 = &rest[len..];
        Some((tag, content))
    }

    /// The next value's content, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        match self.next()? {
            (found, content) if found == tag => Some(content),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, contents: &[Vec<u8>]) -> Vec<u8> {
        let content = contents.concat();
        let len = u8::try_from(content.len()).unwrap();
        let mut value = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
        value.extend(content);
        value
    }

    fn certificate() -> Vec<u8> {
        let oid = |octets: &[u8]| der(OID, &[octets.to_vec()]);
        let name = der(SEQUENCE, &[oid(COMMON_NAME), der(0x0c, &[b"tor1 id:7".to_vec()])]);
        let alternatives = der(SEQUENCE, &[der(DNS, &[b"tor1".to_vec()]), der(IP, &[vec![192, 0, 2, 1]])]);
        let extension = der(SEQUENCE, &[oid(SUBJECT_ALT_NAME), der(OCTET_STRING, &[alternatives])]);
        let body = der(
            SEQUENCE,
            &[
                der(EXPLICIT_VERSION, &[der(2, &[vec![2]])]),
                der(2, &[vec![1]]),
                der(SEQUENCE, &[]),
                der(SEQUENCE, &[]),
                der(SEQUENCE, &[]),
                der(SEQUENCE, &[der(SET, &[name])]),
                der(SEQUENCE, &[]),
                der(EXPLICIT_EXTENSIONS, &[der(SEQUENCE, &[extension])]),
            ],
        );
        der(SEQUENCE, &[body, der(SEQUENCE, &[])])
    }

    #[test]
    fn common_name_and_alternative_names_are_found() {
        assert_eq!(names(&certificate()), ["tor1 id:7", "tor1", "192.0.2.1"]);
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_gives_no_panic(at in 0_usize..100, byte: u8, len in 0_usize..120) {
            let mut certificate = certificate();
            if let Some(octet) = certificate.get_mut(at) {
                *octet = byte;
            }
            certificate.truncate(len);
            names(&certificate);
        }
    }
}
