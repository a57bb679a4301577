//! Whether this host will forward, found out before it matters: the kernel, what the process may do, who else stands at
//! the hooks, MTUs, offloads, and which way frames of each port go and why. With the daemon running or not; nothing
//! of the host is touched.
//!
//! [`facts::gather`] reads, [`judge::judge`] decides and does no I/O. What frames become in the programs is tried on hosts in
//! namespaces ([`frames`]).

mod facts;
mod finding;
pub mod frames;
mod judge;

use std::path::PathBuf;

pub use finding::{Finding, Group, Level, Report};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub config: PathBuf,
    /// Only this port.
    pub port: Option<String>,
    /// Whether real frames are sent in namespaces of their own.
    pub frames: bool,
}

pub fn examine(question: &Question) -> Report {
    let facts = facts::gather(question);
    Report::new(judge::judge(&facts))
}
