//! Somebody else writes into the agent's maps: it is found, told and mended.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::host::{Host, PATIENCE};

const TABLE: &str = r#"
version = 1
vtep = [{ name = "a", address = "192.0.2.11" }, { name = "b", address = "192.0.2.12" }]
logical_switch = [{ name = "blue", vni = 5001 }, { name = "red", vni = 5002 }]
mac = [
    { logical_switch = "blue", mac = "02:00:00:00:00:01", master = "a", slave = "b" },
    { logical_switch = "blue", mac = "02:00:00:00:00:02", master = "b" },
    { logical_switch = "red", mac = "02:00:00:00:00:03", master = "b" },
]
binding = [{ port = "tap0", logical_switch = "blue" }]
"#;

struct Vandal<'a> {
    host: &'a Host,
}

impl Vandal<'_> {
    fn pin(&self, map: &str) -> PathBuf {
        let found = Command::new("find").arg(self.host.pins()).args(["-name", map]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        PathBuf::from(found.lines().next().unwrap_or_else(|| panic!("no pin of {map}")))
    }

    /// Keys and values as bytes in hexadecimal.
    fn dump(&self, map: &str) -> Vec<(Vec<String>, Vec<String>)> {
        let mut dump = Command::new("bpftool");
        let dump = dump.args(["-j", "map", "dump", "pinned"]).arg(self.pin(map)).output().unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&dump.stdout).unwrap();
        let bytes = |value: &Value| -> Vec<String> {
            let bytes = value.as_array().unwrap().iter();
            bytes.map(|byte| byte.as_str().unwrap().to_owned()).collect()
        };
        rows.iter().map(|row| (bytes(&row["key"]), bytes(&row["value"]))).collect()
    }

    fn write(&self, verb: &str, map: &str, key: &[String], value: Option<&[String]>) {
        let mut command = Command::new("bpftool");
        command.args(["map", verb, "pinned"]).arg(self.pin(map)).arg("key").args(key);
        if let Some(value) = value {
            command.arg("value").args(value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn start(mac_table: &str) -> (Host, vtep_tests::process::Daemon) {
    let host = Host::new(&format!("mac_table = \"{mac_table}\"\nmacs_max = 1000"));
    host.write("table.toml", TABLE);
    let mut daemon = host.start();
    daemon.wait_for("the proof", PATIENCE, || in_sync(&host)).unwrap();
    (host, daemon)
}

fn in_sync(host: &Host) -> Option<u64> {
    host.status()?["proof"]["in_sync_since"].as_u64()
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn vni_since(host: &Host, vni: &str) -> Option<u64> {
    host.json(&["vni", "show", vni])?[0]["in_sync_since"].as_u64()
}

/// Until what was done is mended, and proved to be.
fn mended(host: &Host, daemon: &mut vtep_tests::process::Daemon, before: u64) -> Vec<Value> {
    let enough = || {
        let found = host.status()?["proof"]["differences"].as_u64()?;
        (found > before && in_sync(host).is_some()).then_some(())
    };
    daemon.wait_for("the repair", PATIENCE, enough).unwrap();
    host.json(&["diff", "--past"]).unwrap().as_array().unwrap().clone()
}

fn told<'a>(rows: &'a [Value], map: &str, kind: &str) -> Vec<&'a str> {
    let rows = rows.iter().filter(|row| row["map"] == map && row["kind"] == kind);
    rows.map(|row| row["key"].as_str().unwrap()).collect()
}

#[test]
fn entries_that_others_wrote_are_found_told_and_mended() {
    let (host, mut daemon) = start("hash");
    let vandal = Vandal { host: &host };
    let (blue, red) = (vni_since(&host, "5001"), vni_since(&host, "5002"));
    let entries = vandal.dump("FDB");
    let of = |mac: &str| entries.iter().find(|(key, _)| key[9] == mac && key[4] == "0x02").unwrap();
    let ((first, first_value), (second, _)) = (of("0x01"), of("0x02"));
    // "Since" counts seconds: what begins anew must be seen to be later.
    let next_second = || (unix_secs() > blue.max(red)?).then_some(());
    daemon.wait_for("the next second", PATIENCE, next_second).unwrap();
    vandal.write("delete", "FDB", first, None);
    vandal.write("update", "FDB", second, Some(first_value));
    let mut stranger = first.clone();
    "0x77".clone_into(&mut stranger[9]);
    vandal.write("update", "FDB", &stranger, Some(first_value));

    let rows = mended(&host, &mut daemon, 2);
    assert_eq!(told(&rows, "FDB", "missing"), ["02:00:00:00:00:01"]);
    assert_eq!(told(&rows, "FDB", "different"), ["02:00:00:00:00:02"]);
    assert_eq!(told(&rows, "FDB", "superfluous"), ["02:00:00:00:00:77"]);
    let mut after = vandal.dump("FDB");
    let mut before = entries.clone();
    after.sort();
    before.sort();
    assert_eq!(after, before);
    assert!(vni_since(&host, "5001") > blue, "blue's proof begins anew");
    assert_eq!(vni_since(&host, "5002"), red, "red's does not");
    assert!(host.json(&["diff"]).unwrap().as_array().unwrap().is_empty());
}

#[test]
fn a_bucket_that_others_cleared_is_filled_again() {
    let (host, mut daemon) = start("bucketed");
    let vandal = Vandal { host: &host };
    let is_free = |value: &[String]| value.iter().all(|byte| byte == "0x00");
    let zeros = vec!["0x00".to_owned(); 64];
    for (key, _) in vandal.dump("MACTAB").iter().filter(|(_, value)| !is_free(value)) {
        vandal.write("update", "MACTAB", key, Some(&zeros));
    }
    let rows = mended(&host, &mut daemon, 3);
    let mut missing = told(&rows, "FDB", "missing");
    missing.sort_unstable();
    let macs = ["00:01", "00:02", "00:03", "00:aa"].map(|end| format!("02:00:00:00:{end}"));
    assert_eq!(missing, macs);
    for (vni, mac) in [("5001", &macs[0]), ("5001", &macs[1]), ("5002", &macs[2]), ("5001", &macs[3])] {
        assert!(host.json(&["fdb", "get", vni, mac]).is_some(), "{mac} is in the kernel");
    }
}

#[test]
fn other_tables_are_proved_too_and_a_difference_shows_while_it_lasts() {
    let (host, mut daemon) = start("hash");
    let vandal = Vandal { host: &host };
    let senders = vandal.dump("VTEP_BY_IP");
    let mut found = 0;
    // The agent may be quicker than the question.
    let seen = daemon.wait_for("the difference", PATIENCE, || {
        found = host.status()?["proof"]["differences"].as_u64()?;
        vandal.write("delete", "VTEP_BY_IP", &senders[0].0, None);
        let output = host.ask(&["diff"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
        (output.status.code() == Some(5)).then_some(rows)
    });
    assert_eq!(told(&seen.unwrap(), "VTEP_BY_IP", "missing").len(), 1);
    mended(&host, &mut daemon, found);
    let sorted = |mut rows: Vec<_>| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(vandal.dump("VTEP_BY_IP")), sorted(senders));
}
