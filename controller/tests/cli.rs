//! The command line without a daemon: messages and exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::process::{Command, Output, Stdio};

fn controller(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vtep-controller"));
    for variable in ["SOCKET", "CONFIG", "ROLE", "STATE", "RECORD"] {
        command.env_remove(format!("VTEPD_CONTROLLER_{variable}"));
    }
    command.env_remove("VTEPD_LOG_LEVEL").env_remove("VTEPD_LOG_FORMAT");
    command.args(words).output().unwrap()
}

/// The exit code, and text that must stand in what was printed.
#[track_caller]
fn check(words: &[&str], code: i32, expected: &[&str]) {
    let Output { status, stdout, stderr } = controller(words);
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{text}");
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn every_failure_has_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody");
    let socket = socket.to_str().unwrap();
    check(&["status", "--socket", socket], 4, &["no controller answers at", socket, "is it running?"]);
    check(&["fdb", "--json", "--socket", socket], 4, &["no controller answers at"]);
    check(
        &["explain", "blue", "02:00", "--socket", socket],
        2,
        &["\"02:00\" is malformed; expected six octets"],
    );
    check(&["explain", "blue", "--socket", socket], 2, &["<MAC>"]);
    check(&["what-if", "--socket", socket], 2, &["--vtep-down"]);
    check(&["what-if", "--policy", "latest", "--socket", socket], 2, &["arrival", "vtep-time"]);
    check(
        &["release", "--storm", "a", "--withdrawals", "blue", "--socket", socket],
        2,
        &["cannot be used with"],
    );
    check(
        &["apply", "-f", "/no/such/file.toml", "--socket", socket],
        1,
        &["/no/such/file.toml cannot be read"],
    );
    check(&["run", "--config", "/no/such/file.toml"], 1, &["/no/such/file.toml cannot be read"]);
    check(&["replay", "/no/such/file"], 1, &["recording /no/such/file cannot be read"]);
    check(&["--help"], 0, &["Exit codes: 0 ok", "vtep-controller explain blue 02:00:00:00:00:01"]);
}

#[test]
fn check_lists_everything_that_is_wrong_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let state = directory.path().join("state/deeper");
    let config = write("controller.toml", &format!("[controller]\nstate = {state:?}\n"));
    let declared = write("d.toml", "version = 1\n[[logical_switch]]\nname = \"blue\"\nvni = 16777216\n");
    let expected =
        ["ok      configuration", "line 4: ", "VNI 16777216 is out of range; expected 1 to 16777215"];
    check(&["check", "--config", &config, "-f", &declared], 5, &expected);
    check(&["check", "--config", &config], 0, &["ok      state directory"]);
    let tls = "[tls]\nprivate_key = \"/no/k\"\ncertificate = \"/no/c\"\nca_certificate = \"/no/a\"\n";
    let expected = ["failed  file /no/k: No such file", "failed  file /no/a", "3 of "];
    check(&["check", "--config", &write("tls.toml", tls)], 5, &expected);
    check(&["check", "--config", &write("bad.toml", "[controler]\n")], 5, &["line 1", "controler"]);
    assert!(!state.exists(), "nothing is touched");
}

#[test]
fn config_show_tells_the_origin_of_each_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("controller.toml");
    std::fs::write(&path, "[controller]\nname = \"lc1\"\n").unwrap();
    let path = path.to_str().unwrap();
    let words =
        ["config", "show", "--origin", "--config", path, "--log-level", "debug", "--record", "/tmp/r"];
    let expected = [
        "log.level = \"debug\"  # flag",
        "controller.record = \"/tmp/r\"  # flag",
        "controller.name = \"lc1\"  # file",
        "metrics.listen = \"127.0.0.1:9476\"  # default",
    ];
    check(&words, 0, &expected);
}

#[test]
fn the_samples_are_good_files() {
    let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist");
    let (config, declared) = (format!("{dist}/controller.toml"), format!("{dist}/deployment.toml"));
    check(&["config", "show", "--config", &config], 0, &["listen.address"]);
    check(&["check", "--config", &config, "-f", &declared], 0, &["ok      declared file"]);
}

#[test]
fn man_pages_and_completions_are_made() {
    let directory = tempfile::tempdir().unwrap();
    check(&["man", directory.path().to_str().unwrap()], 0, &[]);
    assert!(directory.path().join("vtep-controller-explain.1").exists());
    check(&["completions", "bash"], 0, &["vtep-controller"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_vtep-controller"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}
