//! What `bench control --agents` measures at a thousand, with a dozen and without a clock.

use vtep_tests::lab::herd::HerdCluster;

#[test]
fn agents_of_a_killed_physical_controller_go_on_by_delta() {
    let mut cluster = HerdCluster::start(12, 3, 5).unwrap();
    let mut bereft = 0;
    for victim in ["pc1", "pc2"] {
        let failover = cluster.fail_over(victim).unwrap();
        assert_eq!(failover.synced.len(), 12);
        assert_eq!(failover.told_whole, 0, "agents were told a table as a whole after {victim}");
        // Who stands by takes over in a session that is there: whom it served looks for nobody but the one that is gone.
        assert!(failover.gone.in_all > 0, "nobody looked for {victim}: {failover:?}");
        bereft += failover.bereft;
    }
    // Each of them lost its controller in one of both rounds, for it always was one of the two.
    assert_eq!(bereft, 12);
}
