//! What a receiver may see of a MAC that appears behind the first TOR, moves to the second, and goes. It may miss some of
//! it; whatever it saw comes never back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use vtep_api::MacAddr;

use super::rig::{TOR_1, TOR_2};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    AtFirst,
    /// Withdrawn there before it was claimed elsewhere.
    Between,
    AtSecond,
    Gone,
}

/// Of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    reached: BTreeMap<MacAddr, Stage>,
    pub(crate) violations: Vec<String>,
}

impl Stages {
    /// Where the MAC is from now on; `None`: nowhere.
    pub(crate) fn see(&mut self, mac: MacAddr, at: Option<Ipv4Addr>) {
        let before = self.reached.get(&mac).copied();
        let stage = match (before, at) {
            (None, None) => return,
            (_, Some(TOR_1)) => Stage::AtFirst,
            (_, Some(TOR_2)) => Stage::AtSecond,
            (Some(Stage::AtFirst | Stage::Between), None) => Stage::Between,
            (_, None) => Stage::Gone,
            (_, Some(elsewhere)) => {
                self.violations.push(format!("{mac} is at {elsewhere}, where nobody claimed it"));
                return;
            }
        };
        if before.is_some_and(|before| stage < before) {
            self.violations.push(format!("{}: {mac} is {stage:?} and was {before:?}", utc()));
        }
        self.reached.insert(mac, stage);
    }

    /// All that there is, at one time.
    pub(crate) fn see_all(&mut self, present: &BTreeMap<MacAddr, Ipv4Addr>) {
        let absent: Vec<_> = self.reached.keys().filter(|mac| !present.contains_key(mac)).copied().collect();
        for mac in absent {
            self.see(mac, None);
        }
        for (mac, at) in present {
            self.see(*mac, Some(*at));
        }
    }
}

/// As logs have it.
pub(crate) fn utc() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}", since.subsec_millis())
}

#[test]
fn what_was_seen_comes_never_back() {
    let mac = MacAddr::new([2, 0, 1, 0, 0, 1]);
    let good = [Some(TOR_1), None, Some(TOR_2), Some(TOR_2), None];
    let mut stages = Stages::default();
    for at in good {
        stages.see(mac, at);
    }
    assert!(stages.violations.is_empty());
    for bad in [
        &[Some(TOR_2), Some(TOR_1)][..],
        &[Some(TOR_1), None, Some(TOR_1)],
        &[Some(TOR_2), None, Some(TOR_2)],
        &[Some(Ipv4Addr::LOCALHOST)],
    ] {
        let mut stages = Stages::default();
        for at in bad {
            stages.see(mac, *at);
        }
        assert_eq!(stages.violations.len(), 1, "{bad:?}");
    }
}
