use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The schema as Open vSwitch ships it.
pub(crate) fn stock() -> &'static Path {
    Path::new("/usr/share/openvswitch/vtep.ovsschema")
}

/// A changed copy of the stock schema, for as long as the directory lives.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> TempDir {
    let mut schema: Value = serde_json::from_slice(&fs::read(stock()).unwrap()).unwrap();
    change(&mut schema);
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("schema"), schema.to_string()).unwrap();
    dir
}

/// With the optional columns of our extension.
pub(crate) fn extended() -> TempDir {
    let role = json!({"type": {"key": {"type": "string", "enum": ["set", ["master", "slave"]]}, "min": 0, "max": 1}});
    changed(|schema| {
        schema["version"] = json!("1.8.0");
        let local = &mut schema["tables"]["Ucast_Macs_Local"]["columns"];
        local["role"] = role.clone();
        local["claimed_at"] = json!({"type": {"key": "integer", "min": 0, "max": 1}});
        let remote = &mut schema["tables"]["Ucast_Macs_Remote"]["columns"];
        remote["role"] = role;
        let locators =
            json!({"key": {"type": "uuid", "refTable": "Physical_Locator"}, "min": 0, "max": "unlimited"});
        remote["slave_locators"] = json!({"type": locators});
    })
}
