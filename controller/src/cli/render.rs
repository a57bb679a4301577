//! Tables. A logical and a physical controller know different things of a VTEP: what one does not know stays empty.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::Value;
use vtep_api::control::terminal::Table;

use super::sentences::time;
use crate::control::view::FdbRow;

pub(super) const FDB_HEADER: &str = "SWITCH            MAC                MASTER            SLAVES\n";

pub(super) fn fdb_line(out: &mut dyn Write, row: &FdbRow) -> io::Result<()> {
    let slaves: Vec<&str> = row.slaves.iter().map(vtep_api::VtepName::as_str).collect();
    let slaves = if slaves.is_empty() { "-".to_owned() } else { slaves.join(", ") };
    writeln!(out, "{:<16}  {}  {:<16}  {slaves}", row.logical_switch, row.mac, row.master)
}

macro_rules! row {
    ($name:ident) => {
        #[derive(Debug, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(Value);
    };
}

row!(VtepRow);
row!(SwitchRow);
row!(SyncRow);
row!(ConflictRow);
row!(AlarmRow);
row!(MemberRow);
row!(OfficeRow);

impl Table for VtepRow {
    const HEADER: &[&str] =
        &["VTEP", "SESSION", "ADDRESS", "CONTROLLER", "NETWORKS", "CLAIMS", "SKEW", "REMARKS"];

    fn cells(&self) -> Vec<String> {
        const REMARKS: [(&str, &str); 4] = [
            ("dead", "dead"),
            ("storm", "storm"),
            ("waits_for_declaration", "not declared"),
            ("stands_by", "we stand by"),
        ];
        let Self(row) = self;
        let claims = row.get("claims").or(row.get("macs")).and_then(Value::as_object);
        let sum: u64 = claims.into_iter().flat_map(|claims| claims.values()).filter_map(Value::as_u64).sum();
        let networks = row
            .get("networks")
            .and_then(Value::as_array)
            .map_or_else(|| claims.map_or(0, serde_json::Map::len), Vec::len);
        let state = |key: &str| row.get("state").and_then(|state| state.get(key));
        let address = row.get("address").filter(|address| !address.is_null()).or(state("address"));
        let mut remarks = Vec::new();
        for (key, remark) in REMARKS {
            if row.get(key) == Some(&Value::Bool(true)) {
                remarks.push(remark.to_owned());
            }
        }
        let lost = row.get("session").is_some_and(|session| session == "lost");
        if let Some(ms) = row.get("lost_for_ms").and_then(Value::as_u64).filter(|_| lost) {
            remarks.push(format!("away for {} s", ms / 1000));
        }
        let sessions = state("bfd").and_then(Value::as_object).into_iter().flatten();
        let mut down = sessions.filter(|(_, state)| *state != "up");
        if let Some((address, state)) = down.next() {
            remarks.push(format!("BFD with {address} is {}", text(Some(state))));
            let more = down.count();
            if more > 0 {
                remarks.push(format!("and {more} more sessions"));
            }
        }
        for key in ["faults", "refusals"] {
            let all = state(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            remarks.extend(all.first().map(|first| text(Some(first))));
            if all.len() > 1 {
                remarks.push(format!("and {} more {key}", all.len() - 1));
            }
        }
        let skew = row.get("skew_ms").and_then(Value::as_i64).map(|ms| format!("{ms} ms"));
        vec![
            text(row.get("name").or(row.get("vtep"))),
            text(row.get("session")),
            text(address),
            text(row.get("physical_controller")),
            networks.to_string(),
            sum.to_string(),
            skew.unwrap_or_default(),
            remarks.join("; "),
        ]
    }
}

impl Table for MemberRow {
    const HEADER: &[&str] = &["CONTROLLER", "ROLE", "ADDRESS", "SHARDS", "VTEPS", "SETTLED", "VERSION"];

