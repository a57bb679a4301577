use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::grpc::{Malformed, Wire, decode, encode};
use crate::*;

fn name<T: for<'a> TryFrom<&'a str, Error = NameError>>(text: &str) -> T {
    T::try_from(text).unwrap()
}

prop_compose! {
    fn named()(text in "[a-z0-9 /:é]{1,8}") -> String { text }
}

fn vtep() -> impl Strategy<Value = VtepName> {
    named().prop_map(|text| name(&text))
}

fn switch() -> impl Strategy<Value = LogicalSwitchName> {
    named().prop_map(|text| name(&text))
}

fn port() -> impl Strategy<Value = SwitchPortName> {
    named().prop_map(|text| name(&text))
}

fn controller() -> impl Strategy<Value = ControllerName> {
    named().prop_map(|text| name(&text))
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr::new)
}

fn locator() -> impl Strategy<Value = Locator> {
    let encapsulation = proptest::sample::select(&Encapsulation::ALL[..]);
    (ip(), encapsulation, bfd()).prop_map(|(address, encapsulation, bfd)| Locator {
        address,
        encapsulation,
        bfd,
    })
}

fn bfd() -> impl Strategy<Value = BfdWord> {
    fn some<const MIN: u32, const MAX: u32>() -> impl Strategy<Value = Option<Bounded<MIN, MAX>>> {
        option::of((MIN..=MAX).prop_map(|value| Bounded::try_from(i64::from(value)).unwrap()))
    }
    let transport = [BfdTransport::SingleHop, BfdTransport::MultiHop, BfdTransport::Vxlan];
    let transport = option::of(proptest::sample::select(transport.to_vec()));
    let flags = any::<[Option<bool>; 3]>();
    (flags, transport, (some(), some(), some()), (some(), some(), some(), some())).prop_map(
        |(
            [enabled, revertive, forwarding_if_rx],
            transport,
            (min_tx_ms, min_rx_ms, multiplier),
            (vni, hold_ms, hold_max_ms, decay_min_rx_ms),
        )| {
            BfdWord {
                enabled,
                transport,
                min_tx_ms,
                min_rx_ms,
                multiplier,
                vni,
                hold_ms,
                hold_max_ms,
                revertive,
                decay_min_rx_ms,
                forwarding_if_rx,
            }
        },
    )
}

fn ip() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).into()),
        any::<[u8; 16]>().prop_map(|octets| Ipv6Addr::from(octets).into()),
    ]
}

fn ips() -> impl Strategy<Value = Ips> {
    prop_oneof![4 => Just(Ips::default()), 1 => vec(ip(), 1..3).prop_map(Vec::into_boxed_slice)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Master), Just(Role::Slave)]
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Withdrawn),
        Just(Cause::ClaimMoved),
        Just(Cause::HoldExpired),
        Just(Cause::Operator)
    ]
}

fn held() -> impl Strategy<Value = Held> {
    (switch(), any::<u64>(), any::<u64>()).prop_map(|(logical_switch, term, version)| Held {
        logical_switch,
        term: Term(term),
        version: Version(version),
    })
}

fn local() -> impl Strategy<Value = LocalMac> {
    (role(), any::<Option<i64>>(), any::<Option<u128>>(), ips()).prop_map(
        |(role, claimed_at_ms, origin, ips)| LocalMac {
            role,
            claimed_at_ms,
            origin: origin.map(Origin),
            ips,
        },
    )
}

fn network() -> impl Strategy<Value = Network> {
    let unknown = prop_oneof![Just(UnknownUnicast::Flood), Just(UnknownUnicast::Drop)];
    let replication = prop_oneof![Just(Replication::SourceNode), Just(Replication::ServiceNode)];
    (1..Vni::MAX, unknown, replication, btree_set(vtep(), 0..3), btree_set(vtep(), 0..3)).prop_map(
        |(vni, unknown_unicast, replication, flood, unheard)| Network {
            vni: Vni::try_from(vni).unwrap(),
            unknown_unicast,
            replication,
            flood,
            unheard,
        },
    )
}

fn binding() -> impl Strategy<Value = Binding> {
    (port(), 0..4095_i64, switch()).prop_map(|(port, vlan, logical_switch)| Binding {
        port,
        vlan: VlanId::try_from(vlan).unwrap(),
        logical_switch,
    })
}

