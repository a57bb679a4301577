//! More MACs behind one VTEP than it may have.

use std::fmt::Write as _;

use nix::sys::signal::Signal;
use vtep_tests::{
    deadline::wait_for,
    lab::rig::{Rig, SOON, VNI, binding, mac, network, table},
};

const MAX: u32 = 10;

#[test]
fn a_vtep_with_too_many_macs_in_one_network_loses_the_rest_and_takes_nothing_from_others() {
    let mut rig = Rig::new().unwrap();
    let mut text = network("blue", VNI, &["tor"]) + &network("green", VNI + 1, &["tor"]);
    text += &(binding("p1", 0, "blue") + &binding("p1", 7, "green") + &mac("blue", &rig.far, "tor"));
    let mut put = |network: &str, count: u32, group: u32, vtep: &str| {
        for number in 0..count {
            write!(
                text,
                "\n[[mac]]\nlogical_switch = \"{network}\"\nmac = \"00:16:3e:00:{group:02x}:{number:02x}\"\nmaster = \"{vtep}\"\n"
            )
            .unwrap();
        }
    };
    // With the station that is there: five too many.
    put("blue", MAX + 4, 0, "tor");
    put("blue", MAX, 1, "other");
    put("green", 2 * MAX, 0, "tor");
    let quota = format!("\n[[network]]\nvni = {VNI}\nmacs_per_vtep_max = {MAX}\n");
    rig.agent.reconfigure(|config| config + &quota).unwrap();
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    rig.agent.write_table(&table(&[("tor", 11), ("other", 12)], &text)).unwrap();
    let status = wait_for("a refusal", SOON, || {
        let status = rig.agent.json(&["status"]).ok()?;
        (status["counts"]["macs_refused"] == 5).then_some(status)
    });
    let status = status.unwrap_or_else(|error| panic!("{error}: {}", rig.agent.json(&["status"]).unwrap()));
    let alarms = status["alarms"].as_array().unwrap();
    let told: Vec<_> = alarms.iter().filter(|alarm| alarm["kind"] == "vtep_quota").collect();
    let message =
        format!("{} MACs of VNI {VNI}; {MAX} are taken (macs_per_vtep_max), 5 are refused", MAX + 5);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["subject"], &told[0]["message"]), (&"tor".into(), &message.into()));
    assert!(rig.agent.metrics().unwrap().contains("vtepd_agent_macs_refused 5\n"));
    let macs = |name: &str| rig.vtep(name).unwrap()["macs"].as_u64().unwrap();
    assert_eq!((macs("tor"), macs("other")), (u64::from(3 * MAX), u64::from(MAX)));
    let is_there = |rig: &Rig, vni: u32, mac: &str| {
        rig.agent.command(&["fdb", "get", &vni.to_string(), mac]).unwrap().status.success()
    };
    assert!(rig.vm.pings(rig.far.address, 5), "the station that was there stays");
    assert!(is_there(&rig, VNI, "00:16:3e:00:00:08"), "of the others the lowest are taken");
    assert!(!is_there(&rig, VNI, "00:16:3e:00:00:09"));
    assert!(is_there(&rig, VNI + 1, "00:16:3e:00:00:09") && is_there(&rig, VNI, "00:16:3e:00:01:09"));

    let more = format!("macs_per_vtep_max = {}", MAX + 5);
    rig.agent.reconfigure(|config| config.replace(&format!("macs_per_vtep_max = {MAX}"), &more)).unwrap();
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_for("room for all", SOON, || {
        let status = rig.agent.json(&["status"]).ok()?;
        let quota = status["alarms"].as_array()?.iter().any(|alarm| alarm["kind"] == "vtep_quota");
        (status["counts"]["macs_refused"] == 0 && !quota).then_some(())
    })
    .unwrap();
    assert!(is_there(&rig, VNI, "00:16:3e:00:00:0d"));
}
