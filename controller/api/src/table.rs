//! The reconciled table as controllers hand it on: of each MAC its VTEPs, by versions that are consecutive within a term.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Cause, Ips, LogicalSwitchName, MacAddr, VtepName};

/// Counts the reigns of a controller. A message of a lower term than one that was obeyed is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

/// Counts the changes of one logical switch's table within a term. 0: none was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

/// Behind which VTEPs a MAC lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    pub master: VtepName,
    /// Best first; never the master.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slaves: Vec<VtepName>,
}

/// What the table says of a MAC. Most MACs share few placements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub placement: Arc<Placement>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub ips: Ips,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Put(Row),
    Remove(Cause),
}

/// A part of what leads a receiver from one version of a logical switch's table to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUpdate {
    pub logical_switch: LogicalSwitchName,
    pub term: Term,
    /// `None`: a snapshot. Otherwise the receiver must have this version of this term; if not, it asks for a snapshot.
    pub from: Option<Version>,
    pub to: Version,
    /// Of a snapshot: whether a MAC that it does not name is gone. Until every VTEP has been heard it is not known.
    pub complete: bool,
    /// No MAC twice.
    pub changes: Vec<(MacAddr, Change)>,
    /// The last part. Nothing counts as removed by absence, and `to` is not reached, before it has come.
    pub end: bool,
}

/// Rows in one part of an update, of claims or of an inventory at most.
pub const ROWS_MAX: usize = 8192;
