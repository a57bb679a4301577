//! MACs where a VTEP takes no part, and tunnel addresses that are somebody else's: set aside by name, and not lost.

use vtep_api::{
    Change, FromVtep, Inventory, LocalMac, LogicalSwitchName, MacAddr, Origin, PROTOCOL, Role, ToVtep,
    VtepState,
};
use vtep_tests::deadline::wait_for;

use super::MAC;
use super::peers::{HOSTS, Session, connect, hello, inside};
use super::rig::{SOON, Site, Tor, both, declared};

#[track_caller]
fn wait_for_words(site: &Site, command: &str, words: &[&str]) {
    let mut last = String::new();
    let said = wait_for("the words", SOON, || {
        last = site.controller.print(&[command]).unwrap_or_default();
        words.iter().all(|word| last.contains(word)).then_some(())
    });
    assert!(said.is_ok(), "{words:?} are not all in:\n{last}");
}

#[test]
fn a_tors_rows_in_a_switch_that_it_is_not_bound_to_wait_until_it_is() {
    let (a, b, c) = (Tor::new(1).unwrap(), Tor::new(2).unwrap(), Tor::new(3).unwrap());
    // Somebody else made a switch of that name there.
    c.ctl("add-ls ls0 -- set Logical_Switch ls0 tunnel_key=5000").unwrap();
    c.claim("ls0", MAC).unwrap();
    let [(name, vni, mut bound)] = both(&a, &b);
    let site = Site::new(&declared("", [&a, &b, &c], &both(&a, &b))).unwrap();
    [&a, &b].into_iter().try_for_each(|tor| tor.wait_for_switch("ls0")).unwrap();
    wait_for_words(&site, "vteps", &["tor3", "logical switch ls0: its MACs are kept back"]);
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    b.expect("ls0", &[("02:00:00:00:00:02", &a)], SOON);
    assert!(!site.controller.print(&["fdb"]).unwrap().contains(MAC));

    bound.push((&c, "p1", 0));
    site.controller.apply(&declared("", [&a, &b, &c], &[(name, vni, bound)])).unwrap();
    a.expect("ls0", &[(MAC, &c)], SOON);
    c.expect("ls0", &[("02:00:00:00:00:02", &a)], SOON);
    wait_for("the message to go", SOON, || {
        let vteps = site.controller.print(&["vteps"]).ok()?;
        (!vteps.contains("kept back")).then_some(())
    })
    .unwrap();
}

fn subscribed(vteps: &[&str]) -> String {
    let row = |vtep: &&str| format!("[[subscription]]\nvtep = \"{vtep}\"\nlogical_switch = \"ls0\"\n");
    format!("{HOSTS}[[vtep]]\nname = \"hv2\"\n{}", vteps.iter().map(row).collect::<String>())
}

async fn begin(session: &Session, name: &str, address: [u8; 4], macs: &[MacAddr]) {
    let local = LocalMac { role: Role::Master, origin: Some(Origin(1)), ..LocalMac::default() };
    let records = macs.iter().map(|mac| (*mac, Some(local.clone()))).collect();
    let networks = vec![(LogicalSwitchName::try_from("ls0").unwrap(), records)];
    session.say(hello(PROTOCOL, name)).await;
    session.say(FromVtep::State(VtepState { address: Some(address.into()), ..VtepState::default() })).await;
    session.say(FromVtep::Inventory(Inventory { snapshot: true, networks, end: true })).await;
}

#[test]
fn an_agents_macs_in_a_network_it_is_not_in_wait_until_it_is() {
    let site = Site::new(&subscribed(&["hv2"])).unwrap();
    let mac: MacAddr = MAC.parse().unwrap();
    let master = inside(&site, async || {
        let channel = connect("http://127.0.0.1:9480", None).await;
        let (hv1, mut hv2) = (Session::open(channel.clone()).await, Session::open(channel).await);
        begin(&hv1, "hv1", [192, 0, 2, 21], &[mac]).await;
        begin(&hv2, "hv2", [192, 0, 2, 22], &[]).await;
        wait_for_words(&site, "vteps", &["hv1", "logical switch ls0: its MACs are kept back"]);
        assert!(!site.controller.print(&["fdb"]).unwrap().contains(MAC));
        site.controller.apply(&subscribed(&["hv1", "hv2"])).unwrap();
        loop {
            let Some(ToVtep::Table(update)) = hv2.hear().await.unwrap() else { continue };
            if let Some((_, Change::Put(row))) = update.changes.into_iter().find(|(told, _)| *told == mac) {
                return row.placement.master.clone();
            }
        }
    });
    assert_eq!(master.as_str(), "hv1");
}

#[test]
fn of_two_tors_with_one_tunnel_address_the_first_works_on_and_the_other_is_named() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let mut c = Tor::new(3).unwrap();
    let [(name, vni, mut bound)] = both(&a, &b);
    bound.push((&c, "p1", 0));
    let site = Site::new(&declared("", [&a, &b, &c], &[(name, vni, bound)])).unwrap();
    [&a, &b, &c].into_iter().try_for_each(|tor| tor.wait_for_switch("ls0")).unwrap();
    b.expect_flood("ls0", &[&a, &c]);
    c.ctl("set Physical_Switch tor3 tunnel_ips=192.0.2.1").unwrap();
    let conflict = "its tunnel address 192.0.2.1 is that of tor1";
    wait_for_words(&site, "alarms", &["address_conflict", "tor3", conflict]);
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    b.expect_flood("ls0", &[&a]);
    // And it is over when it has one of its own again.
    c.address = [192, 0, 2, 33].into();
    c.ctl("set Physical_Switch tor3 tunnel_ips=192.0.2.33").unwrap();
    b.expect_flood("ls0", &[&a, &c]);
    assert!(!site.controller.print(&["alarms"]).unwrap().contains("192.0.2.1"));
}
