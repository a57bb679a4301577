//! Where a VTEP's kernel has a MAC.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context as _, Result};
use serde_json::Value;
use vtep_api::MacAddr;

use super::Agent;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Behind a port of its own.
    Here,
    /// Behind the VTEP with this address.
    At(Ipv4Addr),
}

impl Agent {
    /// All MACs of a network.
    pub fn places(&self, vni: u32) -> Result<BTreeMap<MacAddr, Place>> {
        let known = self.json(&["vni", "show"])?;
        let known = known.as_array().context("VNIs are a list")?;
        if !known.iter().any(|row| row["vni"] == vni) {
            return Ok(BTreeMap::new());
        }
        let shown = self.json(&["fdb", "show", "--vni", &vni.to_string()])?;
        let rows = shown.as_array().context("the table is a list")?;
        let of = |row: &Value| {
            let mac = row["mac"].as_str().context("a row has a MAC")?;
            anyhow::Ok((mac.parse()?, place(row).with_context(|| format!("{row} has a master"))?))
        };
        rows.iter().map(of).collect()
    }

    pub fn place(&self, vni: u32, mac: MacAddr) -> Option<Place> {
        place(&self.json(&["fdb", "get", &vni.to_string(), &mac.to_string()]).ok()?)
    }
}

fn place(row: &Value) -> Option<Place> {
    let master = row.get("master")?;
    match master.get("vtep") {
        Some(vtep) => Some(Place::At(vtep["address"].as_str()?.parse().ok()?)),
        None => master.get("port").map(|_| Place::Here),
    }
}