    fn cells(&self) -> Vec<String> {
        ["name", "role", "address", "shards", "vteps", "settled", "version"]
            .map(|key| text(self.0.get(key)))
            .to_vec()
    }
}

impl Table for OfficeRow {
    const HEADER: &[&str] = &["OFFICE", "CONTROLLER", "TERM", "ASSIGNED", "LOGICAL SWITCHES"];

    fn cells(&self) -> Vec<String> {
        let Self(row) = self;
        let moved = row.get("moved").filter(|moved| !moved.is_null());
        let by_hand = if moved.is_some() { " (moved)" } else { "" };
        vec![
            row.get("shard")
                .map_or_else(|| text(row.get("vtep")), |shard| format!("shard {}", text(Some(shard)))),
            text(row.get("holder")),
            text(row.get("term")),
            format!("{}{by_hand}", text(row.get("assigned"))),
            list(row.get("logical_switches")),
        ]
    }
}

impl Table for SwitchRow {
    const HEADER: &[&str] = &["SWITCH", "VNI", "MACS", "CLAIMS", "VERSION", "MEMBERS", "STATE"];

    fn cells(&self) -> Vec<String> {
        let Self(row) = self;
        let vni = row.get("vni").or(row.get("network").and_then(|network| network.get("vni")));
        let unheard = row.get("unheard").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let unheard: Vec<String> = unheard.iter().map(|name| text(Some(name))).collect();
        let is = |key: &str| row.get(key) == Some(&Value::Bool(true));
        let mut state = match () {
            () if row.get("started") == Some(&Value::Bool(false)) => "not distributed yet".to_owned(),
            () if is("complete") => "complete".to_owned(),
            () => "not complete".to_owned(),
        };
        if !unheard.is_empty() {
            state = format!("{state}; not heard: {}", unheard.join(", "));
        }
        if let Some(kept @ 1..) = row.get("kept").and_then(Value::as_u64) {
            state = format!("{state}; {kept} kept by the mass-withdraw guard");
        }
        vec![
            text(row.get("name").or(row.get("logical_switch"))),
            text(vni),
            text(row.get("macs").or(row.get("rows"))),
            text(row.get("claims")),
            text(row.get("version")),
            list(row.get("members")),
            state,
        ]
    }
}

impl Table for SyncRow {
    const HEADER: &[&str] = &["VTEP", "SWITCH", "DESIRED", "SENT", "ACKNOWLEDGED", "AT", "LAG"];

    fn cells(&self) -> Vec<String> {
        let Self(row) = self;
        let at = row.get("acknowledged_at_ms").or(row.get("acknowledged_wall_ms")).and_then(Value::as_i64);
        vec![
            text(row.get("vtep")),
            text(row.get("logical_switch")),
            version(row.get("desired")),
            version(row.get("sent")),
            version(row.get("acknowledged")),
            at.map(time).unwrap_or_default(),
            text(row.get("lag").or(row.get("lag_versions"))),
        ]
    }
}

impl Table for ConflictRow {
    const HEADER: &[&str] = &["SWITCH", "MAC", "KIND", "MASTER", "OTHERS", "BECAUSE"];

    fn cells(&self) -> Vec<String> {
        let Self(row) = self;
        vec![
            text(row.get("logical_switch")),
            text(row.get("mac")),
            text(row.get("kind")).replace('_', " "),
            text(row.get("master")),
            list(row.get("others")),
            text(row.get("reason")),
        ]
    }
}

impl Table for AlarmRow {
    const HEADER: &[&str] = &["KIND", "SUBJECT", "MESSAGE"];

    fn cells(&self) -> Vec<String> {
        ["kind", "subject", "message"].map(|key| text(self.0.get(key))).to_vec()
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A version, or a term and a version.
fn version(value: Option<&Value>) -> String {
    match value.and_then(Value::as_array).map(Vec::as_slice) {
        Some([_, version]) => text(Some(version)),
        _ => text(value),
    }
}

fn list(value: Option<&Value>) -> String {
    const SHOWN: usize = 6;
    let names = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| text(Some(name))).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}
