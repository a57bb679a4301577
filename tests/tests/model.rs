//! A slice of `cargo xtask fuzz dataplane`, and the frames that once were answered wrongly.

use std::{fs, path::Path};

use vtep_abi::Verdict;
use vtep_tests::{
    fuzz::{self, Case, Plan, Rig, Seed},
    model::{Binding, LocalPort, Network, Tables, Tags, Vtep},
};

#[test]
fn the_programs_answer_as_the_model_does() {
    let seed = rand::random();
    println!("seed {seed}");
    let agreed = fuzz::run(Plan { seed, frames: 300_000, first_round: 0, jobs: 1 }).unwrap();
    println!("{agreed}");
    for verdict in [Verdict::Local, Verdict::Master, Verdict::Slave, Verdict::Delivered] {
        let (all, by_xdp) = (agreed.tally.of(verdict), agreed.tally.of_xdp(verdict));
        assert!(by_xdp > 100 && all - by_xdp > 100, "{}: {by_xdp} of {all} by XDP", verdict.name());
    }
    for verdict in [
        Verdict::Device,
        Verdict::Flooded,
        Verdict::DeliveredFlood,
        Verdict::Answered,
        Verdict::TooBigTold,
        Verdict::PortMtu,
        Verdict::PortMtuTold,
        Verdict::PortStorm,
        Verdict::VniStorm,
        Verdict::MacRefused,
        Verdict::IpRefused,
        Verdict::WrongSource,
        Verdict::LocalSource,
        Verdict::NotAdmitted,
        Verdict::EcnCongested,
        Verdict::GeneveCritical,
        Verdict::Unresolved,
    ] {
        assert!(agreed.tally.of(verdict) > 10, "{} came to be too seldom", verdict.name());
    }
}

/// The negative control: maps that say in one place what the model's tables do not, as a program would that reads them
/// wrongly.
#[test]
fn each_mistake_on_purpose_is_found() {
    fn vteps(tables: &mut Tables, change: impl FnMut(&mut Vtep)) {
        tables.vteps.values_mut().for_each(change);
    }
    fn networks(tables: &mut Tables, change: impl FnMut(&mut Network)) {
        tables.networks.values_mut().for_each(change);
    }
    fn ports(tables: &mut Tables, change: impl FnMut(&mut LocalPort)) {
        tables.local_ports.values_mut().for_each(change);
    }
    fn bindings(tables: &mut Tables, change: impl FnMut(&mut Binding)) {
        tables.bindings.values_mut().for_each(change);
    }
    let mistakes: [(&str, Seed); 23] = [
        ("TTL", |tables| vteps(tables, |vtep| vtep.policy.ttl ^= 1)),
        ("DSCP", |tables| vteps(tables, |vtep| vtep.policy.dscp ^= 1)),
        ("don't fragment", |tables| vteps(tables, |vtep| vtep.policy.dont_fragment ^= true)),
        ("MTU", |tables| vteps(tables, |vtep| vtep.mtu += 1)),
        ("uplink", |tables| vteps(tables, |vtep| vtep.uplink = 43 - vtep.uplink)),
        ("state", |tables| vteps(tables, |vtep| vtep.up = true)),
        ("uplinks at XDP", |tables| vteps(tables, |vtep| vtep.takes_xdp = true)),
        ("a flood's last member", |tables| {
            networks(tables, |network| network.flood.truncate(network.flood.len().saturating_sub(1)));
        }),
        ("storm limit", |tables| {
            networks(tables, |network| network.storm.iter_mut().for_each(|storm| storm.burst += 1));
        }),
        ("source check", |tables| networks(tables, |network| network.checks_source = false)),
        ("suppression", |tables| tables.neighbours.clear()),
        ("MTU of ports", |tables| ports(tables, |port| port.mtu += 1)),
        ("tag", |tables| ports(tables, |port| port.vlan ^= 1)),
        ("ports at XDP", |tables| ports(tables, |port| port.takes_xdp = true)),
        ("ports that are passed by", |tables| ports(tables, |port| port.to_peer ^= true)),
        ("port security", |tables| bindings(tables, |binding| binding.checks_ips = false)),
        ("link-local frames", |tables| bindings(tables, |binding| binding.link_local = true)),
        ("tags that stay inside", |tables| bindings(tables, |binding| binding.tags = Tags::None)),
        ("tags that come out", |tables| ports(tables, |port| port.tags = Tags::None)),
        ("networks with tags", |tables| networks(tables, |network| network.carries_tags ^= true)),
        ("senders", |tables| tables.senders.values_mut().for_each(|vtep| *vtep = *vtep % 7 + 1)),
        ("master and slave", |tables| {
            tables.fdb.values_mut().for_each(|entry| std::mem::swap(&mut entry.master, &mut entry.slave));
        }),
        ("reserved bits", |tables| tables.host.strict = false),
    ];
    let plan = Plan { seed: rand::random(), frames: 200_000, first_round: 0, jobs: 1 };
    println!("seed {}", plan.seed);
    for (what, mistake) in mistakes {
        let error = fuzz::run_seeded(plan, Some(mistake)).expect_err(what).to_string();
        assert!(error.starts_with("the model says otherwise"), "{what}: {error}");
    }
}

#[test]
fn frames_that_once_differed_do_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/frames");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty(), "there are frames to replay");
    Rig::with(|rig| {
        for name in names {
            let case = Case::parse(&fs::read_to_string(&name).unwrap()).unwrap();
            let difference = case.difference(rig).unwrap();
            assert_eq!(difference, None, "{}", name.display());
        }
    })
    .unwrap();
}
