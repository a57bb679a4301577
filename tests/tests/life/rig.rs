//! TORs a and b, of which b is the slave of a's VM, hosts with a VM each, and controllers apart: one that decides, one for
//! the TORs, one for the hosts.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use vtep_api::{
    MacAddr,
    Role::{Master, Slave},
};
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Controller, ControllerConfig,
        ControllerRole::{Logical, Physical},
        Fabric, Machine, Place, Rack, RackPlan, Side, Tor, Vm,
    },
    packet::PacketSocket,
};

pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const HOSTS: [&str; 3] = ["host1", "host2", "host3"];
const VNI: u32 = 5001;
const CONTROLLERS: [&str; 3] = ["lc", "of-tors", "of-hosts"];
pub(crate) const OF_TORS: usize = 1;
const BFD: &str = "[bfd]\nenabled = true\nmin_tx_ms = 1000\nmin_rx_ms = 1000\n";

pub(crate) struct Rig {
    rack: Rack,
    pub(crate) controllers: [Controller; 3],
    /// Behind both TORs.
    vm: Vm,
    hosts: Vec<Host>,
    _control: Machine,
    fabric: Fabric,
}

struct Host {
    agent: Agent,
    machine: Machine,
    vm: Vm,
}

impl Rig {
    /// All sessions of BFD are up, and every agent has the VM behind a.
    pub(crate) fn new() -> Self {
        let mut fabric = Fabric::new().unwrap();
        let control = fabric.machine("control", 100).unwrap();
        let plan = RackPlan::new(&mut fabric, [("a", 11), ("b", 12)], &["rack"]).unwrap();
        let machines = [1, 2, 3].map(|number| fabric.machine("host", number).unwrap());
        let (controllers, rack, hosts) = thread::scope(|scope| {
            let rack = scope.spawn(|| plan.start(|_, _| "learn = true".to_owned()).unwrap());
            let hosts = scope.spawn(|| {
                let hosts = HOSTS.into_iter().zip(machines).zip(1..);
                hosts.map(|((name, machine), number)| Host::new(name, machine, number, &control)).collect()
            });
            (start(&control), rack.join().unwrap(), hosts.join().unwrap())
        });
        let vm = rack.host("rack").vm(10).unwrap();
        let rig = Self { rack, controllers, vm, hosts, _control: control, fabric };
        rig.controllers[0].apply(&rig.declared()).unwrap();
        for (tor, role) in [("a", Master), ("b", Slave)] {
            rig.tor(tor).set_role(role, "x").unwrap();
        }
        // A claim of b's that is heard first is master until a's comes, which counts as a move.
        rig.announce_until(Side::Left, |row| row["master"] == "a");
        rig.announce_until(Side::Right, |row| row["slaves"] == json!(["b"]));
        rig.wait_for_place("a");
        for name in HOSTS.into_iter().chain(["b"]) {
            rig.wait_vtep(name, "the tunnel to a alive", |row| finds(row, "reachable"));
        }
        rig
    }

    pub(crate) fn tor(&self, name: &str) -> &Tor {
        self.rack.tor(side(name))
    }

    /// Nothing that a sends gets to these hosts any more.
    pub(crate) fn lose_bfd(&self, tor: &str, hosts: &[&str]) {
        for (host, name) in self.hosts.iter().zip(HOSTS).filter(|(_, name)| hosts.contains(name)) {
            self.fabric.cut(&self.tor(tor).machine, &host.machine).unwrap();
            self.wait_vtep(name, "the tunnel to a dead", |row| finds(row, "unreachable"));
        }
    }

    pub(crate) fn end_session(&mut self, tor: &str) {
        self.rack.tor_mut(side(tor)).ovsdb.stop().unwrap();
        self.wait_vtep(tor, "no session", |row| row["session"] == "lost");
    }

    pub(crate) fn begin_session(&mut self, tor: &str) {
        self.rack.tor_mut(side(tor)).ovsdb.restart().unwrap();
        self.wait_vtep(tor, "a session", |row| row["session"] == "up");
    }

