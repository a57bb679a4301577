/// The checksum of POSIX `cksum(1)`: a CRC of the octets and of their number.
pub(super) fn cksum(octets: &[u8]) -> u32 {
    let mut length = octets.len();
    let length = std::iter::from_fn(|| {
        let octet = u8::try_from(length & 0xff).expect("masked");
        (length != 0).then(|| length >>= 8).map(|()| octet)
    });
    !octets.iter().copied().chain(length).fold(0, |crc, octet| {
        (0..8).fold(crc ^ u32::from(octet) << 24, |crc: u32, _| {
            let shifted = crc << 1;
            if crc >> 31 == 1 { shifted ^ 0x04c1_1db7 } else { shifted }
        })
    })
}
