//! What controllers write into a TOR's database, row by row.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use vtep_api::MacAddr;
use vtep_tests::ovsdb::OvsdbServer;

use super::stages::utc;

#[derive(Default)]
pub(crate) struct Database {
    locators: BTreeMap<String, Ipv4Addr>,
    remotes: BTreeMap<String, (MacAddr, String)>,
    /// Of no change of the networks' members: whatever happens to one is told.
    floods: BTreeSet<String>,
    /// Once these are the rows that nothing may happen to.
    kept: Option<Kept>,
    violations: Vec<String>,
}

/// Rows by their UUIDs: one that is deleted and made again is another one.
struct Kept {
    locators: BTreeSet<String>,
    remotes: BTreeSet<String>,
}

impl Database {
    /// Its output is a stream of what changed. Of one transaction's changes each table is told by its name's place in the
    /// alphabet: locators before the rows that name them.
    pub(crate) fn monitor(ovsdb: &OvsdbServer) -> Child {
        let mut command = Command::new("ovsdb-client");
        command.args(["--format=json", "monitor", &ovsdb.remote(), "hardware_vtep", "ALL"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// One table's part of a transaction, as `ovsdb-client monitor` prints it: rows with an action.
    pub(crate) fn update(&mut self, update: &Value) -> Result<()> {
        let table = update["caption"].as_str().context("a table has a name")?;
        if !["Physical_Locator", "Ucast_Macs_Remote", "Mcast_Macs_Remote"].contains(&table) {
            return Ok(());
        }
        let headings = update["headings"].as_array().context("a table has columns")?;
        let column = |row: &Value, name: &str| {
            let index = headings.iter().position(|heading| heading == name);
            index.map_or(Value::Null, |index| row[index].clone())
        };
        let mut changed = String::new();
        for row in update["data"].as_array().context("an update has rows")? {
            let named = row[0].as_str().context("a row has a UUID")?;
            let action = row[1].as_str().context("a row has an action")?;
            // What was and what is are two lines, and the second one has no UUID.
            let uuid = if action == "new" { std::mem::take(&mut changed) } else { named.to_owned() };
            if action == "old" {
                changed = uuid;
                continue;
            }
            self.check(table, action, &uuid, row);
            match (table, action) {
                ("Physical_Locator", "delete") => drop(self.locators.remove(&uuid)),
                ("Physical_Locator", _) => {
                    let address = column(row, "dst_ip");
                    let address = address.as_str().context("a locator has an address")?.parse()?;
                    self.locators.insert(uuid, address);
                }
                ("Ucast_Macs_Remote", "delete") => drop(self.remotes.remove(&uuid)),
                ("Ucast_Macs_Remote", _) => {
                    let mac = column(row, "MAC").as_str().context("a row has a MAC")?.parse()?;
                    let locator =
                        column(row, "locator")[1].as_str().context("a row has a locator")?.to_owned();
                    self.remotes.insert(uuid, (mac, locator));
                }
                (_, "delete") => {
                    self.floods.remove(&uuid);
                }
                _ => {
                    self.floods.insert(uuid);
                }
            }
        }
        Ok(())
    }

    fn check(&mut self, table: &str, action: &str, uuid: &str, row: &Value) {
        let Some(kept) = &self.kept else { return };
        let touched = match table {
            // One that is not there yet would be of no VTEP that there is.
            "Physical_Locator" => action != "delete" || kept.locators.contains(uuid),
            "Ucast_Macs_Remote" => kept.remotes.contains(uuid),
            _ => true,
        };
        if touched {
            self.violations.push(format!("{}: {action} of {uuid} in {table}: {row}", utc()));
        }
    }

    /// From here on nothing happens to the rows of these MACs, to locators, and to where broadcasts go.
    pub(crate) fn keep(&mut self, macs: &BTreeMap<MacAddr, Ipv4Addr>) {
        let remotes = self.remotes.iter().filter(|(_, (mac, _))| macs.contains_key(mac));
        let remotes = remotes.map(|(uuid, _)| uuid.clone()).collect();
        assert_eq!(self.floods.len(), 1, "a TOR has one row for broadcasts in one network");
        self.kept = Some(Kept { locators: self.locators.keys().cloned().collect(), remotes });
    }

    pub(crate) fn macs(&self) -> BTreeMap<MacAddr, Ipv4Addr> {
        let at = self.remotes.values().map(|(mac, locator)| (*mac, self.locators.get(locator).copied()));
        at.filter_map(|(mac, at)| Some((mac, at?))).collect()
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(database: &mut Database, table: &str, columns: &[&str], rows: &Value) {
        let headings = [&["row", "action"], columns].concat();
        database.update(&json!({"caption": table, "headings": headings, "data": rows})).unwrap();
    }

    #[test]
    fn a_row_that_is_deleted_and_made_again_is_seen_and_one_that_nobody_keeps_may_go() {
        let mut database = Database::default();
        let locators =
            |database: &mut Database, rows: &Value| told(database, "Physical_Locator", &["dst_ip"], rows);
        let remotes = |database: &mut Database, rows: &Value| {
            told(database, "Ucast_Macs_Remote", &["MAC", "locator"], rows);
        };
        let floods = |database: &mut Database, rows: &Value| {
            told(database, "Mcast_Macs_Remote", &["MAC", "locator_set"], rows);
        };
        let row = |uuid, action, mac, locator| json!([uuid, action, mac, ["uuid", locator]]);
        let (still, other) = ("02:00:02:00:01:00", "02:00:01:00:00:01");
        locators(&mut database, &json!([["l", "initial", "192.0.2.1"]]));
        remotes(&mut database, &json!([row("a", "initial", still, "l"), row("b", "initial", other, "l")]));
        floods(&mut database, &json!([row("f", "initial", "unknown-dst", "s")]));
        assert_eq!(database.macs().len(), 2);
        database.keep(&[(still.parse().unwrap(), Ipv4Addr::new(192, 0, 2, 1))].into());
        remotes(&mut database, &json!([row("b", "delete", other, "l")]));
        assert!(database.violations().is_empty(), "{:?}", database.violations());
        remotes(&mut database, &json!([row("a", "delete", still, "l"), row("c", "insert", still, "l")]));
        assert_eq!(database.violations().len(), 1, "{:?}", database.violations());
        floods(&mut database, &json!([row("f", "old", "", "s"), row("", "new", "unknown-dst", "t")]));
        locators(&mut database, &json!([["l", "delete", "192.0.2.1"]]));
        assert_eq!(database.violations().len(), 3, "{:?}", database.violations());
    }
}
