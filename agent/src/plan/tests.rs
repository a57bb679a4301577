use std::time::{Duration, Instant};

use proptest::prelude::*;
use vtep_abi::{Target, Template, VtepAdj};

use super::*;
use crate::dataplane::VtepRow;

fn adj(index: u32, variant: u8) -> VtepAdj {
    VtepAdj {
        remote: vtep_abi::mapped_v4([192, 0, 2, u8::try_from(index).unwrap()]),
        template: Template { bytes: [variant; Template::LEN] },
        ..bytemuck::Zeroable::zeroed()
    }
}

/// A dataplane in which everything that is pointed at exists, and a number has the same meaning in any two of them.
fn closed() -> impl Strategy<Value = Dataplane> {
    let vteps = prop::collection::btree_map(1_u32..6, (0_u8..2, any::<bool>()), 0..6);
    let locals = prop::collection::btree_map(1_u32..5, 0_u16..2, 0..5);
    let networks = prop::collection::btree_map(1_u32..4, (0_u32..2, any::<u8>()), 0..4);
    let macs = prop::collection::vec((1_u32..4, 0_u8..8, any::<u8>(), any::<u8>(), 0_u32..2), 0..24);
    let senders = prop::collection::vec((0_u32..4, any::<u8>()), 0..12);
    (vteps, locals, networks, macs, senders).prop_map(|(vteps, locals, networks, macs, senders)| {
        let mut dataplane = Dataplane::default();
        for (index, (variant, up)) in vteps {
            dataplane.vteps.insert(index, VtepRow { adj: adj(index, variant), up, suspect: false });
        }
        let vni_of = |local: u32| local % 3 + 1;
        for (index, flags) in locals {
            let port = LocalPort {
                ifindex: 10 + index / 3,
                vni: vni_of(index),
                vlan: 0,
                flags,
                bd: vni_of(index),
                mtu: 1500,
            };
            dataplane.local_ports.insert(index, port);
        }
        let vtep_indices: Vec<u32> = dataplane.vteps.keys().copied().collect();
        let targets: Vec<Target> = dataplane.local_ports.keys().copied().map(Target::LocalPort).collect();
        let targets: Vec<Target> =
            targets.into_iter().chain(vtep_indices.iter().copied().map(Target::Vtep)).collect();
        for (vni, (flags, members)) in networks {
            let flood = targets.iter().copied().enumerate().filter(|(at, _)| members & (1 << (at % 8)) != 0);
            let flood = flood.map(|(_, target)| target).collect();
            dataplane
                .networks
                .insert(vni, Network { bd: vni, flags, flood_limit: vtep_abi::Limit::default(), flood });
        }
        let pick = |at: u8| targets.get(usize::from(at) % targets.len().max(1)).copied();
        for (vni, mac, master, slave, flags) in macs {
            if let (Some(master), Some(slave)) = (pick(master), pick(slave)) {
                let key = FdbKey::new(vni, [2, 0, 0, 0, 0, mac]);
                dataplane.fdb.insert(key, FdbTarget { master, slave, flags });
            }
        }
        for (vni, at) in senders {
            if let Some(&index) = vtep_indices.get(usize::from(at) % vtep_indices.len().max(1)) {
                dataplane.senders.insert(VtepByIpKey { vni, address: adj(index, 0).remote }, index);
            }
        }
        let bound: Vec<_> = dataplane.local_ports.iter().map(|(&index, &port)| (index, port)).collect();
        for (local_port, port) in bound {
            if dataplane.networks.contains_key(&port.vni) {
                let value = PortValue { vni: port.vni, bd: port.bd, local_port, ..PortValue::UNBOUND };
                dataplane.ports.insert(PortId { ifindex: port.ifindex, vlan: port.vlan }, value);
            }
        }
        dataplane
    })
}

fn dangling(dataplane: &Dataplane) -> Option<String> {
    let stands = |target: Target| match target {
        Target::None => true,
        Target::Vtep(index) => dataplane.vteps.contains_key(&index),
        Target::LocalPort(index) => dataplane.local_ports.contains_key(&index),
    };
    let fdb = dataplane.fdb.iter().find(|(_, to)| !stands(to.master) || !stands(to.slave));
    let flood = dataplane.networks.iter().find(|(_, network)| !network.flood.iter().copied().all(stands));
    let sender = dataplane.senders.iter().find(|(_, index)| !dataplane.vteps.contains_key(*index));
    let port = dataplane.ports.iter().find(|(_, port)| {
        let own = dataplane.local_ports.get(&port.local_port).is_some_and(|local| local.vni == port.vni);
        !own || !dataplane.networks.contains_key(&port.vni)
    });
    let found = (fdb, flood, sender, port);
    (!matches!(found, (None, None, None, None))).then(|| format!("{found:?}"))
}

proptest! {
    #[test]
    fn a_plan_leads_from_any_dataplane_to_any_other(installed in closed(), desired in closed()) {
        let mut dataplane = installed.clone();
        for step in plan(&desired, &installed).steps {
            prop_assert!(!step.is_empty());
            dataplane.apply(step);
        }
        prop_assert_eq!(&dataplane, &desired);
        prop_assert_eq!(plan(&desired, &dataplane), Plan::default());
    }

    #[test]
    fn no_step_leaves_anything_pointing_at_nothing(installed in closed(), desired in closed()) {
        let mut dataplane = installed.clone();
        prop_assert_eq!(dangling(&dataplane), None);
        for step in plan(&desired, &installed).steps {
            dataplane.apply(step.clone());
            prop_assert_eq!(dangling(&dataplane), None, "after {:?}", step);
        }
    }
}

#[test]
fn a_mac_that_moves_is_one_write() {
    let entry = |index| FdbTarget { master: Target::Vtep(index), slave: Target::None, flags: 0 };
    let key = FdbKey::new(1, [2, 0, 0, 0, 0, 1]);
    let mut installed = Dataplane::default();
    for index in [1, 2] {
        installed.vteps.insert(index, VtepRow { adj: adj(index, 0), up: true, suspect: false });
    }
    installed.fdb.insert(key, entry(1));
    let mut desired = installed.clone();
    desired.fdb.insert(key, entry(2));
    assert_eq!(plan(&desired, &installed).steps, [Step::PutFdb(vec![(key, entry(2))])]);
}

#[test]
#[ignore = "measures a million entries; run with --release"]
fn a_million_macs_are_planned_within_half_a_second() {
    let mut desired = Dataplane::default();
    let entry = FdbTarget { master: Target::Vtep(1), slave: Target::None, flags: 0 };
    for at in 0..1_000_000_u32 {
        let [_, a, b, c] = at.to_be_bytes();
        desired.fdb.insert(FdbKey::new(at % 100 + 1, [2, 0, 0, a, b, c]), entry);
    }
    let installed = Dataplane::default();
    let start = Instant::now();
    let first = plan(&desired, &installed);
    let after = plan(&desired, &desired);
    let took = start.elapsed();
    assert_eq!((first.steps.len(), after.steps.len()), (1, 0));
    assert!(took < Duration::from_millis(500), "{took:?}");
}
