use crate::harness::*;

fn pair() -> Arbiter {
    Arbiter::started(declared(
        &[("pc-a", &["a", "d"]), ("pc-b", &["b"]), ("pc-c", &["c"])],
        &[("x", &["a", "b", "c"]), ("y", &["d"])],
    ))
}

#[test]
fn scenario_04_the_later_claim_wins_and_the_former_master_is_its_slave() {
    let mut lc = pair();
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &[]);
    lc.wait_ms(12);
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "b", &["a"]);
    lc.check_receivers();
    assert_eq!(lc.core.counters().moves, 1);
    assert_eq!(lc.why("x", 1), "arrival: later than a by 1 claim / 12 ms");
    assert_eq!(lc.pushes("pc-c", "x"), 3, "the empty table, the claim, the move");
    assert_eq!(lc.pushes("pc-a", "y"), 1, "the empty table");
}

#[test]
fn scenario_05_the_remaining_claimant_is_master_without_a_new_report() {
    let mut lc = pair();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.withdraw("b", "x", 1);
    lc.check("x", 1, "a", &[]);
    lc.check_receivers();
    for received in lc.peers.values() {
        assert!(received.tables.values().all(|table| table.removals.is_empty()), "never without an entry");
    }
}
