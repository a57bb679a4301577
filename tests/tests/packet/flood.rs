//! Who gets a copy, and what is counted of those who do not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use vtep_abi::{Limit, Target, Verdict, VtepAdj, VtepAdmin};
use vtep_agent::{
    dataplane::{Network, VtepRow},
    kernel::Program,
    plan::Step,
};
use vtep_tests::frame;

use super::rig::{PEER, Rig, TOR_A, TOR_B, VM, VM_2, VNI};
use super::{DROP, check_port};

/// However the thread ends that holds it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The lists' VTEPs are one, many times: what comes and goes does so for all of them.
#[test]
fn a_next_hop_that_comes_and_goes_within_a_flood_costs_no_copy_and_makes_no_second_one() {
    const MEMBERS: u64 = 60;
    const MIXED_MIN: u32 = 20;
    const FLOODS_MAX: u32 = 4000;
    Rig::once(false, |rig| {
        let flood = vec![Target::Vtep(TOR_A); usize::try_from(MEMBERS).unwrap()];
        rig.apply(&Step::PutNetworks(vec![(
            VNI,
            Network { bd: 1, flags: 0, flood_limit: Limit::default(), flood },
        )]));
        // Both places of the VTEP are filled; one byte says which is in force.
        let resolved = Rig::adjacency(TOR_A, rig.uplink);
        let unresolved = VtepAdj { flags: resolved.flags & !VtepAdj::RESOLVED, ..resolved };
        for adj in [resolved, unresolved, resolved] {
            rig.apply(&Step::PutVteps(vec![(TOR_A, VtepRow { adj, up: true, suspect: false })]));
        }
        let mut admin = rig.admin();
        let bits = admin.get(&TOR_A, 0).unwrap();
        let stop = AtomicBool::new(false);
        let (mut floods, mut mixed) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut slot = 0;
                while !stop.load(Ordering::Relaxed) {
                    slot ^= VtepAdmin::SLOT;
                    admin.set(TOR_A, bits ^ slot, 0).unwrap();
                }
                admin.set(TOR_A, bits, 0).unwrap();
            });
            let _stop = Stop(&stop);
            while mixed < MIXED_MIN && floods < FLOODS_MAX {
                let before = rig.copies().unwrap().uplink;
                rig.kernel
                    .test_run(Program::PortIn, &frame::arp_request(VM, PEER.address), rig.port, 1)
                    .unwrap();
                let encapsulated = rig.copies().unwrap().uplink - before;
                floods += 1;
                mixed += u32::from(!encapsulated.is_multiple_of(MEMBERS));
            }
        });
        assert!(mixed >= MIXED_MIN, "the next hop came and went within {mixed} floods of {floods} only");
        let stats = rig.kernel.vtep_stats(TOR_A).unwrap();
        assert_eq!(
            (stats.sent.packets, stats.copy_errors),
            (u64::from(floods) * MEMBERS, 0),
            "of {floods} floods"
        );
    });
}

#[test]
fn a_copy_that_does_not_leave_by_a_port_is_counted_there_though_others_leave() {
    Rig::with(|rig| {
        let errors = |rig: &Rig| [1, 2].map(|port| rig.kernel.port_stats(port).unwrap().copy_errors);
        check_port(rig, &frame::arp_request(VM, VM_2.address), Verdict::Flooded, DROP);
        assert_eq!(errors(rig), [0, 0]);
        rig.take_down_port_2();
        let before = rig.copies().unwrap().uplink;
        check_port(rig, &frame::arp_request(VM, VM_2.address), Verdict::Flooded, DROP);
        assert_eq!(errors(rig), [0, 1]);
        assert_eq!(rig.copies().unwrap().uplink - before, 2, "the TORs have theirs");
        for tor in [TOR_A, TOR_B] {
            assert_eq!(rig.kernel.vtep_stats(tor).unwrap().copy_errors, 0);
        }
    });
}