fn state() -> impl Strategy<Value = VtepState> {
    (
        option::of(ip()),
        btree_set(port(), 0..3),
        btree_set(switch(), 0..3),
        btree_set(".{0,4}", 0..2),
        btree_set(ip(), 0..2),
        btree_set(ip(), 0..2),
        vec(".{0,4}", 0..2),
        btree_map(ip(), ".{0,4}", 0..2),
    )
        .prop_map(|(address, ports, networks, faults, unreachable, reachable, refusals, bfd)| {
            VtepState { address, ports, networks, faults, unreachable, bfd, reachable, refusals }
        })
}

fn placement() -> impl Strategy<Value = Arc<Placement>> {
    (vtep(), vec(vtep(), 0..3)).prop_map(|(master, mut slaves)| {
        slaves.retain(|slave| *slave != master);
        Arc::new(Placement { master, slaves })
    })
}

fn update() -> impl Strategy<Value = TableUpdate> {
    let changes = vec(placement(), 1..3).prop_flat_map(|placements| {
        let put = (proptest::sample::select(placements), ips())
            .prop_map(|(placement, ips)| Change::Put(Row { placement, ips }));
        vec((mac(), prop_oneof![3 => put, 1 => cause().prop_map(Change::Remove)]), 0..6)
    });
    (switch(), any::<u64>(), any::<Option<u64>>(), any::<u64>(), any::<[bool; 2]>(), changes).prop_map(
        |(logical_switch, term, from, to, [complete, end], changes)| TableUpdate {
            logical_switch,
            term: Term(term),
            from: from.map(Version),
            to: Version(to),
            complete,
            changes,
            end,
        },
    )
}

fn from_vtep() -> impl Strategy<Value = FromVtep> {
    let records = vec((switch(), vec((mac(), option::of(local())), 0..4)), 0..3);
    let hello = (any::<u32>(), vtep(), any::<u64>(), vec(held(), 0..3));
    prop_oneof![
        hello.prop_map(|(protocol, name, term, tables)| FromVtep::Hello {
            protocol,
            name,
            term: Term(term),
            tables
        }),
        state().prop_map(FromVtep::State),
        (any::<[bool; 2]>(), records).prop_map(|([snapshot, end], networks)| FromVtep::Inventory(
            Inventory { snapshot, networks, end }
        )),
        any::<u64>().prop_map(|term| FromVtep::Obeys { term: Term(term) }),
        held().prop_map(FromVtep::Applied),
        switch().prop_map(|logical_switch| FromVtep::Resync { logical_switch }),
        vec(sighting(), 0..4).prop_map(FromVtep::Sightings),
        any::<i64>().prop_map(|wall_ms| FromVtep::Heartbeat { wall_ms }),
    ]
}

