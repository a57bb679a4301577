//! Two hosts with agents, and a controller: who asks for the address of the other host's VM is answered by its own host.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Controller, ControllerConfig, ControllerRole, Fabric, Machine, Vm,
        rig::{SOON, VNI},
    },
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);

struct Rig {
    agents: [Agent; 2],
    vms: [Vm; 2],
    machines: [Machine; 2],
    _controller: Controller,
    _control: Machine,
    _fabric: Fabric,
}

impl Rig {
    fn new() -> Self {
        let mut fabric = Fabric::new().unwrap();
        let control = fabric.machine("control", 100).unwrap();
        let machines = [1, 2].map(|number| fabric.machine("host", number).unwrap());
        let vms =
            [1, 2].map(|number| Vm::new(&machines[usize::from(number) - 1].netns, "p1", number).unwrap().0);
        let listen = SocketAddr::from((control.address, 9480));
        let controller = controller(&control, listen);
        let agents = [0, 1].map(|at| {
            let config = AgentConfig {
                name: ["host1", "host2"][at],
                source: AgentSource::Controllers(vec![listen]),
                ports: vec![("p1", "learn = true")],
                dataplane: "macs_max = 1000",
            };
            let mut agent = Agent::new(&machines[at], &config).unwrap();
            agent.reconfigure(|text| text + "\n[[network]]\nsuppress = true\n").unwrap();
            agent.start().unwrap();
            agent
        });
        Self { agents, vms, machines, _controller: controller, _control: control, _fabric: fabric }
    }

    fn station(&self, at: usize) -> Endpoint {
        Endpoint { mac: self.vms[at].mac, address: self.vms[at].address, port: 0 }
    }

    /// By the first host.
    fn answered(&self) -> u64 {
        let rows = self.agents[0].json(&["stats"]).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["verdict"] == Verdict::Answered.name())
            .filter_map(|row| row["packets"].as_u64())
            .sum()
    }
}

fn controller(control: &Machine, listen: SocketAddr) -> Controller {
    let config =
        ControllerConfig { name: "control", role: ControllerRole::Both, listen, tls: None, logical: &[] };
    let mut controller = Controller::new(&control.netns, &config).unwrap();
    let text = fs::read_to_string(controller.config_path()).unwrap();
    let text = text.replace("[controller]\n", "[controller]\nallow_plaintext = true\n");
    fs::write(controller.config_path(), text).unwrap();
    controller.start().unwrap();
    let mut declared = format!("version = 1\n[[logical_switch]]\nname = \"blue\"\nvni = {VNI}\n");
    for host in ["host1", "host2"] {
        let binding = format!("vtep = \"{host}\"\nport = \"p1\"\nlogical_switch = \"blue\"\n");
        write!(declared, "[[vtep]]\nname = \"{host}\"\n[[binding]]\n{binding}").unwrap();
    }
    controller.apply(&declared).unwrap();
    controller
}

#[test]
fn who_asks_for_a_far_vm_is_answered_by_its_own_host_and_what_stations_say_of_themselves_passes() {
    let rig = Rig::new();
    let [here, there] = [rig.station(0), rig.station(1)];
    let (ours, theirs) = (frame::v6(here.address), frame::v6(there.address));
    let near = PacketSocket::bind(&rig.vms[0].eth0).unwrap();
    let far = PacketSocket::bind(&rig.vms[1].eth0).unwrap();
    let asks = [frame::arp_request(here, there.address), frame::solicitation(here, ours, theirs, true)];
    // What the far VM says of itself goes by its host's claim to the controller, and from there to us.
    for asked in &asks {
        let before = rig.answered();
        wait_for("an answer of the program", SOON, || {
            far.send(&frame::arp_request(there, there.address)).unwrap();
            far.send(&frame::advertisement(there, theirs)).unwrap();
            near.send(asked).unwrap();
            (rig.answered() > before).then_some(())
        })
        .unwrap();
    }

    let underlay = PacketSocket::bind(&rig.machines[1].uplink).unwrap();
    let crossed = |sent: &[u8]| underlay.receive_all(QUIET, |frame| frame.ends_with(sent)).unwrap().len();
    let is_answer = |frame: &[u8]| {
        frame[..6] == here.mac.octets()
            && frame[6..12] == there.mac.octets()
            && (frame[12..14] == [8, 6] && frame[21] == 2
                || frame[12..14] == [0x86, 0xdd] && frame[54] == 136)
    };
    near.receive_all(QUIET, |_| true).unwrap();
    underlay.receive_all(QUIET, |_| true).unwrap();
    for asked in &asks {
        near.send(asked).unwrap();
        let answer = near.receive_where(SOON, is_answer).unwrap();
        assert!(answer.is_some(), "nobody answers {asked:02x?}");
        assert_eq!(crossed(asked), 0, "asked over the underlay, too: {asked:02x?}");
    }

    let mut reverse = frame::arp_request(here, here.address);
    reverse[12..14].copy_from_slice(&[0x80, 0x35]);
    reverse[21] = 3;
    for (what, said) in [
        ("a gratuitous ARP", frame::arp_request(here, here.address)),
        ("a RARP", reverse),
        ("an unsolicited advertisement", frame::advertisement(here, ours)),
        ("a probe for a duplicate", frame::solicitation(here, Ipv6Addr::UNSPECIFIED, theirs, false)),
    ] {
        near.send(&said).unwrap();
        let passed = underlay.receive_where(SOON, |frame| frame.ends_with(&said)).unwrap();
        assert!(passed.is_some(), "{what} does not cross the underlay");
        assert_eq!(crossed(&said), 0, "{what} crosses it once");
    }
}
