//! More entries than there is room for.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
};

const LOADED: Duration = Duration::from_mins(2);

#[track_caller]
fn check_full(status: &Value, wanted: u32, room: u32) {
    assert_eq!(status["counts"]["macs"], room);
    assert_eq!(status["counts"]["macs_pending"], wanted - room);
    let alarms = status["alarms"].as_array().unwrap();
    let full = alarms.iter().find(|alarm| alarm["kind"] == "mac_table_full").unwrap();
    let message = full["message"].as_str().unwrap();
    let expected =
        format!("{wanted} MACs for {room} entries (dataplane.macs_max); {} are pending", wanted - room);
    assert_eq!(message, expected);
}

#[test]
fn one_mac_more_than_room_is_pending_and_all_that_forwarded_goes_on() {
    let rig = Rig::with("macs_max = 100").unwrap();
    // With the VM's own and the far one's they are 101.
    let mut text =
        [network("blue", VNI, &["tor"]), binding("p1", 0, "blue"), mac("blue", &rig.far, "tor")].concat();
    for number in 0..99 {
        write!(
            text,
            "\n[[mac]]\nlogical_switch = \"blue\"\nmac = \"00:16:3e:00:00:{number:02x}\"\nmaster = \"tor\"\n"
        )
        .unwrap();
    }
    rig.agent.write_table(&table(&[("tor", 11)], &text)).unwrap();
    let full = wait_for("a full table", SOON, || {
        let status = rig.agent.json(&["status"]).ok()?;
        (status["counts"]["macs_pending"] == 1).then_some(status)
    });
    check_full(&full.unwrap(), 101, 100);
    assert!(rig.vm.pings(rig.far.address, 20), "what was installed stays, whatever its place in order");

    let text = text.replace("00:16:3e:00:00:07", "00:16:3e:00:00:08");
    rig.agent.write_table(&table(&[("tor", 11)], &text)).unwrap();
    wait_for("room", SOON, || {
        let status = rig.agent.json(&["status"]).ok()?;
        (status["counts"]["macs_pending"] == 0 && status["counts"]["macs"] == 100).then_some(())
    })
    .unwrap();
}

#[test]
fn a_million_and_one_macs_fill_the_default_table_and_one_is_pending() {
    const WANTED: u32 = 1_000_001;
    let mut text = String::with_capacity(WANTED as usize * 80);
    text.push_str(r#"{"version":1,"vtep":[{"name":"tor","address":"192.0.2.11"}],"#);
    text.push_str(r#""logical_switch":[{"name":"blue","vni":5001}],"mac":["#);
    for number in 0..WANTED {
        let comma = if number == 0 { "" } else { "," };
        let [_, a, b, c] = number.to_be_bytes();
        let mac = format!("02:16:3e:{a:02x}:{b:02x}:{c:02x}");
        write!(text, r#"{comma}{{"logical_switch":"blue","mac":"{mac}","master":"tor"}}"#).unwrap();
    }
    text.push_str("]}");
    let mut fabric = Fabric::new().unwrap();
    let host = fabric.machine("host", 1).unwrap();
    let config =
        AgentConfig { name: "host", source: AgentSource::Json(text), ports: Vec::new(), dataplane: "" };
    let agent = Agent::started(&host, &config).unwrap();
    let full = wait_for("a full table", LOADED, || {
        let status = agent.json(&["status"]).ok()?;
        (status["counts"]["macs_pending"] == 1).then_some(status)
    });
    check_full(&full.unwrap(), WANTED, WANTED - 1);
    let counted = agent.json(&["fdb", "count"]).unwrap();
    assert_eq!(counted["macs"], WANTED - 1, "and the agent still answers");
}
