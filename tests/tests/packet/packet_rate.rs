//! What XDP finishes itself, and what it must leave to TC as it came.

use vtep_abi::{Target, Verdict};
use vtep_agent::{
    dataplane::FdbTarget,
    kernel::{Hook, Program},
};
use vtep_tests::frame;

use crate::{
    TO_MASTER,
    rig::{HOST, PEER, Rig, TOR_A, TOR_LOST, TOR_UNRESOLVED, VM, VM_2, VNI, VNI_STRICT},
    tor,
};

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

#[track_caller]
fn check(rig: &mut Rig, program: Program, frame: &[u8], verdict: Verdict) -> Vec<u8> {
    let ifindex = if program == Program::PortIn { rig.port } else { rig.uplink };
    let seen = rig.run(program, frame, ifindex);
    assert_eq!((seen.verdict, seen.hook), (verdict, Hook::Xdp));
    seen.frame
}

#[track_caller]
fn check_left(rig: &mut Rig, program: Program, frame: &[u8]) {
    let (at_xdp, ifindex) = match program {
        Program::PortIn => (Program::PortXdp, rig.port),
        _ => (Program::UplinkXdp, rig.uplink),
    };
    if let Some(seen) = rig.run_at_xdp(at_xdp, frame, ifindex) {
        panic!("XDP took it: {:?}", seen.verdict);
    }
}

#[test]
fn xdp_finishes_unicast_and_drops_early() {
    Rig::once(true, |rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        let inner = frame::udp(VM, PEER, b"payload");
        let sent = check(rig, Program::PortIn, &inner, Verdict::Master);
        assert_eq!(frame::decap(&sent).unwrap().1, inner);

        let unknown = frame::vxlan(tor(TOR_A), HOST, 4711, &inner);
        check(rig, Program::UplinkIn, &unknown, Verdict::UnknownVni);
        let strange = frame::vxlan(tor(TOR_LOST), HOST, VNI, &inner);
        check(rig, Program::UplinkIn, &strange, Verdict::SenderNotInVni);

        rig.decap_in_program(1);
        let inner = frame::udp(PEER, VM, b"payload");
        let left =
            check(rig, Program::UplinkIn, &frame::vxlan(tor(TOR_A), HOST, VNI, &inner), Verdict::Delivered);
        assert_eq!(left, inner);
        assert_eq!(rig.kernel.vtep_stats(TOR_A).unwrap().received.packets, 1);

        rig.bind(rig.port, 0, VNI_STRICT, 1);
        check(rig, Program::PortIn, &frame::udp(VM, PEER, b""), Verdict::UnknownUnicast);
    });
}

/// As RFC 7348 §5 lets a receiver; through TC the device would verify it.
#[test]
fn a_tunnel_with_a_checksum_is_decapsulated_all_the_same() {
    Rig::once(true, |rig| {
        rig.decap_in_program(1);
        let inner = frame::udp(PEER, VM, b"payload");
        let mut summed = frame::vxlan(tor(TOR_A), HOST, VNI, &inner);
        summed[40..42].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(check(rig, Program::UplinkIn, &summed, Verdict::Delivered), inner);
    });
}

#[test]
fn a_port_gets_a_frame_from_xdp_only_if_it_takes_one() {
    Rig::once(true, |rig| {
        let inner = frame::udp(VM, VM_2, b"payload");
        check_left(rig, Program::PortIn, &inner);
        rig.take_xdp(2);
        let left = check(rig, Program::PortIn, &inner, Verdict::Local);
        assert_eq!(left, inner);
    });
}

#[test]
fn floods_unresolved_next_hops_and_what_is_too_big_are_left_to_tc() {
    Rig::once(true, |rig| {
        check_left(rig, Program::PortIn, &frame::arp_request(VM, PEER.address));
        check_left(rig, Program::PortIn, &frame::udp(VM, PEER, b""));
        let target = FdbTarget { master: Target::Vtep(TOR_UNRESOLVED), ..TO_MASTER };
        rig.put(VNI, PEER.mac, target);
        check_left(rig, Program::PortIn, &frame::udp(VM, PEER, b""));
        rig.put(VNI, PEER.mac, TO_MASTER);
        check_left(rig, Program::PortIn, &frame::udp(VM, PEER, &[0; 1460]));
        assert_eq!(rig.kernel.vtep_stats(TOR_A).unwrap().sent.packets, 0, "nothing was sent");

        let broadcast = frame::vxlan(tor(TOR_A), HOST, VNI, &frame::arp_request(PEER, VM.address));
        check_left(rig, Program::UplinkIn, &broadcast);
        check_left(rig, Program::UplinkIn, &frame::vxlan(tor(TOR_A), HOST, VNI, &frame::udp(PEER, VM, b"")));
        check_left(rig, Program::UplinkIn, &frame::arp_request(tor(TOR_A), HOST.address));
    });
}

