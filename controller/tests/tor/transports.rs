//! TORs that are reached by TLS, and TORs that reach us.

use vtep_tests::netns::Netns;
use vtep_tests::ovsdb::OvsdbServer;
use vtep_tests::pki::Pki;

use super::MAC;
use super::rig::{SOON, Site, Tor, declared};

/// A TOR's server, and how the controller comes by it.
fn server(netns: &Netns, pki: &Pki, remote: &str) -> OvsdbServer {
    if remote.contains("ssl") {
        OvsdbServer::start_secure_in(netns, &[remote], pki.issue("tor").unwrap()).unwrap()
    } else {
        OvsdbServer::start_in(netns, &[remote]).unwrap()
    }
}

#[test]
fn macs_pass_between_tors_of_all_kinds_of_connections() {
    let pki = Pki::new().unwrap();
    let section = format!("\n[ovsdb.tls]\n{}\n", pki.issue("c1").unwrap().lines());
    let site = Site::edited("version = 1\n", |text| text + &section).unwrap();
    // The TOR's remote, and the controller's.
    let kinds = [
        ("pssl:6641:127.0.0.1", "ssl:127.0.0.1:6641"),
        ("tcp:127.0.0.1:6642", "ptcp:6642:127.0.0.1"),
        ("ssl:127.0.0.1:6643", "pssl:6643:127.0.0.1"),
        ("ptcp:6644:127.0.0.1", "tcp:127.0.0.1:6644"),
    ];
    let mut tors: Vec<Tor> = (1..)
        .zip(kinds)
        .map(|(number, (theirs, _))| Tor::with(server(&site.netns, &pki, theirs), number).unwrap())
        .collect();
    let bound = tors.iter().map(|tor| (tor, "p1", 0)).collect();
    let mut text = declared("", &tors, &[("ls0", 5000, bound)]);
    for (tor, (_, ours)) in tors.iter().zip(kinds) {
        text = text.replace(&tor.ovsdb.remote(), ours);
    }
    site.controller.apply(&text).unwrap();
    tors.iter().try_for_each(|tor| tor.wait_for_switch("ls0")).unwrap();

    let macs: Vec<String> = (1..=tors.len()).map(|last| format!("02:00:00:00:00:{last:02x}")).collect();
    for (tor, mac) in tors.iter().zip(&macs) {
        tor.claim("ls0", mac).unwrap();
    }
    let check = |tors: &[Tor]| {
        for (at, tor) in tors.iter().enumerate() {
            let others: Vec<(&str, &Tor)> = macs
                .iter()
                .map(String::as_str)
                .zip(tors)
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, pair)| pair)
                .collect();
            tor.expect("ls0", &others, SOON);
        }
    };
    check(&tors);
    assert_eq!(macs[0], MAC);
    // Who dials us dials again; who is dialled is dialled again.
    for tor in &mut tors {
        tor.ovsdb.restart().unwrap();
    }
    let [first, second, ..] = tors.as_slice() else { unreachable!() };
    second.withdraw("ls0", &macs[1]).unwrap();
    wait_for_removal(first, &macs[1]);
    second.claim("ls0", &macs[1]).unwrap();
    check(&tors);
}

#[track_caller]
fn wait_for_removal(tor: &Tor, mac: &str) {
    vtep_tests::deadline::wait_for("the removal", SOON, || {
        tor.remote("ls0").is_ok_and(|macs| !macs.contains_key(mac)).then_some(())
    })
    .unwrap();
}
