//! What becomes of VLAN tags at a port: dropped, taken off, or carried inside the tunnel; on an outer frame, never.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(200);
const MARK: &[u8] = b"with tags";
const Q: u16 = 0x8100;
const AD: u16 = 0x88a8;

/// TPID and VID, from the outermost on.
type Tags<'a> = &'a [(u16, u16)];

#[derive(Clone, Copy, Debug)]
enum End<'a> {
    /// Into the tunnel, with these tags inside.
    Inside(Tags<'a>),
    Dropped(Verdict),
}

type Case<'a> = (Tags<'a>, End<'a>);

use End::{Dropped, Inside};

/// What becomes of tags without a binding of their own, by policy.
const UNBOUND: [(&str, &[Case<'static>]); 3] = [
    (
        "unbound_tag = \"drop\"",
        &[
            (&[], Inside(&[])),
            (&[(Q, 0)], Inside(&[])),
            (&[(Q, 42)], Dropped(Verdict::Unbound)),
            (&[(AD, 42)], Dropped(Verdict::Unbound)),
            (&[(Q, 42), (Q, 43)], Dropped(Verdict::Unbound)),
            (&[(AD, 42), (Q, 43)], Dropped(Verdict::Unbound)),
            (&[(Q, 0), (Q, 43)], Dropped(Verdict::ExtraTag)),
        ],
    ),
    (
        "unbound_tag = \"pop\"",
        &[
            (&[(Q, 0)], Inside(&[])),
            (&[(Q, 42)], Inside(&[])),
            (&[(AD, 42)], Inside(&[])),
            (&[(Q, 42), (Q, 43)], Dropped(Verdict::ExtraTag)),
            (&[(AD, 42), (Q, 43)], Dropped(Verdict::ExtraTag)),
        ],
    ),
    (
        "unbound_tag = \"keep\"",
        &[
            (&[], Inside(&[])),
            (&[(Q, 0)], Inside(&[])),
            (&[(Q, 42)], Inside(&[(Q, 42)])),
            (&[(AD, 42)], Inside(&[(AD, 42)])),
            (&[(Q, 42), (Q, 43)], Dropped(Verdict::ExtraTag)),
            (&[(AD, 42), (Q, 43)], Dropped(Verdict::ExtraTag)),
            (&[(Q, 0), (Q, 43)], Dropped(Verdict::ExtraTag)),
        ],
    ),
];

#[test]
fn no_tag_of_a_vm_is_on_an_outer_frame_whatever_the_port_does_with_it() {
    for (policy, cases) in UNBOUND {
        check(policy, 0, cases);
    }
}

/// XDP has tags in the bytes, and what it redirects no program of the kernel's looks at again.
#[test]
fn no_tag_of_a_vm_is_on_an_outer_frame_in_packet_rate_mode_either() {
    for (policy, cases) in UNBOUND {
        let rig = Rig::new().unwrap();
        for vm in [&rig.vm, &rig.far] {
            vm.eth0.set_offload("tx", false).unwrap();
            vm.eth0.set_offload("gro", true).unwrap();
        }
        rig.fabric.set_offload("gro", true).unwrap();
        rig.agent
            .reconfigure(|text| {
                text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\"]\npacket_rate = [\"uplink\"]")
            })
            .unwrap();
        let rig = bound(rig, &format!("{policy}\npacket_rate = true"), 0);
        wait_for("packet-rate mode", SOON, || {
            (rig.agent.json(&["port", "show", "p1"]).ok()?[0]["packet_rate"] == "on").then_some(())
        })
        .unwrap();
        let beyond = PacketSocket::leaving(&rig.fabric.last_port()).unwrap();
        check_cases(&rig, &beyond, policy, cases);
    }
}

#[test]
fn a_bound_tag_stays_inside_or_carries_another_where_the_port_says_so() {
    let keep: &[Case<'_>] = &[
        (&[(Q, 100)], Inside(&[(Q, 100)])),
        (&[(Q, 100), (Q, 43)], Dropped(Verdict::ExtraTag)),
        (&[], Dropped(Verdict::Unbound)),
        (&[(Q, 101)], Dropped(Verdict::Unbound)),
    ];
    let inner: &[Case<'_>] = &[
        (&[(Q, 100)], Inside(&[])),
        (&[(Q, 100), (Q, 43)], Inside(&[(Q, 43)])),
        (&[(Q, 100), (AD, 43)], Inside(&[(AD, 43)])),
        (&[(Q, 100), (Q, 43), (Q, 44)], Dropped(Verdict::ExtraTag)),
        (&[(AD, 100), (Q, 43)], Dropped(Verdict::Unbound)),
    ];
    check("keep_tag = true", 100, keep);
    check("inner_tag = \"keep\"", 100, inner);
}

/// One unicast and one broadcast frame for each case.
#[track_caller]
fn check(policy: &str, bound: u16, cases: &[Case<'_>]) {
    let rig = rig(policy, bound);
    check_cases(&rig, &PacketSocket::leaving(&rig.host.uplink).unwrap(), policy, cases);
}

#[track_caller]
fn check_cases(rig: &Rig, underlay: &PacketSocket, policy: &str, cases: &[Case<'_>]) {
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    for (tags, expected) in cases {
        for to in [rig.far.mac.octets(), [0xff; 6]] {
            let dropped = match expected {
                Dropped(verdict) => Some((*verdict, rig.count(*verdict))),
                Inside(_) => None,
            };
            let mut bare = frame::udp(endpoint(&rig.vm), endpoint(&rig.far), MARK);
            bare[..6].copy_from_slice(&to);
            vm.send(&tagged(&bare, tags)).unwrap();
            let left = underlay.receive_all(QUIET, |frame| frame.ends_with(MARK)).unwrap();
            let said = format!("{policy}: {tags:x?} to {to:x?}");
            match (expected, dropped) {
                (Inside(inside), _) => {
                    assert_eq!(left.len(), 1, "{said}");
                    assert_eq!(left[0][12..14], [8, 0], "{said}: what is outside is IPv4, without a tag");
                    let (outer, inner) = frame::decap(&left[0]).unwrap();
                    assert_eq!(outer.vni, VNI, "{said}");
                    assert_eq!(inner, tagged(&bare, inside), "{said}");
                }
                (Dropped(_), Some((verdict, before))) => {
                    assert_eq!(left.len(), 0, "{said}");
                    wait_for("the counter", SOON, || (rig.count(verdict) == before + 1).then_some(()))
                        .unwrap();
                }
                (Dropped(_), None) => unreachable!(),
            }
        }
    }
}

/// What is too big for the path, from a VM in a VLAN: the answer is in that VLAN, or its stack would not see it.
#[test]
fn a_vm_in_a_vlan_is_told_of_the_mtu_in_that_vlan() {
    for (policy, bound, vlan, mtu) in [
        ("", 100, 100, 1450_u16),
        ("keep_tag = true", 100, 100, 1446),
        ("unbound_tag = \"keep\"", 0, 42, 1446),
    ] {
        let rig = rig(policy, bound);
        let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
        rig.vm.eth0.set_mtu(1504).unwrap();
        let port = PacketSocket::leaving(&rig.port).unwrap();
        let (from, to) = (endpoint(&rig.vm), endpoint(&rig.far));
        let payload = [7; 1440];
        // Where the MTU stands in the answer behind a tag: ICMP (RFC 1191 §4), ICMPv6 (RFC 4443 §3.2).
        for (bare, kind, at) in [
            (frame::udp(from, to, &payload), [8, 0], 44),
            (frame::udp_v6(from, to, &payload), [0x86, 0xdd], 64),
        ] {
            let told = rig.count(Verdict::TooBigTold);
            vm.send(&tagged(&bare, &[(Q, vlan)])).unwrap();
            let answer = |frame: &[u8]| {
                frame[..6] == from.mac.octets() && frame[12..16] == tagged(&bare, &[(Q, vlan)])[12..16]
            };
            let answer = port.receive_where(SOON, answer).unwrap();
            let answer = answer.unwrap_or_else(|| panic!("{policy}: no answer in VLAN {vlan}"));
            assert_eq!(answer[16..18], kind, "{policy}");
            assert_eq!(answer[at..at + 2], mtu.to_be_bytes(), "{policy}");
            assert_eq!(rig.count(Verdict::TooBigTold), told + 1, "{policy}");
        }
    }
}

#[test]
fn a_kept_tag_opens_no_other_network_of_a_port() {
    for decap in ["device", "program"] {
        check_delivery(Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap());
    }
}

#[track_caller]
fn check_delivery(rig: Rig) {
    let text = [
        network("blue", VNI, &["tor"]),
        network("red", 5002, &["tor"]),
        binding("p1", 0, "blue"),
        binding("p1", 100, "red"),
        mac("blue", &rig.far, "tor"),
    ];
    let rig = with_policy(rig, "unbound_tag = \"keep\"", &table(&[("tor", 11)], &text.concat()), 100);
    let port = PacketSocket::leaving(&rig.port).unwrap();
    let far = PacketSocket::bind(&rig.far.eth0).unwrap();
    for to in [rig.vm.mac.octets(), [0xff; 6]] {
        let mut bare = frame::udp(endpoint(&rig.far), endpoint(&rig.vm), MARK);
        bare[..6].copy_from_slice(&to);
        let before = rig.count(Verdict::ExtraTag);
        far.send(&tagged(&bare, &[(Q, 100)])).unwrap();
        wait_for("the counter", SOON, || (rig.count(Verdict::ExtraTag) == before + 1).then_some(())).unwrap();
        far.send(&tagged(&bare, &[(Q, 42)])).unwrap();
        let arrived = port.receive_all(QUIET, |frame| frame.ends_with(MARK)).unwrap();
        assert_eq!(arrived, [tagged(&bare, &[(Q, 42)])], "the VLAN that has a binding is another network");
    }

    let long = frame::udp(endpoint(&rig.far), endpoint(&rig.vm), &[7; 400]);
    rig.port.set_mtu(300).unwrap();
    wait_for("the port's MTU", SOON, || {
        far.send(&long).ok()?;
        (rig.count(Verdict::PortMtu) > 0).then_some(())
    })
    .unwrap();
    for to in [rig.vm.mac.octets(), [0xff; 6]] {
        let mut long = long.clone();
        long[..6].copy_from_slice(&to);
        let before = rig.count(Verdict::ExtraTag);
        far.send(&tagged(&long, &[(Q, 100)])).unwrap();
        wait_for("the counter of a frame that is too long, too", SOON, || {
            (rig.count(Verdict::ExtraTag) == before + 1).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn a_trace_leads_from_a_tag_without_a_binding_to_the_one_that_takes_it() {
    let rig = rig("unbound_tag = \"keep\"", 0);
    let (src, dst) = (rig.vm.mac.to_string(), rig.far.mac.to_string());
    let words = ["trace", "--port", "p1", "--src", &src, "--dst", &dst, "--vlan", "42"];
    let traced = rig.agent.json(&words).unwrap();
    let row = traced.get(0).unwrap_or(&traced);
    assert_eq!((row["verdict"].as_str(), row["disagreement"].as_str()), (Some("device"), None), "{row}");
    assert_eq!(row["steps"][0]["vlan"], 0, "{row}");
}

/// `p1` bound for that VLAN, with a policy.
fn rig(policy: &str, bound: u16) -> Rig {
    self::bound(Rig::new().unwrap(), policy, bound)
}

fn bound(rig: Rig, policy: &str, bound: u16) -> Rig {
    let text =
        [network("blue", VNI, &["tor"]), binding("p1", bound, "blue"), mac("blue", &rig.far, "tor")].concat();
    with_policy(rig, policy, &table(&[("tor", 11)], &text), bound)
}

/// The agent starts anew with it, so what it shows is installed.
fn with_policy(mut rig: Rig, policy: &str, table: &str, bound: u16) -> Rig {
    rig.agent
        .reconfigure(|text| text.replacen("name = \"p1\"", &format!("name = \"p1\"\n{policy}"), 1))
        .unwrap();
    rig.agent.write_table(table).unwrap();
    rig.agent.daemon().unwrap().kill().unwrap();
    rig.agent.start().unwrap();
    wait_for("the binding", SOON, || {
        let rows = rig.agent.json(&["port", "show", "p1"]).ok()?;
        let bound =
            |row: &serde_json::Value| row["vlan"] == bound && row["attached"] == true && row["vni"].is_u64();
        rows.as_array()?.iter().any(bound).then_some(())
    })
    .unwrap();
    if bound == 0 {
        rig.wait_until_forwarding().unwrap();
    }
    wait_for("a resolved VTEP", SOON, || (rig.vtep("tor")?["resolved"] == true).then_some(())).unwrap();
    rig
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

fn endpoint(vm: &Vm) -> Endpoint {
    Endpoint { mac: vm.mac, address: vm.address, port: 7001 }
}