    /// What the logical controller makes of a VTEP.
    pub(crate) fn vtep(&self, name: &str) -> Value {
        let rows = self.controllers[0].json(&["vteps"]).unwrap();
        rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn wait_vtep(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) {
        wait_for(&format!("{name}: {what}"), SOON, || is(&self.vtep(name)).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}", self.vtep(name)));
    }

    /// By the logical controller's table.
    pub(crate) fn master(&self) -> String {
        self.row().unwrap()["master"].as_str().unwrap().to_owned()
    }

    /// How often the VM got another master.
    pub(crate) fn moves(&self) -> u64 {
        let metrics = self.controllers[0].metrics().unwrap();
        let line = metrics.lines().find(|line| line.starts_with("vtepd_controller_moves")).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    }

    /// Every host's kernel has the VM behind that TOR.
    #[track_caller]
    pub(crate) fn wait_for_place(&self, tor: &str) {
        let place = Some(Place::At(self.tor(tor).machine.address));
        for host in &self.hosts {
            wait_for(&format!("the VM at {tor}"), SOON, || {
                (host.agent.place(VNI, self.vm.mac) == place).then_some(())
            })
            .unwrap();
        }
    }

    /// A MAC behind the last host that the others hear of: by then they were told of what was decided before.
    #[track_caller]
    pub(crate) fn wait_for_news(&self, number: u8) {
        let (last, others) = self.hosts.split_last().unwrap();
        let mac = MacAddr::new([2, 0, 0, 0, 0, number]);
        let newcomer = Endpoint { mac, address: Ipv4Addr::new(10, 1, 0, number), port: 0 };
        let announcement = frame::arp_request(newcomer, newcomer.address);
        PacketSocket::bind(&last.vm.eth0).unwrap().send(&announcement).unwrap();
        let place = Some(Place::At(last.machine.address));
        for host in others {
            wait_for("news", SOON, || (host.agent.place(VNI, mac) == place).then_some(())).unwrap();
        }
    }

    fn row(&self) -> Option<Value> {
        let rows = self.controllers[0].json(&["fdb", "x"]).ok()?;
        let mac = self.vm.mac.to_string();
        rows.as_array()?.iter().find(|row| row["mac"] == mac.as_str()).cloned()
    }

    /// The VM lets a TOR know where it is, until the logical controller's row says so.
    #[track_caller]
    fn announce_until(&self, side: Side, is: impl Fn(&Value) -> bool) {
        wait_for(&format!("the VM at the {side:?} TOR"), SOON, || {
            self.rack.host("rack").announce_over(&self.vm, side).unwrap();
            is(&self.row()?).then_some(())
        })
        .unwrap();
    }

    fn declared(&self) -> String {
        let mut text = format!("version = 1\n{BFD}");
        write!(text, "[[logical_switch]]\nname = \"x\"\nvni = {VNI}\nlogical_controller = \"lc\"\n").unwrap();
        let mut vtep = |name: &str, port: &str, more: &str| {
            write!(text, "[[vtep]]\nname = \"{name}\"\n{more}\n").unwrap();
            let binding = format!("vtep = \"{name}\"\nport = \"{port}\"\nlogical_switch = \"x\"\n");
            write!(text, "[[binding]]\n{binding}").unwrap();
        };
        for name in ["a", "b"] {
            let remote = self.tor(name).ovsdb.remote();
            vtep(name, "rack", &format!("ovsdb = \"{remote}\"\nphysical_controller = \"of-tors\""));
        }
        for name in HOSTS {
            vtep(name, "p1", "physical_controller = \"of-hosts\"");
        }
        text
    }
}

impl Host {
    fn new(name: &str, machine: Machine, number: u8, control: &Machine) -> Self {
        let (vm, _) = Vm::new(&machine.netns, "p1", number).unwrap();
        let config = AgentConfig {
            name,
            source: AgentSource::Controllers(vec![address(control, 2)]),
            ports: vec![("p1", "learn = true")],
            dataplane: "macs_max = 1000",
        };
        Self { agent: Agent::started(&machine, &config).unwrap(), machine, vm }
    }
}

fn start(control: &Machine) -> [Controller; 3] {
    let logical = [(CONTROLLERS[0], address(control, 0))];
    [0, 1, 2].map(|number| {
        let name = CONTROLLERS[number];
        let (role, logical) = if number == 0 { (Logical, &[][..]) } else { (Physical, &logical[..]) };
        let config = ControllerConfig { name, role, listen: address(control, number), tls: None, logical };
        let mut controller = Controller::new(&control.netns, &config).unwrap();
        let text = fs::read_to_string(controller.config_path()).unwrap();
        let text = text.replace("[controller]\n", "[controller]\nallow_plaintext = true\n");
        fs::write(controller.config_path(), text).unwrap();
        controller.start().unwrap();
        controller
    })
}

fn address(control: &Machine, number: usize) -> SocketAddr {
    SocketAddr::from((control.address, 9480 + u16::try_from(number).unwrap()))
}

fn side(tor: &str) -> Side {
    if tor == "a" { Side::Left } else { Side::Right }
}

/// Whether it says so of a's tunnel address.
fn finds(row: &Value, what: &str) -> bool {
    row["state"][what].as_array().is_some_and(|addresses| addresses.contains(&json!("192.0.2.11")))
}
