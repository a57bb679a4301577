use serde_json::Value;

use super::*;

const STOCK: &str = r#"{
  "name": "hardware_vtep",
  "cksum": "0 0",
  "tables": {
    "Ucast_Macs_Local": {
      "columns": {
        "MAC": {"type": "string"}},
      "isRoot": true},
    "Ucast_Macs_Remote": {
      "columns": {
        "MAC": {"type": {"key": "string"}}
      }}},
  "version": "1.7.0"}
"#;

#[track_caller]
fn refused(schema: &str, expected: &str) {
    assert_eq!(extend(schema).expect_err("the schema is refused").to_string(), expected);
}

#[test]
fn only_the_columns_the_version_and_the_checksum_are_new() {
    let extended = extend(STOCK).unwrap();
    let mut value: Value = serde_json::from_str(&extended).unwrap();
    assert_eq!(value["version"], "1.8.0");
    let local = value["tables"]["Ucast_Macs_Local"]["columns"].as_object_mut().unwrap();
    assert!(local.remove("role").is_some() && local.remove("claimed_at").is_some());
    let remote = value["tables"]["Ucast_Macs_Remote"]["columns"].as_object_mut().unwrap();
    assert!(remote.remove("role").is_some() && remote.remove("slave_locators").is_some());
    let mut stock: Value = serde_json::from_str(STOCK).unwrap();
    stock["version"] = value["version"].clone();
    stock["cksum"] = value["cksum"].clone();
    assert_eq!(value, stock);
    assert!(extended.starts_with("{\n  \"name\""), "the text is otherwise as it was: {extended}");
}

#[test]
fn a_schema_in_one_line_is_taken_as_a_server_gives_it() {
    let line = serde_json::from_str::<Value>(STOCK).unwrap().to_string();
    let value: Value = serde_json::from_str(&extend(&line).unwrap()).unwrap();
    assert!(value["tables"]["Ucast_Macs_Local"]["columns"]["role"].is_object());
}

#[test]
fn the_checksum_is_that_of_posix() {
    // `printf 123456789 | cksum`, `printf '' | cksum`
    assert_eq!(cksum(b"123456789"), 930_766_865);
    assert_eq!(cksum(b""), 4_294_967_295);
}

#[test]
fn what_is_not_the_stock_schema_is_refused_by_name_and_version() {
    refused(
        &STOCK.replace("hardware_vtep", "Open_vSwitch"),
        r#"schema is that of database "Open_vSwitch"; expected "hardware_vtep""#,
    );
    refused(&STOCK.replace("1.7.0", "1.3.0"), r#"schema has version "1.3.0"; expected 1.7.x"#);
    refused(&extend(STOCK).unwrap(), r#"schema has version "1.8.0" and is extended already; expected 1.7.x"#);
    refused(&STOCK.replace("Ucast_Macs_Remote", "Other"), "schema has no table Ucast_Macs_Remote");
    refused(
        &STOCK.replacen("\"MAC\"", "\"role\"", 1),
        "table Ucast_Macs_Local has a column role already, which is not that of version 1.8.0",
    );
    refused("{", "schema is malformed");
}
