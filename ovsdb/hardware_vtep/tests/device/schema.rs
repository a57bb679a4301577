use std::fs;
use std::path::Path;

use serde_json::Value;
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
    let schema = hardware_vtep::schema::extend(&fs::read_to_string(stock()).unwrap()).unwrap();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("schema"), schema).unwrap();
    dir
}
