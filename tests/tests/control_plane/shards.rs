//! What several logical controllers foretell, each of logical switches of its own, and a host that is in all of them
//! rehearses.

use std::{collections::BTreeMap, fmt::Write as _, fs, net::SocketAddr};

use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    etcd::Etcd,
    lab::{
        Agent, AgentConfig, AgentSource, Controller, ControllerConfig,
        ControllerRole::{Logical, Physical},
        Fabric, Machine, Vm,
    },
    ovsdb::OvsdbServer,
};

use super::rig::SOON;

/// Of a logical switch its port at the host, and how many MACs have and how many lack a slave of tor1.
const SWITCHES: [(&str, &str, u8, u8); 4] =
    [("ls0", "p1", 1, 2), ("ls1", "p2", 2, 0), ("ls2", "p3", 3, 1), ("ls3", "p4", 5, 3)];
const TORS: [(&str, &str); 2] = [("tor1", "192.0.2.201"), ("tor2", "192.0.2.202")];

fn controllers(machine: &Machine, endpoints: &[String]) -> BTreeMap<&'static str, Controller> {
    let started = [("lc1", Logical), ("lc2", Logical), ("pc1", Physical)].into_iter().zip(9480..);
    let started = started.map(|((name, role), port)| {
        let listen = SocketAddr::from((machine.address, port));
        let config = ControllerConfig { name, role, listen, tls: None, logical: &[] };
        let mut controller = Controller::new(&machine.netns, &config).unwrap();
        let text = fs::read_to_string(controller.config_path()).unwrap();
        let text = text.replace("[controller]\n", "[controller]\nallow_plaintext = true\n");
        fs::write(controller.config_path(), text).unwrap();
        controller.use_etcd(endpoints).unwrap();
        controller.start().unwrap();
        (name, controller)
    });
    started.collect()
}

fn declared(tors: &[OvsdbServer; 2]) -> String {
    let mut text = "version = 1\n[[vtep]]\nname = \"host1\"\n".to_owned();
    for ((name, _), tor) in TORS.iter().zip(tors) {
        write!(text, "[[vtep]]\nname = \"{name}\"\novsdb = \"{}\"\n", tor.remote()).unwrap();
    }
    for ((switch, port, ..), number) in SWITCHES.iter().zip(1..) {
        write!(text, "[[logical_switch]]\nname = \"{switch}\"\nvni = {}\n", 5000 + number).unwrap();
        let mut bind = |vtep: &str, port: &str, vlan: i32| {
            let at = format!("vtep = \"{vtep}\"\nport = \"{port}\"\nvlan = {vlan}");
            write!(text, "[[binding]]\n{at}\nlogical_switch = \"{switch}\"\n").unwrap();
        };
        bind("host1", port, 0);
        for (tor, _) in TORS {
            bind(tor, "p1", number);
        }
    }
    text
}

/// Each logical controller has two of the logical switches.
fn spread(controllers: &BTreeMap<&'static str, Controller>) {
    let shards = || controllers["pc1"].json(&["shards"]).ok();
    let with_switches = |rows: &Value| -> Vec<Value> {
        let rows = rows.as_array().into_iter().flatten();
        rows.filter(|row| row["logical_switches"].is_array()).cloned().collect()
    };
    // Declared to another controller, so this one knows them when it has read them.
    let shared = wait_for("the logical switches' shards", SOON, || {
        let shared = with_switches(&shards()?);
        let named = shared.iter().map(|row| row["logical_switches"].as_array().map_or(0, Vec::len));
        (named.sum::<usize>() == SWITCHES.len()).then_some(shared)
    })
    .unwrap();
    assert!(shared.len() >= 2, "the names are of one shard: {shared:?}");
    let to = |at: usize| ["lc1", "lc2"][at % 2];
    for (at, row) in shared.iter().enumerate() {
        controllers["lc1"].print(&["move", "--shard", &row["shard"].to_string(), to(at)]).unwrap();
    }
    wait_for("logical switches at both", SOON, || {
        let rows = with_switches(&shards()?);
        rows.iter().enumerate().all(|(at, row)| row["holder"] == to(at)).then_some(())
    })
    .unwrap();
}