fn to_vtep() -> impl Strategy<Value = ToVtep> {
    let outline = (
        any::<bool>(),
        btree_map(vtep(), locator(), 0..3),
        btree_map(switch(), network(), 0..3),
        btree_set(binding(), 0..3),
    );
    prop_oneof![
        (any::<u32>(), controller(), any::<u64>(), any::<bool>()).prop_map(
            |(protocol, name, term, elected)| ToVtep::Welcome { protocol, name, term: Term(term), elected }
        ),
        (any::<u32>(), controller(), option::of((controller(), any::<u64>().prop_map(Term))))
            .prop_map(|(protocol, name, server)| ToVtep::Standby { protocol, name, server }),
        outline.prop_map(|(complete, vteps, networks, bindings)| ToVtep::Outline(VtepOutline {
            complete,
            vteps,
            networks,
            bindings
        })),
        update().prop_map(ToVtep::Table),
        switch().prop_map(|logical_switch| ToVtep::NoChange { logical_switch }),
        any::<i64>().prop_map(|wall_ms| ToVtep::Heartbeat { wall_ms }),
    ]
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (switch(), mac(), vtep(), any::<bool>(), any::<u32>()).prop_map(
        |(logical_switch, mac, sender, as_slave, count)| Sighting {
            logical_switch,
            mac,
            sender,
            as_slave,
            count,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let stamp = || any::<[u64; 2]>().prop_map(|[epoch, seq]| Stamp { epoch, seq });
    prop_oneof![
        (local(), stamp(), any::<i64>(), any::<bool>()).prop_map(
            |(local, stamp, received_at_ms, was_master)| {
                Report::Claim(Claim { local, stamp, received_at_ms, was_master })
            }
        ),
        (stamp(), cause()).prop_map(|(stamp, cause)| Report::Withdraw { stamp, cause }),
    ]
}

fn from_physical() -> impl Strategy<Value = FromPhysical> {
    let hello = (any::<u32>(), controller(), any::<u64>(), vec(held(), 0..3));
    let session = prop_oneof![Just(Session::Awaited), Just(Session::Up), Just(Session::Lost)];
    let away = option::of((any::<u64>(), any::<bool>()).prop_map(|(ms, unheard)| Away { ms, unheard }));
    let status = (session, state(), any::<Option<i64>>(), away)
        .prop_map(|(session, state, skew_ms, away)| VtepStatus { session, state, skew_ms, away });
    let claims = (vtep(), switch(), any::<[bool; 2]>(), vec((mac(), report()), 0..4));
    prop_oneof![
        hello.prop_map(|(protocol, name, term, tables)| FromPhysical::Hello {
            protocol,
            name,
            term: Term(term),
            tables
        }),
        (vtep(), status, any::<Option<u64>>()).prop_map(|(vtep, status, reign)| {
            FromPhysical::Vtep { vtep, status, reign: reign.map(Term) }
        }),
        claims.prop_map(|(vtep, logical_switch, [snapshot, end], records)| FromPhysical::Claims(Claims {
            vtep,
            logical_switch,
            snapshot,
            records,
            end
        })),
        (vtep(), held()).prop_map(|(vtep, held)| FromPhysical::Applied { vtep, held }),
        switch().prop_map(|logical_switch| FromPhysical::Resync { logical_switch }),
        (vtep(), vec(sighting(), 0..4))
            .prop_map(|(witness, sightings)| FromPhysical::Sightings { witness, sightings }),
        any::<u64>().prop_map(|token| FromPhysical::Sync { token }),
        any::<i64>().prop_map(|wall_ms| FromPhysical::Heartbeat { wall_ms }),
    ]
}

fn from_logical() -> impl Strategy<Value = FromLogical> {
    let network = (network(), btree_set(vtep(), 0..3))
        .prop_map(|(network, members)| NetworkOutline { network, members });
    let served = (option::of(".{0,8}"), btree_set(binding(), 0..3))
        .prop_map(|(ovsdb, bindings)| Served { ovsdb, bindings });
    let outline = (
        any::<[u64; 2]>(),
        btree_set(controller(), 0..3),
        btree_map(switch(), network, 0..3),
        btree_map(vtep(), locator(), 0..3),
        btree_map(vtep(), served, 0..3),
        btree_set(vtep(), 0..3),
        bfd(),
    );
    prop_oneof![
        (any::<u32>(), controller(), any::<u64>()).prop_map(|(protocol, name, term)| FromLogical::Welcome {
            protocol,
            name,
            term: Term(term)
        }),
        outline.prop_map(|([term, version], controllers, networks, directory, served, unplaced, bfd)| {
            FromLogical::Outline(Outline {
                term: Term(term),
                version: Version(version),
                controllers,
                networks,
                directory,
                served,
                unplaced,
                bfd,
            })
        }),
        update().prop_map(FromLogical::Table),
        (vtep(), switch()).prop_map(|(vtep, logical_switch)| FromLogical::NoChange { vtep, logical_switch }),
        (vtep(), switch()).prop_map(|(vtep, logical_switch)| FromLogical::Resync { vtep, logical_switch }),
        any::<u64>().prop_map(|token| FromLogical::Synced { token }),
        any::<i64>().prop_map(|wall_ms| FromLogical::Heartbeat { wall_ms }),
    ]
}

/// It comes back as it went, and damaged it gives an error or another message: no panic.
fn check<T: Wire + PartialEq + std::fmt::Debug>(message: &T, at: usize, octet: u8, cut: bool) {
    let mut octets = encode(message);
    assert_eq!(decode::<T>(&octets).unwrap(), *message);
    if octets.is_empty() {
        return;
    }
    let at = at % octets.len();
    octets[at] = octet;
    if cut {
        octets.truncate(at);
    }
    decode::<T>(&octets).ok();
}

prop_compose! {
    fn question()(from in controller(), request in vec(any::<u8>(), 0..20), shards in vec(any::<u16>(), 0..4)) -> Question {
        Question { from, request, shards }
    }
}

prop_compose! {
    fn refusal()(kind in proptest::sample::select(&KINDS[..]), shards in vec(any::<u16>(), 0..4), message in named()) -> Refusal {
        Refusal { shards, kind, message }
    }
}

const KINDS: [ErrorKind; 4] =
    [ErrorKind::Usage, ErrorKind::NotFound, ErrorKind::Failed, ErrorKind::Incomplete];

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(Answer::Rows),
        (vec(any::<u16>(), 0..4), vec(refusal(), 0..3))
            .prop_map(|(shards, refusals)| Answer::End { shards, refusals }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn what_a_vtep_says_survives(message in from_vtep(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn what_a_vtep_is_told_survives(message in to_vtep(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn what_a_physical_controller_says_survives(message in from_physical(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn what_a_logical_controller_says_survives(message in from_logical(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn a_question_of_another_controller_survives(message in question(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn its_answer_survives(message in answer(), at: usize, octet: u8, cut: bool) {
        check(&message, at, octet, cut);
    }

    #[test]
    fn garbage_gives_no_panic(octets in vec(any::<u8>(), 0..200)) {
        decode::<FromVtep>(&octets).ok();
        decode::<ToVtep>(&octets).ok();
        decode::<FromPhysical>(&octets).ok();
        decode::<FromLogical>(&octets).ok();
        decode::<Question>(&octets).ok();
        decode::<Answer>(&octets).ok();
    }
}

fn rows(count: u32, placements: u16) -> TableUpdate {
    let placement = |number| {
        let slaves = vec![name(&format!("tor-{number}-b"))];
        Arc::new(Placement { master: name(&format!("tor-{number}-a")), slaves })
    };
    let placements: Vec<_> = (0..placements).map(placement).collect();
    let row = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        let placement = Arc::clone(&placements[number as usize % placements.len()]);
        (MacAddr::new([2, 0, a, b, c, d]), Change::Put(Row { placement, ips: Ips::default() }))
    };
    TableUpdate {
        logical_switch: name("blue"),
        term: Term(1),
        from: None,
        to: Version(1),
        complete: true,
        changes: (0..count).map(row).collect(),
        end: true,
    }
}

#[test]
fn a_row_takes_few_octets_and_rows_share_their_placement() {
    let update = rows(8192, 100);
    let octets = encode(&ToVtep::Table(update));
    assert!(octets.len() < 8192 * 9, "{}", octets.len());
    let ToVtep::Table(update) = decode(&octets).unwrap() else { panic!("a table") };
    let placement = |at: usize| match &update.changes[at].1 {
        Change::Put(row) => Arc::as_ptr(&row.placement),
        Change::Remove(_) => panic!("a row"),
    };
    assert_eq!(placement(0), placement(100));
    assert_ne!(placement(0), placement(1));
}

#[test]
fn more_rows_than_one_message_may_have_are_refused() {
    let error = decode::<ToVtep>(&encode(&ToVtep::Table(rows(8193, 1)))).unwrap_err();
    assert_eq!(error.to_string(), "field table.changes is of 8193 rows; expected at most 8192");
}

#[track_caller]
fn check_refused(wire: super::proto::vtep_reply::Kind, expected: &str) {
    let error = ToVtep::from_wire(super::proto::VtepReply { kind: Some(wire) }).unwrap_err();
    assert_eq!(error.chain(), expected);
}

#[test]
fn more_sightings_than_one_message_may_have_are_refused() {
    let sighting = Sighting {
        logical_switch: name("blue"),
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        sender: name("a"),
        as_slave: true,
        count: 1,
    };
    let error = decode::<FromVtep>(&encode(&FromVtep::Sightings(vec![sighting; SIGHTINGS_MAX + 1])));
    assert_eq!(error.unwrap_err().to_string(), "field sightings is of 257 rows; expected at most 256");
}

#[test]
fn a_refusal_names_field_value_and_what_was_expected() {
    use super::proto::vtep_reply::Kind;
    use super::proto::{self, table_update};

    let error = ToVtep::from_wire(proto::VtepReply { kind: None }).unwrap_err();
    assert!(matches!(error, Malformed::Missing { field: "kind", .. }), "{error}");

    let table = |placement, macs: &[u8], changes: &[u32]| {
        Kind::Table(proto::TableUpdate {
            logical_switch: "blue".to_owned(),
            names: vec!["a".to_owned(), "b".to_owned()],
            placements: vec![placement],
            macs: macs.to_vec(),
            changes: changes.to_vec(),
            ..proto::TableUpdate::default()
        })
    };
    let good = table_update::Placement { master: 0, slaves: vec![1] };
    check_refused(
        table(table_update::Placement { master: 2, slaves: vec![] }, &[], &[]),
        "field table.placements is number 2; expected below 2",
    );
    check_refused(
        table(table_update::Placement { master: 0, slaves: vec![0] }, &[], &[]),
        "field table.placements is with \"a\" as master and as slave; expected each VTEP once",
    );
    check_refused(table(good.clone(), &[0; 6], &[17]), "field table.changes is number 1; expected below 1");
    check_refused(table(good.clone(), &[0; 6], &[0]), "field table.changes is 0; expected a cause, 1 to 4");
    check_refused(
        table(good, &[0; 5], &[16]),
        "field table.macs is of 5 octets; expected 6 for each of 1 changes",
    );
    check_refused(
        Kind::NoChange(proto::vtep_reply::NoChange { logical_switch: String::new() }),
        "field no_change.logical_switch is malformed: logical switch name is empty",
    );
}

#[test]
fn an_encapsulation_is_vxlan_unless_it_is_named_and_an_unknown_one_is_refused() {
    use super::proto::vtep_reply::{Kind, Outline};
    use super::proto::{self};

    let outline = |encapsulation: i32| {
        let locator = proto::Locator { address: vec![192, 0, 2, 1], encapsulation, bfd: None };
        Kind::Outline(Outline { vteps: [("a".to_owned(), locator)].into(), ..Outline::default() })
    };
    for (number, expected) in
        [(0, Encapsulation::Vxlan), (1, Encapsulation::Vxlan), (3, Encapsulation::Nvgre)]
    {
        let message = proto::VtepReply { kind: Some(outline(number)) };
        let ToVtep::Outline(outline) = ToVtep::from_wire(message).unwrap() else { panic!("an outline") };
        assert_eq!(outline.vteps.values().next().unwrap().encapsulation, expected);
    }
    check_refused(
        outline(4),
        "field locator.encapsulation is 4; expected 1 (VXLAN), 2 (Geneve) or 3 (NVGRE)",
    );
}

/// One-off: `cargo test --release -p vtep-api --features grpc -- --ignored --nocapture million`.
#[test]
#[ignore = "a measurement"]
fn a_million_rows_in_less_than_a_second() {
    let updates: Vec<_> = (0..123).map(|_| ToVtep::Table(rows(8192, 500))).collect();
    let start = std::time::Instant::now();
    let octets: usize = updates
        .iter()
        .map(|update| {
            let octets = encode(update);
            decode::<ToVtep>(&octets).unwrap();
            octets.len()
        })
        .sum();
    println!("{} rows, {octets} octets: {:?}", 123 * 8192, start.elapsed());
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn what_is_said_of_bfd_is_in_its_bounds_or_the_message_is_refused() {
    use super::proto::vtep_reply::{Kind, Outline};
    use super::proto::{self};

    let outline = |bfd: proto::Bfd| {
        let locator = proto::Locator { address: vec![192, 0, 2, 1], encapsulation: 0, bfd: Some(bfd) };
        Kind::Outline(Outline { vteps: [("a".to_owned(), locator)].into(), ..Outline::default() })
    };
    check_refused(
        outline(proto::Bfd { min_tx_ms: Some(49), ..proto::Bfd::default() }),
        "field bfd.min_tx_ms is 49; expected 50 to 60000",
    );
    check_refused(
        outline(proto::Bfd { transport: 4, ..proto::Bfd::default() }),
        "field bfd.transport is 4; expected 1 (single hop), 2 (multi-hop) or 3 (VXLAN)",
    );
}
