//! What holds for any history.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use vtep_api::{Claim, FromPhysical, Held, MacAddr, PROTOCOL, Role, Session, Term, VtepName};
use vtep_controller::Declared;
use vtep_controller::declared::Policy;
use vtep_controller::logical::{Durable, Event};

use crate::harness::*;

fn trio() -> Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b", "c"])], &[("x", &["a", "b", "c"])])
}

/// Made once: most of a case's time would go into it.
fn with(change: fn(&mut Policy)) -> Arbiter {
    let mut declared = trio();
    change(&mut declared.policy);
    Arbiter::started(declared)
}

static PLAIN: LazyLock<Arbiter> = LazyLock::new(|| with(|_| {}));
static GUARDED: LazyLock<Arbiter> = LazyLock::new(|| {
    with(|policy| {
        let guard = &mut policy.mass_withdraw;
        (guard.entries, guard.percent, guard.window_secs) = (3, 0, 8);
    })
});
static RATIONED: LazyLock<Arbiter> = LazyLock::new(|| with(|policy| policy.quota = 2));

const VTEPS: [&str; 3] = ["a", "b", "c"];

/// By which VTEP, of which MAC, and what.
fn history(length: usize) -> impl Strategy<Value = Vec<(usize, u32, Option<Role>)>> {
    let what = prop_oneof![3 => Just(Some(M)), 2 => Just(Some(S)), 2 => Just(None)];
    prop::collection::vec((0_usize..3, 0_u32..4, what), 0..length)
}

/// What each VTEP claims by now.
type Inventory = BTreeMap<(usize, u32), Claim>;

fn live(lc: &mut Arbiter, inventory: &mut Inventory, (by, number, what): (usize, u32, Option<Role>)) {
    if let Some(role) = what {
        inventory.insert((by, number), lc.claim(VTEPS[by], "x", number, role));
    } else {
        inventory.remove(&(by, number));
        lc.withdraw(VTEPS[by], "x", number);
    }
}

fn tell(lc: &mut Arbiter, inventory: &Inventory, by: usize) {
    let own: Vec<(u32, Claim)> = inventory
        .iter()
        .filter(|((vtep, _), _)| *vtep == by)
        .map(|((_, number), claim)| (*number, claim.clone()))
        .collect();
    lc.snapshot(VTEPS[by], "x", &own);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_reconnect_changes_nothing(history in history(8), away in 0_usize..2, anew in any::<bool>()) {
        let mut lc = PLAIN.clone();
        let mut inventory = Inventory::new();
        for event in history {
            live(&mut lc, &mut inventory, event);
        }
        let (table, version) = (lc.table("x"), lc.core.networks()[0].version);
        let moves = lc.core.counters().moves;
        let (peer, vteps): (&str, &[usize]) = [("pc-a", &[0][..]), ("pc-b", &[1, 2])][away];
        lc.disconnect(peer);
        if anew {
            lc.epoch += 1;
            for claim in inventory.values_mut() {
                claim.stamp = lc.stamp();
                claim.received_at_ms += 100;
            }
        }
        lc.connect(peer);
        for &by in vteps {
            lc.session(VTEPS[by], Session::Up);
            tell(&mut lc, &inventory, by);
        }
        prop_assert_eq!(lc.table("x"), table);
        prop_assert_eq!(lc.core.networks()[0].version, version);
        prop_assert_eq!(lc.core.counters().moves, moves);
        lc.check_receivers();
    }

    #[test]
    fn every_mac_that_is_claimed_has_one_master_and_all_other_claimants_are_its_slaves(history in history(12)) {
        let mut lc = PLAIN.clone();
        let mut inventory = Inventory::new();
        for event in history {
            live(&mut lc, &mut inventory, event);
        }
        let mut claimants: BTreeMap<MacAddr, Vec<VtepName>> = BTreeMap::new();
        for (by, number) in inventory.keys() {
            claimants.entry(mac(*number)).or_default().push(vtep(VTEPS[*by]));
        }
        let told = lc.table("x").into_iter().map(|(mac, (master, mut slaves))| {
            slaves.push(master);
            slaves.sort();
            (mac, slaves)
        });
        prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), claimants);
    }

    #[test]
    fn snapshots_and_deltas_lead_to_the_published_table(
        events in prop::collection::vec((history(3), 0_u8..5), 0..4)
    ) {
        let mut lc = PLAIN.clone();
        let mut inventory = Inventory::new();
        for (history, then) in events {
            for event in history {
                live(&mut lc, &mut inventory, event);
            }
            match then {
                0 => lc.peers.get_mut(&pc("pc-b")).unwrap().slow = true,
                1 => lc.catch_up("pc-b"),
                2 => {
                    let had = lc.at("pc-a").tables[&ls("x")].clone();
                    let held = Held { logical_switch: ls("x"), term: Term(1), version: had.version };
                    lc.disconnect("pc-a");
                    lc.connect_with("pc-a", vec![(held, had)]);
                    lc.session("a", Session::Up);
                    tell(&mut lc, &inventory, 0);
                }
                _ => {}
            }
        }
        lc.catch_up("pc-b");
        lc.check_receivers();
    }

    #[test]
    fn the_mass_withdraw_guard_lets_no_more_pass_in_any_window(
        events in prop::collection::vec((0_u32..12, any::<bool>(), 0_u64..4000), 0..24)
    ) {
        let mut lc = GUARDED.clone();
        let mut gone: Vec<(u64, usize)> = Vec::new();
        for (number, claims, ms) in events {
            lc.wait_ms(ms);
            let before = lc.table("x").len();
            if claims {
                lc.claim("a", "x", number, M);
            } else {
                lc.withdraw("a", "x", number);
            }
            gone.push((lc.now.mono_ms, before.saturating_sub(lc.table("x").len())));
            let window = gone.iter().filter(|(at, _)| at + 8000 > lc.now.mono_ms);
            prop_assert!(window.map(|(_, count)| count).sum::<usize>() <= 3);
        }
    }

    #[test]
    fn quotas_are_kept_and_take_nothing_from_others(history in history(16)) {
        let mut lc = RATIONED.clone();
        let mut inventory = Inventory::new();
        for (by, number, what) in history {
            let others = |lc: &Arbiter| -> BTreeMap<_, usize> {
                let views = lc.core.vteps(lc.now).into_iter().filter(|view| view.name != vtep(VTEPS[by]));
                views.map(|view| (view.name, view.claims.values().sum())).collect()
            };
            let before = others(&lc);
            live(&mut lc, &mut inventory, (by, number, what));
            prop_assert_eq!(others(&lc), before);
            for view in lc.core.vteps(lc.now) {
                prop_assert!(view.claims.values().sum::<usize>() <= 2);
            }
        }
    }

    #[test]
    fn terms_only_rise(terms in prop::collection::vec(0_u64..5, 1..8)) {
        let mut lc = Arbiter::new(trio(), Term(3), Durable::default());
        let mut highest = 0;
        for term in terms {
            lc.peers.insert(pc("pc-a"), Received::default());
            lc.step(Event::Connected { peer: pc("pc-a") });
            let hello = FromPhysical::Hello {
                protocol: PROTOCOL,
                name: pc("pc-a"),
                term: Term(term),
                tables: Vec::new(),
            };
            lc.step(Event::Message { peer: pc("pc-a"), message: hello });
            prop_assert_eq!(lc.at("pc-a").closed.is_none(), term >= highest);
            prop_assert_eq!(lc.at("pc-a").term == Term(3), term >= highest);
            highest = highest.max(term);
        }
    }
}
