//! What becomes of MACs that appear, move and go.

use serde_json::json;

use super::MAC;
use super::rig::{SOON, Site, Tor, both, declared, pair};

#[test]
fn a_mac_of_one_tor_is_a_remote_mac_of_the_other_within_a_second() {
    let (a, b, _site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    a.expect("ls0", &[], SOON);
    assert_eq!(a.ctl("list-bindings tor1 p1").unwrap(), "0000 ls0");
    assert_eq!(a.ctl("get Logical_Switch ls0 tunnel_key").unwrap(), "5000");
    a.withdraw("ls0", MAC).unwrap();
    b.expect("ls0", &[], SOON);
}

#[test]
fn scenario_03_one_tor_with_two_networks_tells_each_only_its_own_macs() {
    let (a, b, c) = (Tor::new(1).unwrap(), Tor::new(2).unwrap(), Tor::new(3).unwrap());
    let switches =
        [("x", 5001, vec![(&a, "p1", 0), (&b, "p1", 0)]), ("y", 5002, vec![(&a, "p2", 0), (&c, "p1", 0)])];
    let _site = Site::new(&declared("", [&a, &b, &c], &switches)).unwrap();
    a.wait_for_switch("x").unwrap();
    a.wait_for_switch("y").unwrap();
    a.claim("x", MAC).unwrap();
    a.claim("y", MAC).unwrap();
    a.claim("y", "02:00:00:00:00:02").unwrap();
    b.expect("x", &[(MAC, &a)], SOON);
    c.expect("y", &[(MAC, &a), ("02:00:00:00:00:02", &a)], SOON);
    assert_eq!(b.ctl("list-ls").unwrap(), "x", "b takes no part in y");
    assert_eq!(c.ctl("list-ls").unwrap(), "y", "c takes no part in x");
}

#[test]
fn scenario_05_failover_and_failback_need_no_second_report() {
    let (a, b, _site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    b.claim("ls0", MAC).unwrap();
    a.expect("ls0", &[(MAC, &b)], SOON);
    b.expect("ls0", &[], SOON);
    b.withdraw("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    a.expect("ls0", &[], SOON);
}

#[test]
fn scenario_06_a_late_withdrawal_does_not_erase_the_new_owner() {
    let (a, b, c) = (Tor::new(1).unwrap(), Tor::new(2).unwrap(), Tor::new(3).unwrap());
    let [(name, vni, mut bound)] = both(&a, &b);
    bound.push((&c, "p2", 7));
    let _site = Site::new(&declared("", [&a, &b, &c], &[(name, vni, bound)])).unwrap();
    [&a, &b, &c].into_iter().try_for_each(|tor| tor.wait_for_switch("ls0")).unwrap();
    a.claim("ls0", MAC).unwrap();
    c.expect("ls0", &[(MAC, &a)], SOON);
    b.claim("ls0", MAC).unwrap();
    c.expect("ls0", &[(MAC, &b)], SOON);
    a.withdraw("ls0", MAC).unwrap();
    // What is said later is seen later: then the withdrawal has been.
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    c.expect("ls0", &[(MAC, &b), ("02:00:00:00:00:02", &a)], SOON);
}

#[test]
fn scenario_16_one_of_two_equal_rows_may_go() {
    let (a, b, _site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    let switch = a.ctl("get Logical_Switch ls0 _uuid").unwrap();
    let locator = a.ctl("--bare --columns=locator find Ucast_Macs_Local").unwrap();
    let twin = json!([{
        "op": "insert",
        "table": "Ucast_Macs_Local",
        "row": { "MAC": MAC, "logical_switch": ["uuid", switch], "locator": ["uuid", locator.trim()], "ipaddr": "" },
    }]);
    a.ovsdb.transact(&twin).unwrap();
    let rows = a.ctl("--bare --columns=_uuid find Ucast_Macs_Local").unwrap();
    let rows: Vec<&str> = rows.split_whitespace().collect();
    assert_eq!(rows.len(), 2);
    a.ctl(&format!("destroy Ucast_Macs_Local {}", rows[0])).unwrap();
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    b.expect("ls0", &[(MAC, &a), ("02:00:00:00:00:02", &a)], SOON);
    a.ctl(&format!("destroy Ucast_Macs_Local {}", rows[1])).unwrap();
    b.expect("ls0", &[("02:00:00:00:00:02", &a)], SOON);
}

#[test]
fn scenario_20_two_vteps_and_two_networks() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let switches = [
        ("ls0", 5000, vec![(&a, "p1", 0), (&b, "p1", 0)]),
        ("ls1", 5001, vec![(&a, "p2", 0), (&b, "p2", 0)]),
    ];
    let _site = Site::new(&declared("", [&a, &b], &switches)).unwrap();
    for (tor, switch) in [(&a, "ls0"), (&a, "ls1"), (&b, "ls0"), (&b, "ls1")] {
        tor.wait_for_switch(switch).unwrap();
    }
    b.claim("ls0", MAC).unwrap();
    a.expect("ls0", &[(MAC, &b)], SOON);
    a.expect("ls1", &[], SOON);
    b.claim("ls1", MAC).unwrap();
    a.expect("ls1", &[(MAC, &b)], SOON);
    b.withdraw("ls0", MAC).unwrap();
    a.expect("ls0", &[], SOON);
    a.expect("ls1", &[(MAC, &b)], SOON);
}

#[test]
fn scenario_22_everyone_follows_a_tunnel_address_that_changes() {
    let (mut a, b, _site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    a.ctl("set Physical_Switch tor1 tunnel_ips=192.0.2.1,192.0.2.101").unwrap();
    a.address = [192, 0, 2, 101].into();
    // The TOR makes its rows anew at its new address.
    a.ctl(&format!("clear-local-macs ls0 -- add-ucast-local ls0 {MAC} 192.0.2.101")).unwrap();
    a.ctl("set Physical_Switch tor1 tunnel_ips=192.0.2.101").unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    b.expect_flood("ls0", &[&a]);
    let locators = b.ctl("--bare --columns=dst_ip list Physical_Locator").unwrap();
    assert_eq!(locators.split_whitespace().collect::<Vec<_>>(), ["192.0.2.101"]);
}
