//! A tap as a hypervisor has it, with a virtio header before each frame (`IFF_VNET_HDR`): super-frames go in and come out
//! whole, and what is cut from them on the way is right, tags or not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, time::Duration};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    frame,
    lab::rig::{Rig, SOON, VNI, binding, mac, network, table},
    link::Link,
    netns::Netns,
    packet::PacketSocket,
};

const QUIET: Duration = Duration::from_millis(300);
const Q: u16 = 0x8100;
const AD: u16 = 0x88a8;
/// `struct virtio_net_hdr`.
const VIRTIO: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const IPV4_AND_TCP: usize = 40;
const MSS: usize = 1000;
const VM_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
const SEQUENCE: u32 = 7_000_000;

type Tags<'a> = &'a [(u16, u16)];

/// Policy, binding, tags as the VM sends them and as they are inside the tunnel.
type Way = (&'static str, u16, Tags<'static>, Tags<'static>);

const WAYS: [Way; 7] = [
    ("", 0, &[], &[]),
    ("", 100, &[(Q, 100)], &[]),
    ("unbound_tag = \"pop\"", 0, &[(Q, 42)], &[]),
    ("unbound_tag = \"keep\"", 0, &[(Q, 42)], &[(Q, 42)]),
    ("unbound_tag = \"keep\"", 0, &[(AD, 42)], &[(AD, 42)]),
    ("keep_tag = true", 100, &[(Q, 100)], &[(Q, 100)]),
    ("inner_tag = \"keep\"", 100, &[(Q, 100), (Q, 43)], &[(Q, 43)]),
];

#[test]
fn a_super_frame_in_a_vlan_leaves_a_tap_as_right_segments_without_an_outer_tag() {
    for way in WAYS {
        check_segments(way, 8 * MSS + 17);
    }
}

/// With headers around it, it is longer than 16 bits can say.
#[test]
fn the_largest_super_frame_that_there_is_leaves_as_right_segments() {
    for way in [WAYS[0], WAYS[3]] {
        check_segments(way, usize::from(u16::MAX) - IPV4_AND_TCP);
    }
}

#[track_caller]
fn check_segments((policy, vlan, tags, inside): Way, length: usize) {
    let said = format!("{policy} {tags:x?}");
    let rig = Rig::new().unwrap();
    let tap = Tap::new(&rig.host.netns, "p2");
    let rig = bound(rig, policy, vlan);
    // What a NIC without offloads would put on the wire.
    for feature in ["tso", "gso", "tx"] {
        rig.host.uplink.set_offload(feature, false).unwrap();
    }
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    let payload = payload(length);
    tap.send(&tcp(VM_MAC, rig.far.mac, &payload), tags);
    let left = underlay.receive_all(QUIET, |frame| frame.len() > 100).unwrap();
    let mut pieces = BTreeMap::new();
    for wire in left {
        assert_eq!(wire[12..14], [8, 0], "{said}: what is outside is IPv4, without a tag");
        let (outer, inner) = frame::decap(&wire).unwrap();
        assert_eq!(outer.vni, VNI, "{said}");
        let (found, bare) = untagged(&inner);
        assert_eq!(found, inside, "{said}");
        let (sequence, piece) = checked(&bare);
        assert!(piece.len() <= MSS, "{said}: {} bytes in a segment", piece.len());
        pieces.insert(sequence - SEQUENCE, piece);
    }
    assert_eq!(pieces.len(), length.div_ceil(MSS), "{said}: {:?}", pieces.keys());
    assert_eq!(pieces.into_values().collect::<Vec<_>>().concat(), payload, "{said}");
}

#[test]
fn a_super_frame_from_the_underlay_comes_out_of_a_tap_whole() {
    for (policy, vlan, tags, inside) in WAYS {
        if policy == "unbound_tag = \"pop\"" {
            // The tag does not come back.
            continue;
        }
        let said = format!("{policy} {tags:x?}");
        let rig = Rig::new().unwrap();
        let tap = Tap::new(&rig.host.netns, "p2");
        let far = Tap::new(&rig.tor.netns, "p4");
        Link::named(&rig.tor.netns, "p4").set_bridge(&rig.far_bridge).unwrap();
        let rig = bound(rig, policy, vlan);
        let payload = payload(8 * MSS + 17);
        let sent = tcp(rig.far.mac, VM_MAC, &payload);
        far.send(&sent, inside);
        let (header, came) = wait_for("the super-frame", SOON, || {
            let (header, came) = tap.receive()?;
            came.windows(4).any(|four| four == SEQUENCE.to_be_bytes()).then_some((header, came))
        })
        .unwrap();
        let (found, bare) = untagged(&came);
        assert_eq!(found, tags, "{said}");
        assert_eq!(bare, sent, "{said}: it is one frame, and its checksum is for the VM to complete");
        assert_eq!(header[..2], [NEEDS_CSUM, GSO_TCPV4], "{said}: of TCP, not of a tunnel");
        assert_eq!(usize::from(u16::from_le_bytes([header[4], header[5]])), MSS, "{said}");
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

/// `p2` bound for that VLAN, with a policy; the VM's MAC is known to be there.
fn bound(mut rig: Rig, policy: &str, vlan: u16) -> Rig {
    let lines = format!("name = \"p2\"\n{policy}\nmacs = [\"{VM_MAC}\"]");
    rig.agent.reconfigure(|text| text.replacen("name = \"p2\"", &lines, 1)).unwrap();
    let text = [network("blue", VNI, &["tor"]), binding("p2", vlan, "blue"), mac("blue", &rig.far, "tor")];
    rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
    rig.agent.daemon().unwrap().kill().unwrap();
    rig.agent.start().unwrap();
    wait_for("the binding", SOON, || {
        let rows = rig.agent.json(&["port", "show", "p2"]).ok()?;
        let bound = |row: &serde_json::Value| row["vlan"] == vlan && row["attached"] == true;
        rows.as_array()?.iter().any(bound).then_some(())
    })
    .unwrap();
    wait_for("a resolved VTEP", SOON, || (rig.vtep("tor")?["resolved"] == true).then_some(())).unwrap();
    rig
}

struct Tap(SyncDevice);

impl Tap {
    fn new(netns: &Netns, name: &str) -> Self {
        let build = || DeviceBuilder::new().name(name).layer(Layer::L2).offload(true).build_sync();
        let device = netns.within(build).unwrap().unwrap();
        device.set_nonblocking(true).unwrap();
        Link::named(netns, name).up().unwrap();
        Self(device)
    }

    /// To be cut into segments by whoever sends it on, and its checksum to be completed then.
    fn send(&self, bare: &[u8], tags: Tags<'_>) {
        let frame = tagged(bare, tags);
        let transport = u16::try_from(frame.len() - bare.len() + 34).unwrap();
        let [mss, start, offset, head] =
            [u16::try_from(MSS).unwrap(), transport, 16, transport + 20].map(u16::to_le_bytes);
        let header = [&[NEEDS_CSUM, GSO_TCPV4][..], &head, &mss, &start, &offset].concat();
        self.0.send(&[header, frame].concat()).unwrap();
    }

    /// What has come, and its virtio header.
    fn receive(&self) -> Option<([u8; VIRTIO], Vec<u8>)> {
        let mut bytes = vec![0; 1 << 16];
        let length = self.0.recv(&mut bytes).ok()?;
        let (header, frame) = bytes[..length].split_first_chunk()?;
        Some((*header, frame.to_vec()))
    }
}

/// A super-frame: the sum of the pseudo header stands for the checksum.
fn tcp(from: MacAddr, to: MacAddr, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = ([10, 1, 0, 2], [10, 1, 0, 3]);
    let builder = PacketBuilder::ethernet2(from.octets(), to.octets())
        .ipv4(source, destination, 64)
        .tcp(7001, 7002, SEQUENCE, 1000)
        .ack(1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    let length = u16::try_from(20 + payload.len()).unwrap();
    let words = [source, destination].concat();
    let words = words.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>() + 6 + u32::from(length);
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[50..52].copy_from_slice(&folded.to_be_bytes());
    frame
}

/// Sequence number and payload of a segment whose lengths and checksums are right.
fn checked(frame: &[u8]) -> (u32, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else {
        panic!("no TCP in {frame:x?}");
    };
    let header = ip.header();
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    assert_eq!(usize::from(header.total_len()), IPV4_AND_TCP + tcp.payload().len());
    let sum = tcp.to_header().calc_checksum_ipv4_raw(header.source(), header.destination(), tcp.payload());
    assert_eq!(tcp.checksum(), sum.unwrap());
    (tcp.sequence_number(), tcp.payload().to_vec())
}

fn tagged(bare: &[u8], tags: Tags<'_>) -> Vec<u8> {
    let mut frame = bare[..12].to_vec();
    for (tpid, vlan) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(&bare[12..]);
    frame
}

fn untagged(frame: &[u8]) -> (Vec<(u16, u16)>, Vec<u8>) {
    let mut tags = Vec::new();
    let mut at = 12;
    while let [0x81, 0, a, b] | [0x88, 0xa8, a, b] = frame[at..at + 4] {
        tags.push((u16::from_be_bytes([frame[at], frame[at + 1]]), u16::from_be_bytes([a, b])));
        at += 4;
    }
    (tags, [&frame[..12], &frame[at..]].concat())
}
