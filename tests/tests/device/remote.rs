//! `Ucast_Macs_Remote`: what the controller says of others' MACs.

use std::time::Duration;

use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Stream,
        rig::{SOON, VNI},
    },
};

use crate::rig::Rig;

const MAC: &str = "00:16:3e:00:00:07";

/// Two rows of a MAC: the lower address counts, whichever was first.
#[test]
fn of_two_rows_for_a_mac_one_counts_and_it_is_said() {
    for order in [["192.0.2.21", "192.0.2.22"], ["192.0.2.22", "192.0.2.21"]] {
        let rig = Rig::connected();
        for address in order {
            rig.transact(&Value::from(rig.ucast("blue", MAC, address)));
        }
        rig.wait_for_refusal(&format!("{MAC} has 2 rows; that with master 192.0.2.21 counts"));
        rig.wait_for_master(VNI, MAC, Some("192.0.2.21"));
        assert_eq!(rig.status()["counts"]["macs"], 3, "the VM's, the far one's, and this");
        // The row that counts goes, and the other stands: that is no withdrawal.
        let (counting, _) = rig.locator("192.0.2.21");
        rig.transact(
            &json!([{"op": "delete", "table": "Ucast_Macs_Remote", "where": [["locator", "==", counting]]}]),
        );
        rig.wait_for_master(VNI, MAC, Some("192.0.2.22"));
        assert_eq!(rig.status()["source"]["rows_refused"], 0);
    }
}

#[test]
fn a_malformed_mac_is_set_aside_and_the_rest_is_kept() {
    let rig = Rig::connected();
    for (mac, expected) in [
        ("not-a-mac", "MAC address \"not-a-mac\" is malformed"),
        ("01:00:5e:00:00:01", "MAC address 01:00:5e:00:00:01 is not that of one station"),
    ] {
        let both = [rig.ucast("blue", mac, "192.0.2.11"), rig.ucast("blue", MAC, "192.0.2.11")].concat();
        rig.transact(&Value::from(both));
        rig.wait_for_refusal(expected);
        rig.wait_for_master(VNI, MAC, Some("192.0.2.11"));
        assert!(rig.vm.pings(rig.far.address, 5));
        rig.transact(&json!([{"op": "delete", "table": "Ucast_Macs_Remote", "where": [["MAC", "==", MAC]]}]));
        rig.wait_for_master(VNI, MAC, None);
    }
}

#[test]
fn a_mac_in_capitals_is_the_same_mac() {
    let rig = Rig::connected();
    rig.transact(&Value::from(rig.ucast("blue", &MAC.to_uppercase(), "192.0.2.11")));
    rig.wait_for_master(VNI, MAC, Some("192.0.2.11"));
}

#[test]
fn a_locator_that_two_networks_share_is_one_vtep() {
    let rig = Rig::connected();
    rig.write(&["add-ls red -- set Logical_Switch red tunnel_key=5002"]);
    rig.transact(&Value::from(rig.ucast("red", MAC, "192.0.2.11")));
    rig.wait_for_master(5002, MAC, Some("192.0.2.11"));
    let vteps = rig.agent.json(&["vtep", "show"]).unwrap();
    assert_eq!(vteps.as_array().unwrap().len(), 1);
    rig.write(&[&format!("del-ucast-remote red {MAC}")]);
    rig.wait_for_master(5002, MAC, None);
    assert!(rig.vm.pings(rig.far.address, 10), "the other network still uses it");
}

#[test]
fn a_locator_that_is_no_address_takes_nothing_else_with_it() {
    let rig = Rig::connected();
    rig.transact(&Value::from(rig.ucast("blue", MAC, "no.address")));
    rig.wait_for_refusal("locator's address \"no.address\" is malformed");
    assert!(rig.vm.pings(rig.far.address, 10));
}

/// Schema 1.7.0 names one encapsulation only, but a locator may have a key of its own.
#[test]
fn a_locator_with_another_key_than_its_network_is_refused() {
    let rig = Rig::connected();
    let row = |key: u32| json!({"encapsulation_type": "vxlan_over_ipv4", "dst_ip": "192.0.2.21", "tunnel_key": key});
    let locator = json!({"op": "insert", "table": "Physical_Locator", "uuid-name": "keyed", "row": row(77)});
    let entry =
        json!({"MAC": MAC, "logical_switch": rig.network("blue"), "locator": ["named-uuid", "keyed"]});
    let entry = json!({"op": "insert", "table": "Ucast_Macs_Remote", "row": entry});
    rig.transact(&json!([locator, entry]));
    rig.wait_for_refusal("locator has tunnel key 77; expected none, or the logical switch's 5001");
    rig.wait_for_master(VNI, MAC, None);
    rig.transact(&json!([{
        "op": "update", "table": "Physical_Locator", "where": [["dst_ip", "==", "192.0.2.21"]], "row": {"tunnel_key": VNI},
    }]));
    rig.wait_for_master(VNI, MAC, Some("192.0.2.21"));
}

#[test]
fn a_row_that_points_at_ourselves_is_refused() {
    let rig = Rig::connected();
    rig.transact(&Value::from(rig.ucast("blue", MAC, "192.0.2.1")));
    rig.wait_for_refusal("locator is an address of our own, 192.0.2.1");
    rig.wait_for_master(VNI, MAC, None);
}

#[test]
fn a_changed_locator_moves_the_mac() {
    let rig = Rig::connected();
    for last in [21, 22, 23, 21] {
        let address = format!("192.0.2.{last}");
        rig.write(&[&format!("add-ucast-remote blue {MAC} {address}")]);
        rig.wait_for_master(VNI, MAC, Some(&address));
    }
}

/// OVN moves a MAC by deleting its row and inserting another, in one transaction.
#[test]
fn a_row_that_is_deleted_and_inserted_at_once_is_a_move_without_a_gap() {
    let rig = Rig::connected();
    let far = rig.far.mac.to_string();
    rig.transact(&Value::from(rig.ucast("blue", MAC, "192.0.2.21")));
    let replaced = |mac: &str, address: &str| {
        let delete = json!({"op": "delete", "table": "Ucast_Macs_Remote", "where": [["MAC", "==", mac]]});
        rig.transact(&Value::from([vec![delete], rig.ucast("blue", mac, address)].concat()));
    };
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    for round in 0..40 {
        replaced(&far, "192.0.2.11");
        let address = if round % 2 == 0 { "192.0.2.22" } else { "192.0.2.21" };
        replaced(MAC, address);
        rig.wait_for_master(VNI, MAC, Some(address));
    }
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}

#[test]
fn a_withdrawn_mac_goes_and_only_it() {
    let rig = Rig::connected();
    rig.transact(&Value::from(rig.ucast("blue", MAC, "192.0.2.21")));
    rig.wait_for_master(VNI, MAC, Some("192.0.2.21"));
    rig.write(&[&format!("del-ucast-remote blue {MAC}")]);
    rig.wait_for_master(VNI, MAC, None);
    wait_for("the end of its VTEP", SOON, || {
        let vteps = rig.agent.json(&["vtep", "show"]).ok()?;
        (vteps.as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    assert!(rig.vm.pings(rig.far.address, 10));
}
