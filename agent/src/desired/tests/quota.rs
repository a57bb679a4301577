use super::*;

/// VTEP "a" with `count` MACs in blue beyond that of the table, from `first` on.
fn table(first: u8, count: u8) -> String {
    let row =
        |last| format!("{{ logical_switch = \"blue\", mac = \"2:0:0:0:1:{last:x}\", master = \"a\" }},");
    let rows: String = (first..first + count).map(row).collect();
    TABLE.replace("mac = [", &format!("mac = [ {rows}"))
}

fn key(last: u8) -> FdbKey {
    FdbKey::new(5001, [2, 0, 0, 0, 1, last])
}

fn host(max: u32) -> Host {
    let mut host = Host::new();
    let text = format!("{CONFIG}\n[[network]]\nvni = 5001\nmacs_per_vtep_max = {max}\n");
    host.config = Config::parse(&text, FilePath::new("agent.toml"), &[]).unwrap();
    host.settle();
    host
}

#[test]
fn what_a_vtep_has_beyond_its_quota_is_refused_and_what_is_installed_stays() {
    let mut host = host(3);
    host.set_table(&table(8, 2));
    host.settle();
    assert_eq!(host.desired().refused, 0, "three with that of the table");
    let before = host.installed.fdb.clone();
    host.set_table(&table(1, 9));
    assert_eq!(host.settle(), [], "nobody gives way to lower addresses");
    assert_eq!((host.desired().refused, &host.installed.fdb), (7, &before));
    host.check_alarm(AlarmKind::VtepQuota, "a");
    // One that goes makes room for one.
    host.set_table(&table(1, 8));
    host.settle();
    assert!(host.installed.fdb.contains_key(&key(1)) && !host.installed.fdb.contains_key(&key(9)));
    assert_eq!(host.desired().refused, 6);
}

#[test]
fn another_vtep_and_another_vni_have_their_own_quotas() {
    let mut host = host(1);
    host.set_table(&table(1, 5).replace("master = \"a\", slave = \"b\"", "master = \"b\""));
    host.settle();
    let of_a = (1..6).filter(|last| host.installed.fdb.contains_key(&key(*last))).count();
    assert_eq!((of_a, host.installed.fdb[&BLUE_MAC].master), (1, Target::Vtep(2)));
    assert!(host.installed.fdb.contains_key(&FdbKey::new(5002, BLUE_MAC.mac)));
}

#[test]
fn a_short_write_takes_no_more_than_the_room_that_is_left() {
    let mut host = host(3);
    let desired = host.desired();
    let (names, mut room) = (desired.names, desired.room);
    let before = host.table.clone();
    host.set_table(&table(1, 5));
    let delta = Delta::between(&before, &host.table);
    for _ in 0..2 {
        let present =
            Present { names: &names, learnt: &host.learnt, installed: &host.installed, room: &room };
        let (plan, left) = shortcut(&delta.macs, &host.table, present, 100).unwrap();
        room = left;
        plan.steps.into_iter().for_each(|step| host.installed.apply(step));
    }
    let written = (1..6).filter(|last| host.installed.fdb.contains_key(&key(*last))).count();
    assert_eq!(written, 2);
    assert_eq!(host.settle(), [], "the comparison agrees");
    // A move to a full VTEP is for the comparison: the entry that it has must go.
    host.set_table(&table(1, 5).replace("master = \"a\", slave = \"b\"", "master = \"b\""));
    host.settle();
    let before = host.table.clone();
    host.set_table(&table(1, 5));
    let delta = Delta::between(&before, &host.table);
    let room = host.desired().room;
    let present = Present { names: &names, learnt: &host.learnt, installed: &host.installed, room: &room };
    assert_eq!(shortcut(&delta.macs, &host.table, present, 100), None);
}
