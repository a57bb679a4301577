//! Figures 3 and 4: what one TOR reports reaches every VTEP of that network, and nobody else.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Site,
        figure5::{VTEPS_OF_X, VTEPS_OF_Y, X, Y},
    },
};

use crate::{
    SOON,
    timeline::{self, Timeline},
};

pub(crate) fn everyone_learns(figure: &Site, timeline: &Timeline) -> Result<()> {
    timeline::act("Figure 3: TOR b reports VMs of x, and everyone learns");
    figure.declare()?;
    wait_for("the networks on all VTEPs", SOON, || figure.is_bound())?;
    timeline.step("declared to LC-a and LC-b; x is bound on 7 VTEPs, y on 4, by the controllers alone")?;

    let y_before = figure.rows_of("y")?;
    for vm in ["VM1", "VM2", "VM3"] {
        figure.announce(vm)?;
    }
    let mut table = vec![("VM1", "b"), ("VM2", "b"), ("VM3", "b")];
    wait_for("VM1 to VM3 behind b", SOON, || figure.forwards_by(X, &VTEPS_OF_X, &table))?;
    timeline
        .step("VM1 to VM3 spoke; all 7 kernels of x have each behind one master: TOR b (a is its slave)")?;
    for tor in ["a", "b"] {
        let rows = figure.tor(tor).ovsdb.select("Ucast_Macs_Local", &json!([]))?;
        let row =
            |row: &Value| ["MAC", "role"].map(|key| row[key].as_str().unwrap_or("none").to_owned()).join(" ");
        timeline::detail(&format!(
            "TOR {tor} reports {}",
            rows.iter().map(row).collect::<Vec<_>>().join(", ")
        ));
    }
    let vm1 = figure.vm("VM1").mac.to_string();
    let hears = |name| anyhow::Ok(figure.controllers.named(name).json(&["fdb"])?.to_string().contains(&vm1));
    ensure!(hears("lc-a")? && !hears("lc-b")?, "x belongs to LC-a alone");
    ensure!(figure.rows_of("y")? == y_before, "a table of y changed");
    timeline.step("only LC-a heard of them, and no table of y changed")?;

    for (vm, master) in [("VM4", "c"), ("VM5", "c"), ("VM6", "f"), ("VM7", "f"), ("VM8", "sfe")] {
        figure.announce(vm)?;
        table.push((vm, master));
    }
    wait_for("VM1 to VM8 everywhere", SOON, || figure.forwards_by(X, &VTEPS_OF_X, &table))?;
    timeline.step("VM4 to VM8 spoke; the TORs have VM8 behind the SFE's address")
}

pub(crate) fn the_slave_gets_the_table_too(figure: &Site, timeline: &Timeline) -> Result<()> {
    timeline::act("Figure 4: TOR a reports VMs of y, and a slave gets the table too");
    let strangers_before = figure.told(&["e", "f", "sfe"])?;
    for vm in ["VM A", "VM B", "VM C", "VM D", "VM E"] {
        figure.announce(vm)?;
    }
    let table = [("VM A", "a"), ("VM B", "a"), ("VM C", "a"), ("VM D", "c"), ("VM E", "c")];
    wait_for("VM A to VM E", SOON, || figure.forwards_by(Y, &VTEPS_OF_Y, &table))?;
    let vm_e = json!([["MAC", "==", figure.vm("VM E").mac.to_string()]]);
    wait_for("TOR d's row of VM E", SOON, || {
        let rows = figure.tor("d").ovsdb.select("Ucast_Macs_Remote", &vm_e).ok()?;
        (rows.first()?["role"] == "slave").then_some(())
    })?;
    timeline
        .step("TOR d, master of nothing but slave of VM E, has the whole table of y and knows its role")?;
    ensure!(figure.told(&["e", "f", "sfe"])? == strangers_before, "a VTEP outside y was told of it");
    timeline
        .step("VTEPs outside y (e, f, the SFE) were pushed: 0 messages, not a row of their databases changed")
}
