//! A MAC that two VTEPs claim, and the frames of one of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::{
    Agent, AgentConfig, AgentSource, Controller, ControllerConfig, ControllerRole, Fabric, Machine, Place, Vm,
};
use vtep_tests::pki::Pki;

const VNI: u32 = 5001;
const SOON: Duration = Duration::from_mins(1);

fn declared(witness: &str) -> String {
    let vtep = |name| {
        format!(
            "[[vtep]]\nname = \"{name}\"\n\
             [[binding]]\nvtep = \"{name}\"\nport = \"p1\"\nlogical_switch = \"x\"\n"
        )
    };
    let vteps: String = ["a", "b", "h"].map(vtep).concat();
    format!("version = 1\n[[logical_switch]]\nname = \"x\"\nvni = {VNI}\nwitness = \"{witness}\"\n{vteps}")
}

struct Host {
    machine: Machine,
    agent: Agent,
    vm: Vm,
}

/// With a VM whose MAC the operator named, so that it is claimed whoever else has it.
fn host(fabric: &mut Fabric, pki: &Pki, controller: SocketAddr, name: &str, numbers: (u8, u8)) -> Host {
    let machine = fabric.machine(name, numbers.0).unwrap();
    let (vm, _) = Vm::new(&machine.netns, "p1", numbers.1).unwrap();
    let macs = format!("macs = [\"{}\"]", vm.mac);
    let config = AgentConfig {
        name,
        source: AgentSource::Controller { address: controller, tls: Some(pki.issue(name).unwrap()) },
        ports: vec![("p1", &macs)],
        dataplane: "macs_max = 1000",
    };
    let agent = Agent::new(&machine, &config).unwrap();
    Host { machine, agent, vm }
}

fn explain(lc: &Controller, vm: &Vm) -> Option<Value> {
    lc.json(&["explain", "x", &vm.mac.to_string()]).ok()
}

#[test]
fn the_frames_of_a_contested_mac_are_shown_and_decide_where_the_operator_says_so() {
    let mut fabric = Fabric::new().unwrap();
    let pki = Pki::new().unwrap();
    let control = fabric.machine("control", 100).unwrap();
    let listen = SocketAddr::new(control.address.into(), 9480);
    let tls = pki.issue_at("lc", control.address).unwrap();
    let (name, role) = ("lc", ControllerRole::Both);
    let config = ControllerConfig { name, role, listen, tls: Some(&tls), logical: &[] };
    let lc = Controller::started(&control.netns, &config).unwrap();
    lc.apply(&declared("off")).unwrap();
    let mut a = host(&mut fabric, &pki, listen, "a", (11, 1));
    let mut b = host(&mut fabric, &pki, listen, "b", (12, 1));
    let mut h = host(&mut fabric, &pki, listen, "h", (13, 8));
    a.agent.start().unwrap();
    let master = |name: &str| (explain(&lc, &a.vm)?["decision"]["master"] == name).then_some(());
    wait_for("the claim of a", SOON, || master("a")).unwrap();
    b.agent.start().unwrap();
    wait_for("the later claim of b", SOON, || master("b")).unwrap();
    h.agent.start().unwrap();
    let is_at = |place: Place| (h.agent.place(VNI, a.vm.mac)? == place).then_some(());
    let (at_a, at_b) = (Place::At(a.machine.address), Place::At(b.machine.address));
    wait_for("the MAC at h", SOON, || is_at(at_b)).unwrap();

    // It speaks behind a only.
    let seen = wait_for("what h saw", SOON, || {
        a.vm.announce().unwrap();
        let explained = explain(&lc, &a.vm)?;
        let seen = explained["sightings"].as_array()?.first()?.clone();
        (seen["count"].as_u64()? >= 5).then_some(seen)
    })
    .unwrap();
    assert_eq!(
        [&seen["witness"], &seen["sender"], &seen["as_slave"]],
        [&Value::from("h"), &"a".into(), &true.into()]
    );
    let mac = a.vm.mac.to_string();
    let said = lc.print(&["explain", "x", &mac]).unwrap();
    assert!(said.contains("h received frames from a (its slave), noticed"), "{said}");
    assert!(said.contains("is behind b: arrival: later than a"), "{said}");
    is_at(at_b).unwrap();

    lc.apply(&declared("tie_break")).unwrap();
    wait_for("the MAC where it speaks", SOON, || {
        a.vm.announce().unwrap();
        is_at(at_a)
    })
    .unwrap();
    let said = lc.print(&["explain", "x", &mac]).unwrap();
    assert!(said.contains("is behind a: hosts receive its frames from there; b claims alike"), "{said}");
    let history = lc.print(&["history", "x", &mac]).unwrap();
    assert!(history.contains("a is master if it claims so"), "{history}");
    assert!(h.vm.pings(a.vm.address, 5), "h reaches it");

    lc.apply(&declared("off")).unwrap();
    wait_for("the MAC by time again", SOON, || is_at(at_b)).unwrap();
}
