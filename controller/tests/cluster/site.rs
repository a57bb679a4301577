//! etcd, logical and physical controllers in a namespace, TORs beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;
use vtep_tests::deadline::wait_for;
use vtep_tests::etcd::Etcd;
use vtep_tests::lab::{Controller, ControllerConfig, ControllerRole};
use vtep_tests::netns::Netns;
use vtep_tests::pki::Pki;

use super::tors::{SOON, Tor, listen};

pub(crate) struct Site {
    pub(crate) controllers: BTreeMap<&'static str, Controller>,
    pub(crate) etcd: Etcd,
    netns: Netns,
}

/// Who has a shard, and by which term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) holder: String,
    pub(crate) term: u64,
}

impl Site {
    /// Of each controller its name and role.
    pub(crate) fn new(members: u16, controllers: &[(&'static str, ControllerRole)]) -> Self {
        Self::with(members, controllers, 3, None)
    }

    pub(crate) fn with(
        members: u16,
        controllers: &[(&'static str, ControllerRole)],
        lease_secs: u16,
        pki: Option<&Pki>,
    ) -> Self {
        Self::with_endpoints(members, controllers, lease_secs, pki, |_, all| all.to_vec())
    }

    /// `reached`: of the endpoints of all members those that a controller knows.
    pub(crate) fn with_endpoints(
        members: u16,
        controllers: &[(&'static str, ControllerRole)],
        lease_secs: u16,
        pki: Option<&Pki>,
        reached: impl Fn(&str, &[String]) -> Vec<String>,
    ) -> Self {
        let netns = Netns::new("cluster").unwrap();
        let etcd = Etcd::start(&netns, members).unwrap();
        let all = etcd.endpoints();
        let started = controllers.iter().zip(9500..).map(|(&(name, role), port)| {
            let listen = listen(port);
            let tls = pki.map(|pki| pki.issue_at(name, listen.ip()).unwrap());
            let config = ControllerConfig { name, role, listen, tls: tls.as_ref(), logical: &[] };
            let mut controller = Controller::new(&netns, &config).unwrap();
            let mut text = fs::read_to_string(controller.config_path()).unwrap();
            let store = format!("kind = \"etcd\"\nshards = 4\nlease_secs = {lease_secs}");
            write!(text, "\n[store]\n{store}\nendpoints = {:?}\n", reached(name, &all)).unwrap();
            fs::write(controller.config_path(), text).unwrap();
            controller.start().unwrap();
            (name, controller)
        });
        let controllers = started.collect();
        Self { controllers, etcd, netns }
    }

    pub(crate) fn at(&mut self, name: &str) -> &mut Controller {
        self.controllers.get_mut(name).unwrap()
    }

    /// Declares a file; asked again while etcd is too slow for a lease of these to tell whether it has it.
    #[track_caller]
    pub(crate) fn apply(&self, asked: &str, declared: &str) {
        asked_until_known(|| self.controllers[asked].apply(declared));
    }

    /// Moves a shard or a VTEP; asked again as with a file.
    #[track_caller]
    pub(crate) fn move_office(&self, asked: &str, which: &[&str]) {
        asked_until_known(|| self.controllers[asked].print(&[&["move"], which].concat()));
    }

    /// The shard of a logical switch, as somebody who runs sees it.
    pub(crate) fn reign(&self, asked: &str, switch: &str) -> Option<(u64, Reign)> {
        let rows = self.controllers[asked].json(&["shards"]).ok()?;
        let row = rows.as_array()?.iter().find(|row| {
            row["logical_switches"].as_array().is_some_and(|all| all.iter().any(|name| name == switch))
        })?;
        let reign = Reign { holder: row["holder"].as_str()?.to_owned(), term: row["term"].as_u64()? };
        Some((row["shard"].as_u64()?, reign))
    }

    /// Who serves a VTEP.
    pub(crate) fn server(&self, asked: &str, vtep: &str) -> Option<Reign> {
        let rows = self.controllers[asked].json(&["shards", "--vteps"]).ok()?;
        let row = rows.as_array()?.iter().find(|row| row["vtep"] == vtep)?.clone();
        Some(Reign { holder: row["holder"].as_str()?.to_owned(), term: row["term"].as_u64()? })
    }

    /// What `members` says of one.
    pub(crate) fn member(&self, asked: &str, name: &str) -> Option<Value> {
        let rows = self.controllers[asked].json(&["members"]).ok()?;
        rows.as_array()?.iter().find(|row| row["name"] == name).cloned()
    }

    pub(crate) fn wait_server(&self, asked: &str, vtep: &str, good: impl Fn(&Reign) -> bool) -> Reign {
        let found = wait_for("another server", SOON, || self.server(asked, vtep).filter(|reign| good(reign)));
        found.unwrap_or_else(|error| panic!("{error}: {:?}", self.server(asked, vtep)))
    }

    /// Inside the namespace.
    pub(crate) fn inside<T: Send>(&self, conversation: impl AsyncFnOnce() -> T + Send) -> T {
        let run = || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(conversation())
        };
        self.netns.within(run).unwrap()
    }

    /// Where a controller listens.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("http://{}", self.member(name, name).unwrap()["address"].as_str().unwrap())
    }

    pub(crate) fn wait_reign(&self, asked: &str, switch: &str, good: impl Fn(&Reign) -> bool) -> Reign {
        let found = wait_for("another reign", SOON, || {
            self.reign(asked, switch).map(|(_, reign)| reign).filter(|reign| good(reign))
        });
        found.unwrap_or_else(|error| panic!("{error}: {:?}", self.reign(asked, switch)))
    }

    pub(crate) fn signal(&mut self, name: &str, signal: Signal) {
        self.at(name).daemon().unwrap().signal(signal).unwrap();
    }

    /// Of the physical controller's view of a logical switch.
    pub(crate) fn network(&self, physical: &str, switch: &str) -> Option<Value> {
        let rows = self.controllers[physical].json(&["ls"]).ok()?;
        rows.as_array()?.iter().find(|row| row["logical_switch"] == switch).cloned()
    }

    /// That a physical controller knows the term of who holds the logical switch. Offices may change hands once
    /// more before they rest.
    pub(crate) fn wait_term(&self, physical: &str, asked: &str, switch: &str) {
        let known = || self.network(physical, switch)?["term"].as_u64();
        let held = || self.reign(asked, switch).map(|(_, reign)| reign.term);
        let agreed = wait_for("the physical controller and the shard to agree on the term", SOON, || {
            (known()? == held()?).then_some(())
        });
        agreed
            .unwrap_or_else(|error| panic!("{error}: {:?} and {:?}", self.network(physical, switch), held()));
    }
}

#[track_caller]
fn asked_until_known<T>(ask: impl Fn() -> Result<T>) {
    let mut open = None;
    let known = wait_for("whether it is done", SOON, || {
        let Err(error) = ask() else { return Some(()) };
        let text = format!("{error:#}");
        let is_open = text.contains("whether ") && text.contains("is not known");
        // What the attempt before has done after all looks like somebody else's.
        assert!(is_open || (open.is_some() && text.contains("at the same time")), "{text}");
        open = Some(text);
        None
    });
    known.unwrap_or_else(|error| panic!("{error}: {open:?}"));
}

/// That both TORs keep seeing each other's MACs, row by row: none is written anew.
pub(crate) struct Rows<'a> {
    tors: [&'a Tor; 2],
    before: [BTreeMap<String, String>; 2],
}

impl<'a> Rows<'a> {
    pub(crate) fn of(tors: [&'a Tor; 2]) -> Self {
        Self { tors, before: tors.map(|tor| tor.rows().unwrap()) }
    }

    #[track_caller]
    pub(crate) fn expect_unchanged(&self) {
        for (tor, before) in self.tors.iter().zip(&self.before) {
            let after = tor.rows().unwrap();
            for (row, version) in before {
                assert_eq!(after.get(row), Some(version), "{row} of {} was touched", tor.name);
            }
        }
    }
}
