//! A pcapng file, written as frames come (draft-ietf-opsawg-pcapng): a section, an interface when its first frame
//! comes, frames with their reasons as comments, and at the end what is missing.

use std::collections::BTreeMap;
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFDROP: u16 = 5;
/// 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;

/// More than what stands around a frame in its block, an interface's block, and the statistics with their comment.
const BESIDE: u64 = 1024;

/// Each block is written by one call, so that a file that is cut ends between two.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// So far, and at most.
    bytes: u64,
    bytes_max: Option<u64>,
    snaplen: u32,
    interfaces: BTreeMap<String, u32>,
    last_ns: u64,
}

/// What is written of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub at_ns: u64,
    pub interface: &'a str,
    pub outbound: bool,
    pub comment: &'a str,
    /// On the wire.
    pub len: u32,
    pub bytes: &'a [u8],
}

impl<W: Write> Writer<W> {
    /// Without `bytes_max` it grows as long as frames come.
    pub fn new(out: W, snaplen: u32, bytes_max: Option<u64>) -> io::Result<Self> {
        let mut writer = Self { out, bytes: 0, bytes_max, snaplen, interfaces: BTreeMap::new(), last_ns: 0 };
        let mut body = Vec::new();
        body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // Version 1.0, and a section whose length is not known yet.
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&[0xff; 8]);
        let application = concat!("vtep-agent ", env!("CARGO_PKG_VERSION"));
        options(&mut body, &[(SHB_USER_APPLICATION, application.as_bytes())]);
        writer.block(SECTION, &body)?;
        Ok(writer)
    }

    /// Whether there was room for it.
    pub fn frame(&mut self, frame: &Frame<'_>) -> io::Result<bool> {
        let len = (frame.bytes.len() + frame.comment.len() + frame.interface.len()) as u64;
        if self.bytes_max.is_some_and(|max| self.bytes + len + BESIDE > max) {
            return Ok(false);
        }
        let interface = self.interface(frame.interface)?;
        self.last_ns = frame.at_ns;
        let mut body = Vec::with_capacity(frame.bytes.len() + 128);
        body.extend_from_slice(&interface.to_le_bytes());
        time(&mut body, frame.at_ns);
        body.extend_from_slice(&length(frame.bytes).to_le_bytes());
        body.extend_from_slice(&frame.len.to_le_bytes());
        padded(&mut body, frame.bytes);
        let direction: u32 = if frame.outbound { 2 } else { 1 };
        options(&mut body, &[(COMMENT, frame.comment.as_bytes()), (EPB_FLAGS, &direction.to_le_bytes())]);
        self.block(ENHANCED_PACKET, &body)?;
        Ok(true)
    }

    /// How many frames are missing that matched. Of no interface in particular, so they stand at the first.
    pub fn statistics(&mut self, missing: u64, comment: &str) -> io::Result<()> {
        if self.interfaces.is_empty() {
            return Ok(());
        }
        let mut body = 0_u32.to_le_bytes().to_vec();
        time(&mut body, self.last_ns);
        options(&mut body, &[(COMMENT, comment.as_bytes()), (ISB_IFDROP, &missing.to_le_bytes())]);
        self.block(STATISTICS, &body)
    }

    pub fn into_inner(self) -> W {
        self.out
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(index) = self.interfaces.get(name) {
            return Ok(*index);
        }
        let index = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        let mut body = Vec::new();
        body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&self.snaplen.to_le_bytes());
        options(&mut body, &[(IF_NAME, name.as_bytes()), (IF_TSRESOL, &[NANOSECONDS])]);
        self.block(INTERFACE, &body)?;
        self.interfaces.insert(name.to_owned(), index);
        Ok(index)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = length(body) + 12;
        let mut block = Vec::with_capacity(len as usize);
        block.extend_from_slice(&kind.to_le_bytes());
        block.extend_from_slice(&len.to_le_bytes());
        block.extend_from_slice(body);
        block.extend_from_slice(&len.to_le_bytes());
        self.out.write_all(&block)?;
        self.bytes += u64::from(len);
        self.out.flush()
    }
}

/// In two halves, the upper one first.
fn time(body: &mut Vec<u8>, at_ns: u64) {
    body.extend_from_slice(&at_ns.rotate_left(32).to_le_bytes());
}

fn options(body: &mut Vec<u8>, options: &[(u16, &[u8])]) {
    for (code, value) in options {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        body.extend_from_slice(&code.to_le_bytes());
        body.extend_from_slice(&u16::try_from(value.len()).expect("cut").to_le_bytes());
        padded(body, value);
    }
    body.extend_from_slice(&END_OF_OPTIONS.to_le_bytes());
    body.extend_from_slice(&[0; 2]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("frames are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind and body of each block; both lengths are compared.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        while !file.is_empty() {
            let len = word(&file[4..]) as usize;
            assert_eq!((len % 4, word(&file[len - 4..]) as usize), (0, len));
            blocks.push((word(file), file[8..len - 4].to_vec()));
            file = &file[len..];
        }
        blocks
    }

    #[test]
    fn an_interface_stands_before_its_first_frame_and_only_once() {
        let mut writer = Writer::new(Vec::new(), 2048, None).unwrap();
        writer.statistics(1, "of no interface").unwrap();
        let frame = |interface, bytes| Frame {
            at_ns: 0x0102_0304_0506_0708,
            interface,
            outbound: false,
            comment: "unbound",
            len: 99,
            bytes,
        };
        for interface in ["tap0", "uplink", "tap0"] {
            writer.frame(&frame(interface, &[1, 2, 3])).unwrap();
        }
        writer.statistics(7, "7 left out").unwrap();
        let blocks = blocks(&writer.into_inner());
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [SECTION, INTERFACE, ENHANCED_PACKET, INTERFACE, ENHANCED_PACKET, ENHANCED_PACKET, STATISTICS]
        );
        let second = &blocks[4].1;
        assert_eq!(second[..4], [1, 0, 0, 0]);
        assert_eq!(second[4..12], [4, 3, 2, 1, 8, 7, 6, 5], "upper half of the time first");
        assert_eq!(second[12..24], [3, 0, 0, 0, 99, 0, 0, 0, 1, 2, 3, 0]);
    }
}
