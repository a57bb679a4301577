//! The remote MACs that a TOR is told.

use std::collections::{BTreeMap, BTreeSet};

use hardware_vtep::Mirror;
use hardware_vtep::controller::{Failed, Remote, Subject, TorOutline};
use ovsdb::TransactError;
use vtep_api::MacAddr;

use crate::schema::changed;
use crate::server::Server;
use crate::tor::{Controller, OWN, at, ip, ls, mac, network, remote, tor, tor_with};

async fn blue() -> (Server, Controller) {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    (server, controller)
}

fn insert(server: &Server, controller: &Controller, table: &str, mac: &str, address: &str) {
    let mirror = controller.tor.mirror();
    let switch = mirror.logical_switches.iter().next().unwrap().0;
    let found = mirror.locators.iter().find(|(_, row)| row.dst_ip == address).map(|(uuid, _)| uuid);
    let (locator, named) = match found {
        Some(uuid) => (format!(r#"["uuid","{uuid}"]"#), String::new()),
        None => (
            r#"["named-uuid","l"]"#.to_owned(),
            format!(
                r#"{{"op":"insert","table":"Physical_Locator","uuid-name":"l","row":{{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"{address}"}}}},"#
            ),
        ),
    };
    server.transact(&format!(
        r#"["hardware_vtep",{named}{{"op":"insert","table":"{table}","row":{{"MAC":"{mac}","locator":{locator},"logical_switch":["uuid","{switch}"]}}}}]"#,
    ));
}

/// No update may show a table without the MAC.
fn never_without(mac: MacAddr) -> Box<dyn Fn(&Mirror)> {
    Box::new(move |mirror| {
        assert!(mirror.ucast_remote.iter().any(|(_, row)| row.mac.mac() == Some(mac)), "a gap");
    })
}

#[tokio::test]
async fn scenario_16_duplicate_remote_rows_are_cleaned_to_one_without_a_gap() {
    let (server, mut controller) = blue().await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    controller.invariant = never_without(mac(1));
    for text in ["02-00-00-00-00-01", "0200.0000.0001"] {
        for address in ["192.0.2.1", "192.0.2.8"] {
            insert(&server, &controller, "Ucast_Macs_Remote", text, address);
            controller.catch_up().await;
        }
    }
    controller.until("five rows", |tor| tor.mirror().ucast_remote.len() == 5).await;
    controller.settle().await;
    assert_eq!(controller.tor.mirror().ucast_remote.len(), 1);
    assert_eq!(controller.locators(), ["192.0.2.1"]);
    // Also when none of them says what it should.
    insert(&server, &controller, "Ucast_Macs_Remote", "02-00-00-00-00-01", "192.0.2.8");
    controller.until("two rows", |tor| tor.mirror().ucast_remote.len() == 2).await;
    controller.put("blue", mac(1), at("192.0.2.5")).await;
    assert_eq!(remote(&server, "blue").into_values().collect::<Vec<_>>(), ["192.0.2.5"]);
    assert_eq!(controller.locators(), ["192.0.2.5"]);
}

#[tokio::test]
async fn scenario_17_a_thousand_macs_on_one_new_address_share_one_locator() {
    let (server, mut controller) = blue().await;
    controller.transactions = 0;
    for n in 0..1000 {
        controller.tor.desired().put(&ls("blue"), mac(n), at("192.0.2.1"));
    }
    controller.invariant = Box::new(|mirror| assert!(mirror.locators.len() <= 1));
    controller.settle().await;
    assert_eq!(
        (controller.tor.mirror().ucast_remote.len(), controller.locators()),
        (1000, vec!["192.0.2.1".into()])
    );
    assert_eq!(controller.transactions, 10);
    assert!(controller.tor.is_settled(&ls("blue")) && controller.refused().is_empty());
    for n in 1..1000 {
        controller.tor.desired().remove(&ls("blue"), mac(n));
    }
    controller.settle().await;
    assert_eq!(controller.locators(), ["192.0.2.1"], "one MAC is left");
    controller.remove("blue", mac(0)).await;
    assert_eq!(controller.locators(), [""; 0], "the locator goes with the last MAC");
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    assert_eq!(controller.locators(), ["192.0.2.1"], "the next add works");
    // One that another client made is used as it is.
    controller.remove("blue", mac(1)).await;
    server.ctl(&["add-ls", "red", "--", "add-ucast-remote", "red", "02:00:00:00:00:99", "192.0.2.1"]);
    controller.catch_up().await;
    let theirs = controller.tor.mirror().locators.iter().next().unwrap().0;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    assert_eq!(controller.tor.mirror().locators.len(), 1);
    assert!(controller.tor.mirror().ucast_remote.iter().all(|(_, row)| row.locator == theirs));
    assert!(controller.refused().is_empty());
}

#[tokio::test]
async fn scenario_18_one_bad_row_in_a_thousand_is_set_aside_and_the_rest_lands() {
    // With an index that the stock schema lacks, a MAC that is there in another network fails our commit as a whole.
    let dir = changed(|schema| {
        schema["tables"]["Ucast_Macs_Remote"]["indexes"] = serde_json::json!([["MAC"]]);
    });
    let server = tor_with(&dir.path().join("schema"));
    server.ctl(&["add-ls", "red", "--", "add-ucast-remote", "red", &mac(0x1d7).to_string(), "192.0.2.9"]);
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    controller.transactions = 0;
    for n in 0..1000 {
        controller.tor.desired().put(&ls("blue"), mac(n), at("192.0.2.1"));
    }
    controller.settle().await;
    assert_eq!(remote(&server, "blue").len(), 999);
    let refused = controller.refused();
    let (subject, reason) = refused.iter().next().unwrap();
    assert_eq!((refused.len(), subject), (1, &Subject::Mac(ls("blue"), mac(0x1d7))));
    assert!(reason.contains("constraint violation"), "{reason}");
    assert!(controller.transactions <= 25, "{}", controller.transactions);
    // It does not hold up what comes later, and lands when it can.
    controller.put("blue", mac(1000), at("192.0.2.1")).await;
    assert_eq!(remote(&server, "blue").len(), 1000);
    server.ctl(&["del-ucast-remote", "red", &mac(0x1d7).to_string()]);
    controller.catch_up().await;
    controller.tor.audit();
    controller.settle().await;
    assert_eq!((remote(&server, "blue").len(), controller.refused().len()), (1001, 0));
}

#[tokio::test]
async fn scenario_19_the_remote_table_equals_the_set_of_macs_after_each_change() {
    let (server, mut controller) = blue().await;
    controller.network("red", network(6000, &[])).await;
    let with_ip = Remote { ips: [ip("10.0.0.4")].into(), ..at("192.0.2.1") };
    let plain = || at("192.0.2.1");
    let sets = [
        vec![(mac(2), plain())],
        vec![(mac(2), plain()), (mac(3), plain())],
        vec![(mac(4), with_ip.clone())],
        vec![(mac(4), with_ip), (mac(5), plain())],
        vec![(mac(4), plain()), (mac(5), plain())],
        vec![(mac(3), plain())],
    ];
    let mut before = BTreeSet::new();
    for set in sets {
        for &gone in before.difference(&set.iter().map(|&(mac, _)| mac).collect()) {
            controller.tor.desired().remove(&ls("blue"), gone);
        }
        for (mac, remote) in &set {
            controller.tor.desired().put(&ls("blue"), *mac, remote.clone());
        }
        controller.settle().await;
        let rows = controller.tor.mirror().ucast_remote.iter();
        let found: BTreeMap<_, _> =
            rows.map(|(_, row)| (row.mac.mac().unwrap(), row.ipaddr.to_string())).collect();
        let text = |remote: &Remote| remote.ips.first().map(ToString::to_string).unwrap_or_default();
        let expected: BTreeMap<_, _> = set.iter().map(|(mac, remote)| (*mac, text(remote))).collect();
        assert_eq!(found, expected);
        before = set.into_iter().map(|(mac, _)| mac).collect();
    }
    // A MAC that moved to another network leaves the first.
    controller.tor.desired().remove(&ls("blue"), mac(3));
    controller.put("red", mac(3), plain()).await;
    assert_eq!((remote(&server, "blue").len(), remote(&server, "red").len()), (0, 1));
}

#[tokio::test]
async fn scenario_22_a_tunnel_address_that_changes_repoints_every_row_and_leaves_no_old_locator() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1", "192.0.2.2"])).await;
    for n in 0..10 {
        controller.tor.desired().put(&ls("blue"), mac(n), at("192.0.2.1"));
    }
    controller.put("blue", mac(10), at("192.0.2.2")).await;
    let rows = |controller: &Controller| -> BTreeSet<_> {
        controller.tor.mirror().ucast_remote.iter().map(|(uuid, _)| uuid).collect()
    };
    let before = rows(&controller);
    // No update shows one row at the old address and another at the new.
    controller.invariant = Box::new(|mirror| {
        let addresses =
            mirror.ucast_remote.iter().map(|(_, row)| &mirror.locators.row(row.locator).unwrap().dst_ip);
        let addresses: BTreeSet<_> = addresses.collect();
        assert!(addresses.len() <= 2, "a mixed table: {addresses:?}");
    });
    for n in 0..10 {
        controller.tor.desired().put(&ls("blue"), mac(n), at("192.0.2.7"));
    }
    controller.network("blue", network(5000, &["192.0.2.7", "192.0.2.2"])).await;
    assert_eq!(controller.locators(), ["192.0.2.2", "192.0.2.7"]);
    assert_eq!(rows(&controller), before, "the rows were updated, not written anew");
    assert_eq!(controller.flood(), ["192.0.2.2".to_owned(), "192.0.2.7".to_owned()].into());
    let moved =
        remote(&server, "blue").into_iter().filter(|(mac, at)| mac != "unknown-dst" && at == "192.0.2.7");
    assert_eq!(moved.count(), 10);
}

#[tokio::test]
async fn scenario_29_a_tor_whose_table_is_full_is_given_no_mac_until_it_has_room() {
    let (server, mut controller) = blue().await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    controller.put("blue", mac(2), at("192.0.2.1")).await;
    server.ctl(&["set", "Physical_Switch", "tor1", "switch_fault_status=mac_table_exhaustion"]);
    controller.catch_up().await;
    assert!(controller.tor.state().faults.contains("mac_table_exhaustion"), "it is reported");
    controller.tor.desired().put(&ls("blue"), mac(3), at("192.0.2.1"));
    controller.tor.desired().put(&ls("blue"), mac(1), at("192.0.2.5"));
    controller.tor.desired().remove(&ls("blue"), mac(2));
    controller.settle().await;
    let expected = BTreeMap::from([(mac(1).to_string(), "192.0.2.5".to_owned())]);
    assert_eq!(remote(&server, "blue"), expected, "updates and removals go on");
    assert_eq!(controller.tor.held(), 1);
    server.ctl(&["clear", "Physical_Switch", "tor1", "switch_fault_status"]);
    controller.catch_up().await;
    controller.settle().await;
    assert_eq!((remote(&server, "blue").len(), controller.tor.held()), (2, 0));
}

#[tokio::test]
async fn a_mac_that_nobody_named_stays_until_the_table_is_complete() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    let switches = [(ls("blue"), network(5000, &[]))].into();
    controller.outline = TorOutline { complete: true, switches, ..TorOutline::default() };
    controller.write_outline().await;
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:01", "192.0.2.8"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:02", "192.0.2.8"]);
    server.ctl(&["add-ucast-remote", "blue", "nonsense", "192.0.2.8"]);
    controller.catch_up().await;
    controller.put("blue", mac(3), at("192.0.2.1")).await;
    assert_eq!(remote(&server, "blue").len(), 4);
    controller.remove("blue", mac(1)).await;
    assert_eq!(remote(&server, "blue").len(), 3, "one that was named goes");
    controller.tor.desired().set_complete(&ls("blue"), true);
    controller.settle().await;
    assert_eq!(remote(&server, "blue").into_keys().collect::<Vec<_>>(), [mac(3).to_string()]);
}

