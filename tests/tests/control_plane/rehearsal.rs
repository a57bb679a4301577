//! A failover that is foretold, and one that is rehearsed.

use std::time::Duration;

use serde_json::json;
use vtep_tests::{
    deadline::wait_for,
    frame,
    lab::{Stream, figure5::X},
};

use super::rig::{Rig, SOON, wait_for_more};

const SECONDS: u64 = 1;
const AT_1000_PER_S: u64 = 1000 * SECONDS;

#[test]
fn a_drill_counts_what_the_controller_foretells() {
    let rig = Rig::new();
    // Behind a alone: the link to b is not in use.
    let lonely = rig.rack_host("h1x").vm(9).unwrap();
    lonely.announce().unwrap();
    wait_for("VM9", SOON, || rig.sfe.place(X, lonely.mac)).unwrap();
    let vm8 = rig.vm("VM8");
    wait_for("an echo", SOON, || vm8.pings(lonely.address, 1).then_some(())).unwrap();

    let foretold = wait_for("what follows from the end of a", SOON, || {
        let foretold = rig.controllers.named("lc").json(&["what-if", "--vtep-down", "a"]).ok()?;
        let foretold = foretold.as_array().map_or(&foretold, |rows| &rows[0]);
        (foretold["moves"]["b"] == 2 && foretold["orphaned"] == 1).then(|| foretold.clone())
    })
    .unwrap();
    assert_eq!(foretold["orphans"][0], lonely.mac.to_string());

    let stream = rig.stream();
    let to_lonely = Stream::start(vm8, &lonely, Duration::from_millis(1)).unwrap();
    wait_for_more(&to_lonely);
    let at_b = rig.tor("b").listen().unwrap();
    let drilled = rig.sfe.json(&["drill", "--vtep", "a", "--seconds", &SECONDS.to_string()]).unwrap();
    let drilled = drilled.as_array().map_or(&drilled, |rows| &rows[0]);
    let mut served = 0;
    at_b.drain(|frame| {
        let sent = frame::decap(frame).is_ok_and(|(outer, _)| outer.from.address == rig.address("sfe"));
        served += u64::from(sent && rig.carries(frame, X, rig.vm("VM1")));
    })
    .unwrap();
    assert_eq!(drilled["macs_with_slave"], foretold["moves"]["b"], "{drilled}");
    assert_eq!(drilled["macs_without_slave"], foretold["orphaned"], "{drilled}");
    assert_eq!(drilled["frames_served_by_slaves"], served, "{drilled}");
    // Streams that this machine lets wait fall behind.
    let lost = drilled["frames_without_another_way"].as_u64().unwrap();
    assert!(lost > AT_1000_PER_S / 2 && lost < AT_1000_PER_S * 3 / 2, "{drilled}");
    assert_eq!(drilled["others_out_of_service"], json!([]), "{drilled}");
    let report = to_lonely.finish().unwrap();
    assert_eq!(report.received, report.sent, "a drill loses nothing that has no other way");
    stream.finish().unwrap();
}
