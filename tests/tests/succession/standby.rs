//! A physical controller that took over from another one told nobody anything anew: agents went on by what differed, and
//! no VTEP claimed anything again.

use serde_json::Value;
use vtep_api::MacAddr;

use super::rig::{NETWORK, Rig};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// By agent, how often a table came as a whole.
    snapshots: Vec<u64>,
    /// Of MACs that nobody moves, everything that befell them by the logical controller's word.
    histories: Vec<(MacAddr, Value)>,
}

impl Told {
    pub(crate) fn by_now(rig: &Rig) -> Self {
        let snapshots = rig.agents.iter().map(|agent| {
            let status = agent.json(&["status"]).unwrap();
            let tables = status["source"]["session"]["tables"].as_array().unwrap();
            tables.iter().map(|table| table["snapshots"].as_u64().unwrap()).sum()
        });
        let logical = &rig.controllers[rig.logical("lc1").unwrap()];
        let history = |mac: MacAddr| (mac, logical.json(&["history", NETWORK, &mac.to_string()]).unwrap());
        Self { snapshots: snapshots.collect(), histories: rig.sample().into_iter().map(history).collect() }
    }
}
