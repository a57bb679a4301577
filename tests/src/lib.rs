//! End-to-end tests in network namespaces: their fixtures and benches.
//!
//! Every fixture has a name of its own and cleans up in `Drop`, so tests run in parallel. All of them need root, and
//! fail where they lack it.

pub mod bench;
pub mod bird;
pub mod bpffs;
pub mod deadline;
pub mod dissect;
pub mod etcd;
pub mod frame;
pub mod fuzz;
pub mod lab;
pub mod link;
pub mod model;
pub mod netns;
pub mod ovs;
pub mod ovsdb;
pub mod packet;
pub mod pki;
pub mod process;
pub mod tunnel;
