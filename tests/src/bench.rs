//! The side-by-side benches: ours and a peer by turns in one run, compared as ratios.

use anyhow::{Context as _, Result};

pub use self::report::{Ratio, Report, Row};

mod aims;
mod control;
mod dataplane;
mod failover;
mod load;
mod ovsdb;
mod ports;
mod report;
mod table;
mod topology;
mod traffic;

/// How a bench is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Fewer and shorter rounds, to see that it works.
    pub quick: bool,
    /// Only measures whose names contain this, where a bench can choose.
    pub only: Option<&'static str>,
    /// Only how so many agents get over the end of their physical controller (`control`).
    pub agents: Option<u16>,
}

impl Options {
    /// Of ours and the peer's by turns.
    pub fn rounds(self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    fn wants(self, name: &str) -> bool {
        self.only.is_none_or(|only| name.contains(only))
    }
}

/// A bench by its name.
pub struct Bench {
    pub name: &'static str,
    /// One line for `bench list`.
    pub about: &'static str,
    pub run: fn(Options) -> Result<Vec<Row>>,
}

/// Each is a file in `bench/`.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "control",
        about: "claims through the controllers, MACs from where they appear to every kernel, beside FRR's EVPN",
        run: control::run,
    },
    Bench {
        name: "dataplane",
        about: "frames, TCP, latency and floods through a host, beside the kernel's bridge and VXLAN device and bare XDP",
        run: dataplane::run,
    },
    Bench {
        name: "failover",
        about: "a TOR's death until its slave serves, and what is lost, beside the kernel's FDB and its nexthop groups",
        run: failover::run,
    },
    Bench {
        name: "load",
        about: "a million MACs into the kernel: batches, single updates, bridge -batch",
        run: load::run,
    },
    Bench {
        name: "ovsdb",
        about: "an initial dump of a million rows, beside serde_json::Value",
        run: ovsdb::run,
    },
    Bench {
        name: "ports",
        about: "decapsulation for each kind of port by each way, beside the kernel's tunnel device",
        run: ports::run,
    },
    Bench {
        name: "table",
        about: "the MAC table by itself, beside the kernel's hash in batches and its own two tables over netlink",
        run: table::run,
    },
];

pub fn find(name: &str) -> Result<&'static Bench> {
    let found = BENCHES.iter().find(|bench| bench.name == name);
    let names = || BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ");
    found.with_context(|| format!("there is no bench {name:?}; there are: {}", names()))
}
