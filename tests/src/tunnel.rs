//! Frames as far VTEPs of every kind send them, over both families.

use std::{net::IpAddr, ops::Range};

use etherparse::PacketBuilder;
use vtep_api::{Encapsulation, MacAddr};

/// Between whom a frame is carried, and how.
#[derive(Clone, Debug)]
pub struct Carrier {
    pub encapsulation: Encapsulation,
    pub from: (MacAddr, IpAddr),
    pub to: (MacAddr, IpAddr),
    pub vni: u32,
    /// Geneve's options, whole words.
    pub options: Vec<u8>,
}

impl Carrier {
    /// The inner frame in its outer headers: no UDP checksum, reserved bits zero.
    ///
    /// # Panics
    /// Where the ends are of two families.
    pub fn wrap(&self, inner: &[u8]) -> Vec<u8> {
        let (mut frame, checksum) = self.wrap_checksummed(inner);
        if let Some(checksum) = checksum {
            frame[checksum].fill(0);
        }
        frame
    }

    /// The same with a UDP checksum, and where it stands; NVGRE has none.
    ///
    /// # Panics
    /// Where the ends are of two families.
    pub fn wrap_checksummed(&self, inner: &[u8]) -> (Vec<u8>, Option<Range<usize>>) {
        const SOURCE_PORT: u16 = 50000;
        let builder = PacketBuilder::ethernet2(self.from.0.octets(), self.to.0.octets());
        let builder = match (self.from.1, self.to.1) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            ends => panic!("no tunnel runs between {ends:?}"),
        };
        let payload = [&self.header()[..], &self.options, inner].concat();
        let mut frame = Vec::new();
        let port = match self.encapsulation {
            Encapsulation::Vxlan => 4789,
            Encapsulation::Geneve => 6081,
            Encapsulation::Nvgre => {
                builder.write(&mut frame, etherparse::IpNumber::GRE, &payload).expect("a vector takes it");
                return (frame, None);
            }
        };
        builder.udp(SOURCE_PORT, port).write(&mut frame, &payload).expect("a vector takes it");
        let checksum = frame.len() - payload.len() - 2;
        (frame, Some(checksum..checksum + 2))
    }

    fn header(&self) -> [u8; 8] {
        let [_, a, b, c] = self.vni.to_be_bytes();
        match self.encapsulation {
            Encapsulation::Vxlan => [8, 0, 0, 0, a, b, c, 0],
            Encapsulation::Geneve => {
                let words = u8::try_from(self.options.len() / 4).expect("options have at most 63 words");
                [words, 0, 0x65, 0x58, a, b, c, 0]
            }
            Encapsulation::Nvgre => [0x20, 0, 0x65, 0x58, a, b, c, 7],
        }
    }
}
