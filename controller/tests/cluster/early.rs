//! etcd is not there: when a controller begins, and while it runs. Operators see that from the begin on.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::ControllerRole::{Both, Physical};

use super::physical::HOST;
use super::site::Site;
use super::tors::SOON;

fn alarms(site: &Site, name: &str) -> Vec<Value> {
    // Not all of them, while the others are not known.
    let told = site.controllers[name].command(&["alarms", "--json"]).unwrap();
    let alarms: Value = serde_json::from_slice(&told.stdout).unwrap();
    let rows = alarms.as_array().unwrap().iter();
    rows.filter(|row| row["missing"].is_null()).map(|alarm| alarm["kind"].clone()).collect()
}

/// Who does not reach etcd cannot know who else would have to be asked.
#[track_caller]
fn expect_not_whole(site: &Site, name: &str) {
    for format in [&["alarms"][..], &["alarms", "--json"]] {
        let told = site.controllers[name].command(format).unwrap();
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(6), "{name}: {told:?}");
        let named = said.contains("this is not all") && said.contains("who they are is not known");
        assert!(named && said.contains("etcd at"), "{name}: {said}");
    }
}

#[test]
fn a_controller_that_begins_without_etcd_answers_takes_signals_and_goes_on_when_etcd_comes() {
    let mut site = Site::new(1, &[("c1", Both), ("p1", Physical)]);
    site.apply("c1", HOST);
    for name in ["c1", "p1"] {
        site.at(name).kill().unwrap();
    }
    site.etcd.kill(0).unwrap();
    for name in ["c1", "p1"] {
        site.at(name).launch().unwrap();
        let waits = wait_for("why it is not ready", SOON, || {
            let status = site.controllers[name].json(&["status"]).unwrap();
            assert_eq!((&status["ready"], &status["term"]), (&false.into(), &0.into()), "{status}");
            let waits = status["waits_for"][0].as_str().unwrap().to_owned();
            waits.contains("membership in the cluster: etcd at").then_some(waits)
        });
        let waits = waits.unwrap();
        let (status, body) = site.controllers[name].readyz().unwrap();
        assert!(status.contains("503") && body.contains("membership in the cluster: etcd at"), "{body}");
        assert_eq!(alarms(&site, name), ["cluster_away"], "{waits}");
        expect_not_whole(&site, name);
        let metrics = site.controllers[name].metrics().unwrap();
        for line in ["vtepd_controller_ready 0", "vtepd_controller_alarms{kind=\"cluster_away\"} 1"] {
            assert!(metrics.contains(line), "{metrics}");
        }
        let refused = site.at(name).command(&["fdb"]).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("waits for membership in the cluster"), "{said}");
        // It lives on by SIGHUP.
        site.signal(name, Signal::SIGHUP);
        site.at(name).daemon().unwrap().wait_for_log("the configuration was read again", SOON).unwrap();
    }
    let ended = site.at("p1").daemon().unwrap().terminate(SOON).unwrap();
    assert!(ended.success(), "{ended}");
    site.etcd.restart(0).unwrap();
    wait_for("its offices", SOON, || site.server("c1", "hv1").filter(|reign| reign.holder == "c1")).unwrap();
    wait_for("no alarm of the cluster", SOON, || {
        (!alarms(&site, "c1").contains(&"cluster_away".into())).then_some(())
    })
    .unwrap();
    wait_for("the whole answer", SOON, || site.controllers["c1"].json(&["alarms"]).ok()).unwrap();
}

#[test]
fn a_controller_that_divides_the_logical_switches_otherwise_is_no_member_and_says_why_once() {
    // An etcd that is silent for a third of the lease is another reason to complain of.
    let mut site = Site::with(1, &[("c1", Both), ("c2", Both)], 15, None);
    site.apply("c1", HOST);
    site.at("c2").kill().unwrap();
    let path = site.at("c2").config_path();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("shards = 4", "shards = 5")).unwrap();
    site.at("c2").launch().unwrap();
    let reason = "store.shards is 5; expected 4, as the cluster was made";
    wait_for("the reason", SOON, || {
        site.controllers["c2"].readyz().ok().filter(|(_, body)| body.contains(reason))
    })
    .unwrap();
    site.wait_server("c1", "hv1", |reign| reign.holder == "c1");
    let members = site.at("c1").json(&["members"]).unwrap();
    wait_for("one member", SOON, || {
        let members = site.controllers["c1"].json(&["members"]).ok()?;
        (members.as_array()?.len() == 1).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {members}"));
    let log = site.at("c2").daemon().unwrap().log().unwrap();
    assert_eq!(log.matches(reason).count(), 1, "{log}");
    fs::write(&path, text).unwrap();
    site.at("c2").kill().unwrap();
    site.at("c2").start().unwrap();
}

#[test]
fn an_outage_of_etcd_is_an_alarm_and_a_reason_to_be_not_ready_until_it_is_over() {
    let site = Site::new(1, &[("c1", Both)]);
    site.apply("c1", HOST);
    wait_for("its offices", SOON, || site.server("c1", "hv1")).unwrap();
    site.etcd.freeze(0).unwrap();
    wait_for("the alarm", SOON, || alarms(&site, "c1").contains(&"cluster_away".into()).then_some(()))
        .unwrap();
    expect_not_whole(&site, "c1");
    wait_for("the reason", SOON, || {
        let (status, body) = site.controllers["c1"].readyz().ok()?;
        (status.contains("503") && body.contains("membership in the cluster: etcd at")).then_some(())
    })
    .unwrap();
    expect_not_whole(&site, "c1");
    site.etcd.thaw(0).unwrap();
    wait_for("no alarm", SOON, || (!alarms(&site, "c1").contains(&"cluster_away".into())).then_some(()))
        .unwrap();
    wait_for("no such reason", SOON, || {
        let (_, body) = site.controllers["c1"].readyz().ok()?;
        (!body.contains("membership")).then_some(())
    })
    .unwrap();
    wait_for("the whole answer", SOON, || site.controllers["c1"].json(&["alarms"]).ok()).unwrap();
}
