//! What a VM is told of a frame that its path had no room for (RFC 1191 §4, RFC 4443 §3.2).

use super::header::{Ethernet, IPV4, IPV6, TYPE_IPV4, TYPE_IPV6, internet_checksum};

/// None: who sent it may not be answered, or nothing can be said of it.
pub(super) fn too_big(frame: &[u8], room: u16) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame)?;
    let packet = ethernet.payload();
    let ip = match ethernet.kind() {
        TYPE_IPV4 => v4(packet, room)?,
        TYPE_IPV6 => v6(packet, room)?,
        _ => return None,
    };
    let ends = [ethernet.source(), ethernet.destination()].concat();
    Some([ends, ethernet.kind().to_be_bytes().to_vec(), ip].concat())
}

fn v4(packet: &[u8], room: u16) -> Option<Vec<u8>> {
    let header = packet.get(..IPV4)?;
    let header_length = usize::from(header[0] & 15) * 4;
    // RFC 1122 §3.2.2: not of an error, of a later fragment, from or to what is no single host.
    let is_host = |first: u8| ![0, 127].contains(&first) && first < 224;
    let is_error =
        header[9] == 1 && packet.get(header_length).is_none_or(|kind| [3, 4, 5, 11, 12].contains(kind));
    let is_later = header[6] & 0x1f != 0 || header[7] != 0;
    let readable = header[0] >> 4 == 4 && header_length >= IPV4;
    if !readable || is_error || is_later || !is_host(header[12]) || !is_host(header[16]) {
        return None;
    }
    let quoted = quoted(packet, 544)?;
    let length = u16::try_from(IPV4 + 8 + quoted.len()).expect("a quotation is short").to_be_bytes();
    let mut ip = vec![0x45, 0xc0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend(&header[16..20]);
    ip.extend(&header[12..16]);
    let sum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let [a, b] = room.to_be_bytes();
    let mut icmp = [&[3, 4, 0, 0, 0, 0, a, b], quoted].concat();
    let sum = internet_checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Some([ip, icmp].concat())
}

fn v6(packet: &[u8], room: u16) -> Option<Vec<u8>> {
    let header = packet.get(..IPV6)?;
    let (source, destination) = (&header[8..24], &header[24..40]);
    // RFC 4443 §2.4 e.
    let is_error = header[6] == 58 && packet.get(IPV6).is_none_or(|kind| *kind < 128);
    let many = source[0] == 0xff || destination[0] == 0xff;
    if is_error || many || source.iter().all(|byte| *byte == 0) {
        return None;
    }
    let quoted = quoted(packet, 1232)?;
    let length = u16::try_from(8 + quoted.len()).expect("a quotation is short");
    let [a, b] = room.to_be_bytes();
    let mut icmp = [&[2, 0, 0, 0, 0, 0, a, b], quoted].concat();
    let ends = [destination, source].concat();
    let pseudo = [0, length, 0, 58].map(u16::to_be_bytes).concat();
    let sum = internet_checksum(&[ends.as_slice(), &pseudo, &icmp].concat());
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let [c, d] = length.to_be_bytes();
    Some([&[0x60, 0, 0, 0, c, d, 58, 64], ends.as_slice(), &icmp].concat())
}

/// In blocks of sixteen bytes, with an IPv6 header and ports at the least.
fn quoted(packet: &[u8], most: usize) -> Option<&[u8]> {
    let length = packet.len().min(most) / 16 * 16;
    (length >= 48).then(|| &packet[..length])
}
