//! Open vSwitch with its datapath in user space as a far TOR, by every encapsulation.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use vtep_abi::Verdict;
use vtep_api::Encapsulation;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Vm,
        rig::{SOON, VNI, binding, mac, network},
        transfer,
    },
    ovs::Ovs,
    packet::PacketSocket,
};

struct Rig {
    agent: Agent,
    vm: Vm,
    far: Vm,
    _ovs: Ovs,
    _tor: Machine,
    _host: Machine,
    _fabric: Fabric,
}

impl Rig {
    fn new(encapsulation: Encapsulation, decap: &str) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("ovs", 11).unwrap();
        let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        // Open vSwitch reads frames from a socket, where it sees neither that a checksum is to be computed nor that a frame
        // is several: what goes to it is finished by the devices before, its own station's and our uplink.
        for link in [&far.eth0, &host.uplink] {
            link.set_offload("tx", false).unwrap();
            link.set_offload("gso", false).unwrap();
        }
        let ovs = Ovs::start(&tor).unwrap();
        ovs.add_tunnel_of(encapsulation, VNI, tor.address, host.address, &[]).unwrap();
        ovs.add_port(&far_port).unwrap();
        let vtep = format!(
            "version = 1\n[[vtep]]\nname = \"ovs\"\naddress = \"{}\"\nencapsulation = \"{encapsulation}\"\n",
            tor.address
        );
        let text = [vtep, network("blue", VNI, &["ovs"]), binding("p1", 0, "blue"), mac("blue", &far, "ovs")];
        let macs = format!("macs = [\"{}\"]\ndecap = \"{decap}\"", vm.mac);
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(text.concat()),
            ports: vec![("p1", &macs)],
            dataplane: "macs_max = 1000",
        };
        let agent = Agent::started(&host, &config).unwrap();
        let rig = Self { agent, vm, far, _ovs: ovs, _tor: tor, _host: host, _fabric: fabric };
        wait_for("the first echo reply", SOON, || rig.vm.pings(rig.far.address, 1).then_some(())).unwrap();
        rig
    }

    /// TCP both ways, super-frames and unfinished checksums from the VM's side.
    fn transfer(&self, bytes: usize) {
        let Self { vm, far, .. } = self;
        for (from, to) in [(vm, far), (far, vm)] {
            let took = transfer(&from.netns, &to.netns, to.address.into(), bytes).unwrap();
            println!("{bytes} bytes to {} in {took:?}", to.address);
        }
    }

    /// Echoes, ARP both ways, and frames that are no IP.
    fn exchange(&self) {
        let Self { vm, far, .. } = self;
        for one in [vm, far] {
            one.netns.ip("neighbour flush all").unwrap();
        }
        assert!(far.pings(vm.address, 20));
        assert!(vm.pings(far.address, 20));
        for (from, to) in [(vm, far), (far, vm)] {
            let (sender, receiver) = (PacketSocket::bind(&from.eth0), PacketSocket::bind(&to.eth0));
            let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 7 };
            let mut sent = frame::udp(end(from), end(to), b"of no protocol that is known");
            // IEEE 802 local experiments.
            sent[12..14].copy_from_slice(&[0x88, 0xb5]);
            sender.unwrap().send(&sent).unwrap();
            assert!(receiver.unwrap().receive_where(SOON, |frame| frame == sent).unwrap().is_some());
        }
    }

    fn count(&self, verdict: Verdict) -> u64 {
        let rows = self.agent.json(&["stats"]).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["verdict"] == verdict.name()).filter_map(|row| row["packets"].as_u64()).sum()
    }
}

#[test]
fn a_hundred_megabytes_pass_each_way() {
    let rig = Rig::new(Encapsulation::Vxlan, "auto");
    rig.exchange();
    rig.transfer(100 << 20);
    assert_eq!(rig.count(Verdict::UnknownSender) + rig.count(Verdict::OuterMalformed), 0);
}

#[test]
fn the_tunnel_device_takes_what_open_vswitch_sends() {
    let rig = Rig::new(Encapsulation::Vxlan, "device");
    rig.exchange();
    rig.transfer(20 << 20);
    assert!(rig.count(Verdict::Admitted) > 1000);
}

#[test]
fn geneve_passes_each_way() {
    let rig = Rig::new(Encapsulation::Geneve, "auto");
    rig.exchange();
    rig.transfer(20 << 20);
}

#[test]
fn nvgre_passes_each_way() {
    let rig = Rig::new(Encapsulation::Nvgre, "auto");
    rig.exchange();
    rig.transfer(20 << 20);
}
