//! `vtep-agent schema extend`, with the stock tools as judges.

use std::process::{Command, Output};

use anyhow::Result;
use vtep_tests::ovsdb::{OvsdbServer, SCHEMA};

fn agent(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_vtep-agent")).args(["schema", "extend"]).args(arguments).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    Ok(text(&Command::new(program).args(arguments).output()?.stdout))
}

#[test]
fn the_stock_schema_is_extended_to_a_file_that_the_stock_tools_take() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("schema").display().to_string();
    let output = agent(&["--output", &file])?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(tool("ovsdb-tool", &["schema-version", &file])?, "1.8.0");
    let database = folder.path().join("db").display().to_string();
    tool("ovsdb-tool", &["create", &database, &file])?;
    assert_eq!(tool("ovsdb-tool", &["db-version", &database])?, "1.8.0");
    let again = agent(&["--from", &file])?;
    assert_eq!(
        text(&again.stdout),
        std::fs::read_to_string(&file)?.trim(),
        "what is extended stays as it is"
    );
    Ok(())
}

#[test]
fn a_live_database_is_converted_once_and_its_rows_stay() -> Result<()> {
    let server = OvsdbServer::start()?;
    server.vtep_ctl("add-ls blue -- add-ucast-remote blue 02:00:00:00:00:01 192.0.2.1")?;
    let converted = agent(&["--convert", &server.remote()])?;
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    assert!(text(&converted.stdout).ends_with("hardware_vtep is converted to 1.8.0"));
    assert_eq!(tool("ovsdb-client", &["get-schema-version", &server.remote(), "hardware_vtep"])?, "1.8.0");
    assert!(server.vtep_ctl("list-remote-macs blue")?.contains("02:00:00:00:00:01"));
    let again = agent(&["--convert", &server.remote()])?;
    assert!(again.status.success() && text(&again.stdout).ends_with("is extended already"));
    Ok(())
}

#[test]
fn what_cannot_be_extended_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let check = |arguments: &[&str], expected: &str| -> Result<()> {
        let output = agent(arguments)?;
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(expected), "{told}");
        Ok(())
    };
    let old = folder.path().join("old").display().to_string();
    std::fs::write(&old, std::fs::read_to_string(SCHEMA)?.replace("\"1.7.0\"", "\"1.3.0\""))?;
    check(&["--from", &old], r#"schema has version "1.3.0"; expected 1.7.x"#)?;
    check(
        &["--from", "/nowhere/schema"],
        "/nowhere/schema cannot be read; name the stock schema with --from",
    )?;
    check(&["--convert", "unix:/nowhere/db.sock"], "unix:/nowhere/db.sock")?;
    Ok(())
}
