//! Two hosts with agents, by every encapsulation over both families: TCP and segmented UDP, of which no byte is lost or
//! changed, whether super-frames cross the underlay whole or are taken apart before, and in packet-rate mode.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;

use vtep_abi::Verdict;
use vtep_api::Encapsulation;
use vtep_tests::{
    deadline::wait_for,
    frame,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Vm,
        rig::{SOON, VNI, binding, mac, network},
        transfer, udp_segments,
    },
};

const BYTES: usize = 16 << 20;
const BURSTS: usize = 5;

struct Rig {
    hosts: [Host; 2],
    fabric: Fabric,
}

struct Host {
    agent: Agent,
    vm: Vm,
    machine: Machine,
}

/// The family of the underlay.
#[derive(Clone, Copy, Debug)]
enum Underlay {
    V4,
    V6,
}

impl Rig {
    fn new(encapsulation: Encapsulation, underlay: Underlay, packet_rate: bool) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let machines = [1, 2].map(|number| fabric.machine("host", number).unwrap());
        let addresses = [1, 2].map(|number| {
            let machine = &machines[usize::from(number) - 1];
            let v6 = machine.add_ipv6(number).unwrap();
            match underlay {
                Underlay::V4 => IpAddr::from(machine.address),
                Underlay::V6 => v6.into(),
            }
        });
        let vms =
            [1, 2].map(|number| Vm::new(&machines[usize::from(number) - 1].netns, "p1", number).unwrap().0);
        for vm in &vms {
            // Room for any outer headers.
            vm.eth0.set_mtu(1400).unwrap();
            vm.add_ipv6().unwrap();
            if packet_rate {
                vm.eth0.set_offload("tx", false).unwrap();
                vm.eth0.set_offload("gro", true).unwrap();
            }
        }
        if packet_rate {
            fabric.set_offload("gro", true).unwrap();
        }
        let agent = |own: usize| {
            let other = 1 - own;
            let vtep = format!(
                "version = 1\n[[vtep]]\nname = \"other\"\naddress = \"{}\"\nencapsulation = \"{encapsulation}\"\n",
                addresses[other]
            );
            let text = [
                vtep,
                network("blue", VNI, &["other"]),
                binding("p1", 0, "blue"),
                mac("blue", &vms[other], "other"),
            ];
            let port = format!("macs = [\"{}\"]\npacket_rate = {packet_rate}", vms[own].mac);
            let config = AgentConfig {
                name: "host",
                source: AgentSource::Table(text.concat()),
                ports: vec![("p1", &port)],
                dataplane: "macs_max = 1000",
            };
            let mut agent = Agent::new(&machines[own], &config).unwrap();
            let uplinks = if packet_rate { "packet_rate = [\"uplink\"]\n" } else { "" };
            let (v4, ours) = (machines[own].address, addresses[own]);
            let underlay = format!("address = \"{ours}\"\n{uplinks}");
            agent.reconfigure(|text| text.replace(&format!("address = \"{v4}\"\n"), &underlay)).unwrap();
            agent.start().unwrap();
            agent
        };
        let agents = [agent(0), agent(1)];
        let hosts = agents.into_iter().zip(vms).zip(machines);
        let hosts: Vec<_> = hosts.map(|((agent, vm), machine)| Host { agent, vm, machine }).collect();
        let hosts = hosts.try_into().unwrap_or_else(|_| unreachable!("of two there are two"));
        let rig = Self { hosts, fabric };
        let [one, other] = &rig.hosts;
        wait_for("the first echo reply", SOON, || one.vm.pings(other.vm.address, 1).then_some(())).unwrap();
        rig
    }

    fn pass(&self) {
        let [one, other] = &self.hosts;
        for (from, to) in [(&one.vm, &other.vm), (&other.vm, &one.vm)] {
            for address in [to.address.into(), frame::v6(to.address).into()] {
                let took = transfer(&from.netns, &to.netns, address, BYTES);
                println!("to {address}: {took:?}");
                took.unwrap();
            }
            udp_segments(from, to, BURSTS).unwrap();
        }
        assert!(one.vm.pings(other.vm.address, 20) && other.vm.pings(one.vm.address, 20));
    }
}

