//! Netlink attributes: length and type of 16 bits each, then a value that is padded to four bytes (netlink(7)).

const HEADER_LEN: usize = 4;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = (1 << 14) - 1;

#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// Type and value of each, up to the first that is cut short.
    pub(super) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
            let kind = u16::from_ne_bytes(rest.get(2..HEADER_LEN)?.try_into().ok()?);
            let value = rest.get(HEADER_LEN..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind & NLA_TYPE_MASK, value))
        })
    }

    pub(super) fn find(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

pub(super) const fn nested(kind: u16) -> u16 {
    kind | NLA_F_NESTED
}

/// Values are short; one of 64 KiB would be cut by its length's width.
pub(super) fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER_LEN + value.len()).expect("values are short");
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_whatever_its_length() {
        let mut bytes = Vec::new();
        for (kind, value) in [(1, &b"a"[..]), (2, b""), (3, b"abcd"), (nested(4), b"abcde")] {
            put(&mut bytes, kind, value);
        }
        let read = Attributes(&bytes);
        assert_eq!(read.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(read.find(4), Some(&b"abcde"[..]));
        assert_eq!(read.find(5), None);
    }

    #[test]
    fn an_answer_cut_anywhere_ends_and_does_not_panic() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"first");
        put(&mut bytes, 2, b"second");
        for cut in 0..bytes.len() {
            assert!(Attributes(&bytes[..cut]).iter().count() <= 2);
        }
        // A length below that of its own header.
        assert_eq!(Attributes(&[2, 0, 1, 0, 9, 9]).iter().count(), 0);
    }
}
