//! Two racks, a host with an agent, and a logical and a physical controller.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    lab::{ControllerRole, Layout, NetworkLayout, RackLayout, Side, Site, Stream, figure5::X},
};

pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const VTEPS: [&str; 5] = ["a", "b", "c", "d", "sfe"];

/// By these logical and physical controllers.
const fn racks(logical: &'static str, physical: &'static str) -> ([NetworkLayout; 1], [RackLayout; 2]) {
    let networks = [NetworkLayout { name: "x", vni: X, controller: logical }];
    let one = RackLayout { tors: [("a", 11, physical), ("b", 12, physical)], hosts: &[("h1x", Side::Left)] };
    let two = RackLayout { tors: [("c", 13, physical), ("d", 14, physical)], hosts: &[("h2x", Side::Left)] };
    (networks, [one, two])
}
const VMS: &[(&str, u8, &str)] = &[("VM1", 1, "h1x"), ("VM2", 2, "h1x"), ("VM4", 4, "h2x")];

const APART: Layout = Layout {
    controllers: &[("lc", ControllerRole::Logical), ("pc", ControllerRole::Physical)],
    networks: &racks("lc", "pc").0,
    racks: &racks("lc", "pc").1,
    sfe_controller: "pc",
    vms: VMS,
};
const ALONE: Layout = Layout {
    controllers: &[("vtepd", ControllerRole::Both)],
    networks: &racks("vtepd", "vtepd").0,
    racks: &racks("vtepd", "vtepd").1,
    sfe_controller: "vtepd",
    vms: VMS,
};

pub(crate) struct Rig(Site);

impl Rig {
    /// Every VM is known everywhere: VM1 and VM2 behind a (b is its slave), VM4 behind c (d is its slave), VM8 behind
    /// the SFE.
    pub(crate) fn new() -> Self {
        Self::with(&APART)
    }

    /// The same with one process for both roles.
    pub(crate) fn alone() -> Self {
        Self::with(&ALONE)
    }

    fn with(layout: &'static Layout) -> Self {
        let rig = Self(Site::new(layout).unwrap());
        rig.declare().unwrap();
        wait_for("the network on all VTEPs", SOON, || rig.is_bound()).unwrap();
        for vm in ["VM1", "VM2", "VM4", "VM8"] {
            rig.announce(vm).unwrap();
        }
        let table = [("VM1", "a"), ("VM2", "a"), ("VM4", "c"), ("VM8", "sfe")];
        rig.wait_for_table(&table);
        wait_for(&format!("the slaves of {table:?}"), SOON, || rig.knows_slaves(X, &VTEPS, &table)).unwrap();
        wait_for("an echo", SOON, || rig.vm("VM8").pings(rig.vm("VM1").address, 1).then_some(())).unwrap();
        rig
    }

    /// Every kernel's table of x, whole.
    #[track_caller]
    pub(crate) fn wait_for_table(&self, table: &[(&str, &str)]) {
        wait_for(&format!("{table:?}"), SOON, || self.forwards_by(X, &VTEPS, table)).unwrap();
    }

    /// From VM8 to VM1, under way.
    #[track_caller]
    pub(crate) fn stream(&self) -> Stream {
        let stream = Stream::start(self.vm("VM8"), self.vm("VM1"), Duration::from_millis(1)).unwrap();
        wait_for_more(&stream);
        stream
    }

    /// A TOR's row of a VM that is behind another.
    pub(crate) fn remote(&self, tor: &str, vm: &str) -> Option<Value> {
        let wanted = json!([["MAC", "==", self.vm(vm).mac.to_string()]]);
        let mut rows = self.tor(tor).ovsdb.select("Ucast_Macs_Remote", &wanted).unwrap();
        assert!(rows.len() < 2, "{rows:?}");
        rows.pop()
    }
}

#[track_caller]
pub(crate) fn wait_for_more(stream: &Stream) {
    let before = stream.received();
    wait_for("more of the stream", SOON, || (stream.received() > before + 100).then_some(())).unwrap();
}

impl Deref for Rig {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.0
    }
}
