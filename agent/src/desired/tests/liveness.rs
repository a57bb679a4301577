use super::*;

#[test]
fn a_vtep_that_answers_nothing_is_told_and_stays_in_service() {
    let mut host = Host::new();
    host.settle();
    let start = host.now;
    let (index, row) = host.installed.vteps.iter().next().expect("a VTEP");
    let (index, vtep) = (*index, ip(row.adj.remote));
    let [.., last] = row.adj.remote;
    for (secs, sent) in [(0, 0), (60, 1000)] {
        let traffic = crate::one_way::Traffic { vtep, sent, received: 0 };
        let minute = std::time::Duration::from_mins(1);
        host.one_way.look([traffic], minute, start + std::time::Duration::from_secs(secs));
    }
    let told = |host: &mut Host| {
        let desired = host.desired();
        let alarms = desired.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::OneWay);
        assert!(!desired.dataplane.vteps[&index].suspect || host.liveness[&index].suspect);
        alarms.map(|alarm| (alarm.subject.clone(), alarm.message.clone())).next()
    };
    let (subject, message) = told(&mut host).expect("an alarm");
    assert_eq!(subject, vtep.to_string());
    assert!(message.starts_with("1000 frames"), "{message}");
    // BFD says it already.
    host.liveness.insert(index, known(last, true));
    assert_eq!(told(&mut host), None);
}

#[test]
fn a_silent_vtep_is_suspect_and_neither_down_nor_another_of_its_index() {
    let mut host = Host::new();
    host.settle();
    let a = mapped_v4([192, 0, 2, 11]);
    let index = *host.installed.vteps.iter().find(|(_, row)| row.adj.remote == a).unwrap().0;
    host.liveness.insert(index, known(11, true));
    host.check_alarm(AlarmKind::BfdDown, "192.0.2.11");
    host.settle();
    assert!(host.installed.vteps[&index].up && host.installed.vteps[&index].suspect);
    host.liveness.insert(index, known(99, true));
    host.settle();
    assert!(!host.installed.vteps[&index].suspect, "that was said of another VTEP");
}

#[test]
fn an_uplink_without_carrier_makes_its_vteps_suspect_and_says_so() {
    let mut host = Host::new();
    host.settle();
    host.links.by_name.get_mut("eth0").unwrap().carrier = false;
    host.check_alarm(AlarmKind::UplinkNoCarrier, "eth0");
    host.check_alarm(AlarmKind::SlaveWouldFail, "192.0.2.12");
    host.settle();
    assert!(host.installed.vteps.values().all(|row| row.suspect && row.up));
}

#[test]
fn a_slave_whose_next_hop_is_unresolved_is_told_before_it_is_needed() {
    let mut host = Host::new();
    let would_fail = |host: &mut Host| -> Vec<String> {
        let alarms = host.desired().alarms.into_iter();
        let alarms = alarms.filter(|alarm| alarm.kind == AlarmKind::SlaveWouldFail);
        alarms.map(|alarm| alarm.subject).collect()
    };
    assert_eq!(would_fail(&mut host), Vec::<String>::new());
    for path in host.underlay.paths.values_mut() {
        path.dst_mac = None;
    }
    assert_eq!(would_fail(&mut host), ["192.0.2.12"], "192.0.2.11 is no slave");
}

/// What was installed holds until the sessions were looked at: an agent that starts does not bring anybody back.
#[test]
fn a_suspect_vtep_stays_so_until_its_session_says_otherwise() {
    let mut host = Host::new();
    host.config.bfd.enabled = true;
    host.settle();
    for row in host.installed.vteps.values_mut() {
        row.suspect = true;
    }
    host.settle();
    assert!(host.installed.vteps.values().all(|row| row.suspect));
    let index = *host.installed.vteps.keys().next().unwrap();
    let last = host.installed.vteps[&index].adj.remote[15];
    host.liveness.insert(index, known(last, false));
    host.settle();
    assert!(!host.installed.vteps[&index].suspect);
}
