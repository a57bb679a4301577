//! MACs that stay where they are though others claim them: one that moved too often, one that is pinned, and those that a
//! VTEP claimed in a storm. Whoever rules the network keeps them there.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use vtep_api::MacAddr;
use vtep_tests::{deadline::wait_for, lab::Controller, ovsdb::OvsdbServer};

use super::{
    rig::{NETWORK, SOON, TOR_1, TOR_2, TOR_3},
    watch::Watch,
};

const FROZEN: MacAddr = MacAddr::new([2, 0, 3, 0, 0, 1]);
const PINNED: MacAddr = MacAddr::new([2, 0, 3, 0, 0, 2]);
/// So many moves freeze a MAC; there and back is fewer.
const MOVES: usize = 4;
/// More than the changes that go on all the time take within [`TAKES_SECS`].
const TAKES_MAX: u16 = 100;
const TAKES_SECS: u16 = 10;
const STORM: u16 = TAKES_MAX + 10;

/// For the declared file.
pub(crate) fn policy() -> String {
    format!(
        "duplicate = {{ action = \"freeze\", moves = {MOVES}, window_secs = 3600, recover_secs = 86400 }}\n\
         storm = {{ takes_max = {TAKES_MAX}, window_secs = {TAKES_SECS} }}\n"
    )
}

/// All are behind the first TOR, and are claimed elsewhere.
pub(crate) struct Held {
    second: Arc<OvsdbServer>,
    first_of_storm: MacAddr,
}

impl Held {
    /// Returns where they are, too.
    pub(crate) fn hold(
        [first, second, third]: &[Arc<OvsdbServer>; 3],
        logical: &Controller,
        receiver: &Watch,
    ) -> (Self, BTreeMap<MacAddr, Ipv4Addr>) {
        let arrives = |mac: MacAddr, at: Ipv4Addr| {
            wait_for("a MAC where it was claimed", SOON, || {
                (receiver.present().get(&mac) == Some(&at)).then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}: {mac} at {at}"));
        };
        for turn in 0..=MOVES {
            let (tor, at) = if turn % 2 == 0 { (first, TOR_1) } else { (second, TOR_2) };
            claim(tor, FROZEN, at);
            arrives(FROZEN, at);
        }
        logical.print(&["pin", NETWORK, &PINNED.to_string(), "tor1"]).unwrap();
        claim(second, PINNED, TOR_2);
        arrives(PINNED, TOR_1);
        let storm: Vec<_> = (0..STORM).map(of_storm).collect();
        let claims = |at: Ipv4Addr| {
            let words = storm.iter().map(|mac| format!("add-ucast-local {NETWORK} {mac} {at}"));
            words.collect::<Vec<_>>().join(" -- ")
        };
        first.vtep_ctl(&claims(TOR_1)).unwrap();
        for mac in &storm {
            arrives(*mac, TOR_1);
        }
        third.vtep_ctl(&claims(TOR_3)).unwrap();
        let held = Self { second: Arc::clone(second), first_of_storm: storm[0] };
        held.claim_again();
        held.expect_by(logical);
        wait_for("the storm guard", SOON, || {
            let conflicts = logical.json(&["conflicts"]).ok()?;
            conflicts.as_array()?.iter().find(|row| row["kind"] == "set_aside").map(drop)
        })
        .unwrap();
        let all = storm.into_iter().chain([FROZEN, PINNED]).map(|mac| (mac, TOR_1)).collect();
        (held, all)
    }

    /// Who claims them in vain does so again, as something new.
    pub(crate) fn claim_again(&self) {
        for mac in [FROZEN, PINNED] {
            claim(&self.second, mac, TOR_2);
        }
    }

    /// Who rules the network knows what holds them, and where.
    #[track_caller]
    pub(crate) fn expect_by(&self, logical: &Controller) {
        let known =
            [(FROZEN, "duplicate"), (PINNED, "pinned"), (self.first_of_storm, "masters or set aside")];
        for (mac, kind) in known {
            let told = wait_for("a MAC that is held", SOON, || {
                let conflicts = logical.json(&["conflicts"]).ok()?;
                let mut rows = conflicts.as_array()?.iter().filter(|row| row["mac"] == mac.to_string());
                rows.any(|row| {
                    let alike = row["kind"] == kind || mac == self.first_of_storm;
                    alike && row["master"] == "tor1"
                })
                .then_some(())
            });
            told.unwrap_or_else(|error| {
                panic!("{error}: {mac} as {kind} at tor1, in {:?}", logical.json(&["conflicts"]))
            });
        }
    }
}

fn of_storm(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 0, 4, 0, high, low])
}

/// As a new row, whatever was there.
fn claim(tor: &OvsdbServer, mac: MacAddr, at: Ipv4Addr) {
    tor.vtep_ctl(&format!("del-ucast-local {NETWORK} {mac} -- add-ucast-local {NETWORK} {mac} {at}"))
        .unwrap();
}