/// So many MACs of each logical switch, by how many of them have and lack a slave.
fn claim(tor: &OvsdbServer, address: &str, macs: impl Fn(u8, u8) -> u8) {
    let mut words = Vec::new();
    for ((switch, _, with, without), number) in SWITCHES.iter().zip(1..) {
        let claims = 0..macs(*with, *without);
        words.extend(
            claims.map(|mac| format!("add-ucast-local {switch} 02:00:00:00:0{number}:0{mac} {address}")),
        );
    }
    tor.vtep_ctl(&words.join(" -- ")).unwrap();
}

/// How many MACs the host has behind each VTEP, and how many of those have a slave.
fn known(agent: &Agent) -> BTreeMap<String, (usize, usize)> {
    let mut known = BTreeMap::new();
    let shown = agent.json(&["fdb", "show"]).unwrap_or_default();
    for row in shown.as_array().into_iter().flatten() {
        let Some(master) = row["master"]["vtep"]["address"].as_str() else { continue };
        let (all, with_slave) = known.entry(master.to_owned()).or_default();
        *all += 1;
        *with_slave += usize::from(row["slave"].is_object());
    }
    known
}

#[test]
fn what_two_logical_controllers_foretell_together_a_drill_counts() {
    let mut fabric = Fabric::new().unwrap();
    let control = fabric.machine("control", 100).unwrap();
    let host = fabric.machine("host", 1).unwrap();
    let etcd = Etcd::start(&control.netns, 1).unwrap();
    let controllers = controllers(&control, &etcd.endpoints());
    let tors = TORS.map(|(name, address)| {
        let tor = OvsdbServer::start().unwrap();
        let words = format!("add-ps {name} -- set Physical_Switch {name} tunnel_ips={address}");
        tor.vtep_ctl(&format!("{words} -- add-port {name} p1")).unwrap();
        tor
    });
    controllers["lc1"].apply(&declared(&tors)).unwrap();
    spread(&controllers);
    let _vms: Vec<Vm> = SWITCHES
        .iter()
        .zip(1..)
        .map(|((_, port, ..), number)| Vm::new(&host.netns, port, number).unwrap().0)
        .collect();
    let config = AgentConfig {
        name: "host1",
        source: AgentSource::Controllers(vec![SocketAddr::from((control.address, 9482))]),
        ports: SWITCHES.iter().map(|(_, port, ..)| (*port, "learn = true")).collect(),
        dataplane: "macs_max = 1000",
    };
    let agent = Agent::started(&host, &config).unwrap();
    for tor in &tors {
        wait_for("all logical switches at a TOR", SOON, || {
            (tor.vtep_ctl("list-ls").ok()?.lines().count() == SWITCHES.len()).then_some(())
        })
        .unwrap();
    }

    // Who claims a MAC last has it, and who did before is its slave.
    let with: u8 = SWITCHES.iter().map(|(.., with, _)| with).sum();
    let without: u8 = SWITCHES.iter().map(|(.., without)| without).sum();
    let (with, without) = (usize::from(with), usize::from(without));
    let wait_known = |at: &str, expected: (usize, usize)| {
        wait_for("the host's table", SOON, || (known(&agent).get(at) == Some(&expected)).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {:?}; expected {expected:?} at {at}", known(&agent)));
    };
    claim(&tors[1], TORS[1].1, |with, _| with);
    wait_known(TORS[1].1, (with, 0));
    claim(&tors[0], TORS[0].1, |with, without| with + without);
    wait_known(TORS[0].1, (with + without, with));

    let drilled = agent.json(&["drill", "--vtep", "tor1", "--seconds", "1"]).unwrap();
    let drilled = drilled.as_array().map_or(&drilled, |rows| &rows[0]);
    assert_eq!(drilled["macs_with_slave"], with, "{drilled}");
    assert_eq!(drilled["macs_without_slave"], without, "{drilled}");
    for (name, controller) in &controllers {
        let foretold = controller.json(&["what-if", "--vtep-down", "tor1"]).unwrap();
        let rows = foretold.as_array().unwrap();
        let sum = |count: fn(&Value) -> Option<u64>| rows.iter().filter_map(count).sum::<u64>();
        assert_eq!(
            drilled["macs_with_slave"],
            sum(|row| row["moves"]["tor2"].as_u64()),
            "{name}: {foretold}"
        );
        assert_eq!(drilled["macs_without_slave"], sum(|row| row["orphaned"].as_u64()), "{name}: {foretold}");
        let switches: Vec<&str> = rows.iter().filter_map(|row| row["logical_switch"].as_str()).collect();
        assert_eq!(switches, SWITCHES.map(|(switch, ..)| switch), "{name}: {foretold}");
    }
}