#[test]
fn a_frame_without_headroom_is_left_to_tc_as_it_came_and_counted() {
    // Of 256 bytes, where `struct xdp_frame` has its place, too: for a tag there is room behind the first of these, for
    // outer headers behind none.
    const METADATA: [usize; 2] = [180, 216];
    Rig::once(true, |rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        rig.bind(rig.port_2, 100, VNI, 2);
        rig.take_xdp(2);
        for (metadata, has_room_for_tag) in METADATA.into_iter().zip([true, false]) {
            for (to, is_left) in [(PEER, true), (VM_2, !has_room_for_tag)] {
                let before = rig.kernel.port_stats(1).unwrap();
                let inner = frame::udp(VM, to, b"payload");
                let (metadata, port) = (vec![0; metadata], rig.port);
                let run = rig.kernel.test_run_behind(Program::PortXdp, &metadata, &inner, port).unwrap();
                let after = rig.kernel.port_stats(1).unwrap();
                assert_eq!(after.no_headroom - before.no_headroom, u64::from(is_left));
                assert_eq!(after.received.packets - before.received.packets, u64::from(!is_left));
                assert_eq!(run.action, if is_left { XDP_PASS } else { XDP_REDIRECT });
                assert_eq!(run.frame == inner, is_left);
            }
        }
        assert_eq!(rig.kernel.vtep_stats(TOR_A).unwrap().sent.packets, 0);
    });
}

/// As a VM hands it over that leaves checksums to its device: the field holds the pseudo-header's sum.
fn unfinished(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let udp_len = frame.len() - 34;
    let words = frame[26..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum::<u32>() + 17 + u32::try_from(udp_len).unwrap();
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[40..42].copy_from_slice(&u16::try_from(sum).unwrap().to_be_bytes());
    frame
}

#[test]
fn a_frame_that_waits_for_its_checksum_is_left_to_tc_which_knows_how_to_make_it() {
    Rig::once(true, |rig| {
        rig.put(VNI, PEER.mac, TO_MASTER);
        rig.decap_in_program(1);
        let out = frame::udp(VM, PEER, b"payload");
        check(rig, Program::PortIn, &out, Verdict::Master);
        check_left(rig, Program::PortIn, &unfinished(&out));
        let arrives = frame::udp(PEER, VM, b"payload");
        check_left(rig, Program::UplinkIn, &frame::vxlan(tor(TOR_A), HOST, VNI, &unfinished(&arrives)));
        // A tunnel of the VM's own may carry one.
        let tunnelled = frame::udp(VM, frame::Endpoint { port: 4789, ..PEER }, b"payload");
        check_left(rig, Program::PortIn, &tunnelled);
        // So may a protocol that is not known, and options may stand before one that is.
        let mut other = out.clone();
        other[23] = 47;
        check_left(rig, Program::PortIn, &other);
        let mut options = out;
        options[14] = 0x46;
        check_left(rig, Program::PortIn, &options);
    });
}

#[test]
fn a_tag_that_selects_a_binding_is_gone_in_vxlan_and_stays_for_tc() {
    Rig::once(true, |rig| {
        rig.bind(rig.port, 100, VNI, 3);
        rig.put(VNI, PEER.mac, TO_MASTER);
        let tagged = frame::udp_tagged(VM, PEER, 100, b"payload");
        let sent = check(rig, Program::PortIn, &tagged, Verdict::Master);
        assert_eq!(frame::decap(&sent).unwrap().1, frame::udp(VM, PEER, b"payload"));
        assert_eq!(usize::from(u16::from_be_bytes([sent[16], sent[17]])), sent.len() - 14);

        // Left to TC, it has its tag: `check_left` compares.
        let mut flooded = tagged.clone();
        flooded[5] = 0x77;
        check_left(rig, Program::PortIn, &flooded);
        check(rig, Program::PortIn, &frame::udp_tagged(VM, PEER, 101, b""), Verdict::Unbound);

        // Between ports the tag is taken off, put on, or changed.
        rig.take_xdp(2);
        let to_port_2 = frame::udp_tagged(VM, VM_2, 100, b"payload");
        let left = check(rig, Program::PortIn, &to_port_2, Verdict::Local);
        assert_eq!(left, frame::udp(VM, VM_2, b"payload"));
        rig.bind(rig.port, 200, VNI, 2);
        rig.take_xdp(2);
        let left = check(rig, Program::PortIn, &to_port_2, Verdict::Local);
        assert_eq!(left, frame::udp_tagged(VM, VM_2, 200, b"payload"));
        let left = check(rig, Program::PortIn, &frame::udp(VM, VM_2, b"payload"), Verdict::Local);
        assert_eq!(left, frame::udp_tagged(VM, VM_2, 200, b"payload"));

        let twice = [&tagged[..16], &[0x81, 0, 0, 5], &tagged[16..]].concat();
        check(rig, Program::PortIn, &twice, Verdict::ExtraTag);
    });
}