#[tokio::test]
async fn no_row_points_at_the_tors_own_address() {
    let (server, mut controller) = blue().await;
    controller.put("blue", mac(1), at(OWN)).await;
    assert_eq!(remote(&server, "blue").len(), 0);
    let refused = controller.refused();
    assert!(refused[&Subject::Mac(ls("blue"), mac(1))].contains("the TOR's own address 192.0.2.100"));
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    assert!(controller.refused().is_empty());
}

#[tokio::test]
async fn what_others_change_in_our_table_is_put_right() {
    let (server, mut controller) = blue().await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    server.ctl(&["del-ucast-remote", "blue", "02:00:00:00:00:01"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:02", "192.0.2.8"]);
    controller.catch_up().await;
    controller.settle().await;
    let expected = BTreeMap::from([(mac(1).to_string(), "192.0.2.1".to_owned())]);
    assert_eq!(remote(&server, "blue"), expected);
}

#[tokio::test]
async fn a_restart_adopts_what_stands_there_and_writes_only_differences() {
    let (server, mut controller) = blue().await;
    for n in 0..50 {
        controller.tor.desired().put(&ls("blue"), mac(n), at("192.0.2.1"));
    }
    controller.settle().await;
    drop(controller);
    let mut after = Controller::observe(&server).await;
    if !after.lock().await {
        after.until("the lock", hardware_vtep::controller::Tor::is_owner).await;
    }
    after.network("blue", network(5000, &[])).await;
    let table = (0..50).map(|n| (mac(n), at(if n == 7 { "192.0.2.2" } else { "192.0.2.1" })));
    after.tor.desired().replace(&ls("blue"), true, table);
    after.settle().await;
    assert_eq!(after.transactions, 1);
    assert_eq!(remote(&server, "blue")[&mac(7).to_string()], "192.0.2.2");
}

#[tokio::test]
async fn a_locator_that_another_client_makes_meanwhile_fails_us_once_and_is_then_used() {
    let (server, mut controller) = blue().await;
    controller.tor.desired().put(&ls("blue"), mac(1), at("192.0.2.1"));
    let batch = controller.tor.next_batch().expect("there is something to write");
    server.ctl(&["add-ls", "red", "--", "add-ucast-remote", "red", "02:00:00:00:00:99", "192.0.2.1"]);
    let handle = controller.handle.clone();
    let failed = controller.reply(handle.transact(batch.transaction().clone())).await;
    let Err(TransactError::Outcome(error)) = failed else { panic!("{failed:?}") };
    assert!(error.to_string().contains("constraint violation"), "{error}");
    assert_eq!(controller.tor.failed(&batch, &error), Failed::Refused);
    controller.settle().await;
    assert!(controller.refused().is_empty());
    assert_eq!((remote(&server, "blue").len(), controller.locators().len()), (1, 1));
}
