//! The command line without a daemon: messages and exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
[underlay]
address = "192.0.2.1"
uplinks = ["no-such-uplink"]
[source]
kind = "file"
path = "TABLE"
[control]
socket = "SOCKET"
"#;

fn agent(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vtep-agent"));
    for variable in ["VTEPD_SOCKET", "VTEPD_CONFIG", "VTEPD_LOG_LEVEL", "VTEPD_LOG_FORMAT"] {
        command.env_remove(variable);
    }
    command.args(words).output().unwrap()
}

/// The exit code, and text that must stand in what was printed.
#[track_caller]
fn check(words: &[&str], code: i32, expected: &[&str]) {
    let Output { status, stdout, stderr } = agent(words);
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{text}");
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn write(directory: &Path, config: &str, table: &str) -> String {
    let path = directory.join("agent.toml");
    let table_path = directory.join("table.toml");
    std::fs::write(&table_path, table).unwrap();
    let config = config.replace("TABLE", table_path.to_str().unwrap());
    std::fs::write(&path, config.replace("SOCKET", directory.join("s").to_str().unwrap())).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_failure_has_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody");
    let socket = socket.to_str().unwrap();
    check(&["status", "--socket", socket], 4, &["no agent answers at", socket]);
    check(&["fdb", "show", "--json", "--socket", socket], 4, &["no agent answers at"]);
    check(&["fdb", "show", "--colour"], 2, &["--colour"]);
    check(&["fdb", "get", "5001", "--socket", socket], 2, &["<MAC>"]);
    check(&["run", "--config", "/no/such/file.toml"], 1, &["/no/such/file.toml cannot be read"]);
    check(&["--help"], 0, &["Exit codes: 0 ok"]);
}

#[test]
fn an_unknown_key_stops_run_with_line_and_caret() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &format!("{CONFIG}\n[log]\nlevl = \"info\"\n"), "version = 1");
    check(&["run", "--config", &path], 1, &["line 12", "levl", "^"]);
}

#[test]
fn check_lists_everything_that_is_wrong_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let table = "version = 1\n[[logical_switch]]\nname = 'blue'\nvni = 16777216\n[[vtep]]\nname='a'\naddress='ff02::1'";
    let path = write(directory.path(), CONFIG, table);
    let expected = [
        "uplink no-such-uplink: no such interface",
        "address 192.0.2.1: no interface has it",
        "logical_switch[0].vni: \"16777216\"; expected 1 to 16777215",
        "vtep[0].address",
    ];
    check(&["check", "--config", &path], 5, &expected);
    check(&["check", "--config", "/no/such/file.toml"], 5, &["cannot be read"]);
    write(directory.path(), CONFIG, "version = 1\n[[logical_switch]]\nname = ");
    check(&["check", "--config", &path], 5, &["is no table", "line 3"]);
}

#[test]
fn config_show_tells_the_origin_of_each_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), CONFIG, "version = 1");
    let words = ["config", "show", "--origin", "--config", &path, "--log-level", "debug"];
    let expected =
        ["log.level = \"debug\"  # flag", "underlay.ttl = 64  # default", "source.kind = \"file\"  # file"];
    check(&words, 0, &expected);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vtep-agent"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}