impl Host {
    fn count(&self, verdict: Verdict) -> u64 {
        let rows = self.agent.json(&["stats"]).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["verdict"] == verdict.name()).filter_map(|row| row["packets"].as_u64()).sum()
    }
}

#[track_caller]
fn check(encapsulation: Encapsulation, underlay: Underlay) {
    println!("{encapsulation} over {underlay:?}");
    let rig = Rig::new(encapsulation, underlay, false);
    rig.pass();
    println!("segmented by the sender");
    for host in &rig.hosts {
        host.machine.uplink.set_offload("tx", false).unwrap();
        host.machine.uplink.set_offload("gso", false).unwrap();
    }
    rig.pass();
    for host in &rig.hosts {
        assert!(host.count(Verdict::Delivered) > 100, "{}", host.agent.json(&["stats"]).unwrap());
        assert_eq!(host.count(Verdict::OuterMalformed) + host.count(Verdict::DecapFailed), 0);
    }
    drop(rig);

    println!("in packet-rate mode");
    let rig = Rig::new(encapsulation, underlay, true);
    wait_for("packet-rate mode", SOON, || {
        let on = |host: &Host| {
            host.agent.json(&["port", "show"]).is_ok_and(|shown| shown[0]["packet_rate"] == "on")
        };
        rig.hosts.iter().all(on).then_some(())
    })
    .unwrap();
    rig.pass();
    for host in &rig.hosts {
        let redirected = host.machine.uplink.redirected_by_xdp().unwrap();
        assert!(redirected > 100, "{redirected} frames in by XDP");
    }
}

#[test]
fn vxlan_over_ipv4() {
    check(Encapsulation::Vxlan, Underlay::V4);
}

#[test]
fn vxlan_over_ipv6() {
    check(Encapsulation::Vxlan, Underlay::V6);
}

#[test]
fn geneve_over_ipv4() {
    check(Encapsulation::Geneve, Underlay::V4);
}

#[test]
fn geneve_over_ipv6() {
    check(Encapsulation::Geneve, Underlay::V6);
}

/// With a UDP checksum, as other VTEPs may send it, nobody can take a tunnel off that has several datagrams inside.
#[test]
fn several_datagrams_in_a_checksummed_geneve_tunnel_are_dropped_with_their_reason() {
    let rig = Rig::new(Encapsulation::Geneve, Underlay::V4, false);
    let [one, other] = &rig.hosts;
    udp_segments(&one.vm, &other.vm, BURSTS).unwrap();
    assert_eq!(other.count(Verdict::InnerSegments), 0);
    let fabric = rig.fabric.last_port();
    for rule in [
        "table netdev fabric",
        "chain netdev fabric sums { type filter hook ingress device port1 priority 0 ; }",
        "rule netdev fabric sums udp dport 6081 udp checksum set 0x1234",
    ] {
        fabric.netns().run(&format!("nft add {rule}")).unwrap();
    }
    udp_segments(&one.vm, &other.vm, 1).unwrap_err();
    assert!(other.count(Verdict::InnerSegments) > 0);
    assert!(
        one.vm.pings(other.vm.address, 20),
        "single packets pass, for a receiver may do without checksums"
    );
    one.vm.eth0.set_offload("tx-udp-segmentation", false).unwrap();
    let before = other.count(Verdict::InnerSegments);
    udp_segments(&one.vm, &other.vm, BURSTS).unwrap();
    assert_eq!(other.count(Verdict::InnerSegments), before);
}

#[test]
fn nvgre_over_ipv4() {
    check(Encapsulation::Nvgre, Underlay::V4);
}

#[test]
fn nvgre_over_ipv6() {
    check(Encapsulation::Nvgre, Underlay::V6);
}
