//! What a seed makes of a run: who there is, what the operator declared, and what may go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use vtep_api::{
    BfdWord, Binding, ControllerName, Encapsulation, LogicalSwitchName, MacAddr, Replication, SwitchPortName,
    UnknownUnicast, VlanId, Vni, VtepName,
};
use vtep_controller::Declared;
use vtep_controller::declared::{
    Batch, DeclaredSwitch, DeclaredVtep, Distribution, Duplicate, DuplicateAction, MassWithdraw, Policy,
    Storm, TimePolicy, WitnessPolicy,
};

use crate::random::Random;

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) logicals: Vec<ControllerName>,
    pub(crate) physicals: Vec<ControllerName>,
    pub(crate) vteps: Vec<VtepShape>,
    pub(crate) switches: Vec<LogicalSwitchName>,
    pub(crate) macs: Vec<MacAddr>,
    pub(crate) faults: Faults,
    pub(crate) operations: u64,
    pub(crate) declared: Declared,
}

#[derive(Debug, Clone)]
pub(crate) struct VtepShape {
    pub(crate) name: VtepName,
    pub(crate) kind: Kind,
    pub(crate) address: IpAddr,
    /// The physical controller that it has a session with.
    pub(crate) home: usize,
    /// Its peer in the rack.
    pub(crate) partner: Option<usize>,
    /// Takes its time with every message.
    pub(crate) slow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows with UUIDs that outlive everything; the adapter that speaks for it knows no versions.
    Tor,
    /// Numbers its claims; after a restart it has its tables, and none of the numbers.
    Agent,
}

/// What may go wrong, each a share of the seeds.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Faults {
    pub(crate) sessions: bool,
    pub(crate) logical_restarts: bool,
    pub(crate) physical_restarts: bool,
    pub(crate) vtep_restarts: bool,
    /// Versioned messages are lost, doubled and reordered inside a session, claims are doubled and told again.
    pub(crate) lossy: bool,
    /// Long messages arrive in parts.
    pub(crate) parts: bool,
    pub(crate) clocks: bool,
    /// What an earlier reign of a controller sent arrives late.
    pub(crate) zombies: bool,
    pub(crate) redeclared: bool,
    pub(crate) pins: bool,
    /// One VTEP goes for good.
    pub(crate) loss_of_vtep: bool,
    pub(crate) storms: bool,
    pub(crate) mass_withdrawals: bool,
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let random = &mut random;
        let logicals = (0..random.between(1, 3)).map(|n| name(&format!("lc-{n}"))).collect::<Vec<_>>();
        let physicals = (0..random.between(2, 4)).map(|n| name(&format!("pc-{n}"))).collect::<Vec<_>>();
        let switches = (0..random.between(1, 4)).map(|n| name(&format!("ls-{n}"))).collect::<Vec<_>>();
        // Few VTEPs meet often; many are rare because they cost much.
        let (racks, hosts) = match random.below(20) {
            0 => (random.between(3, 6), random.between(4, 20)),
            1..=5 => (random.between(1, 3), random.between(1, 4)),
            _ => (random.between(1, 2), random.between(0, 2)),
        };
        let mut vteps = Vec::new();
        for rack in 0..racks {
            for side in 0..2 {
                let at = vteps.len();
                let partner = if side == 0 { at + 1 } else { at - 1 };
                vteps.push(vtep(
                    random,
                    &format!("tor-{rack}{}", ['a', 'b'][side]),
                    Kind::Tor,
                    at,
                    physicals.len(),
                ));
                vteps[at].partner = Some(partner);
            }
        }
        for host in 0..hosts {
            let at = vteps.len();
            vteps.push(vtep(random, &format!("host-{host}"), Kind::Agent, at, physicals.len()));
        }
        let mut macs: Vec<_> = (0..random.between(3, 24)).map(|n| mac([2, 0, 0, 0, 0], n)).collect();
        if random.percent(30) {
            macs.push(mac([0, 0, 0x5e, 0, 1], 7));
        }
        let faults = Faults::draw(random);
        let policy = policy(random, &faults);
        let declared = declare(random, policy, &logicals, &physicals, &vteps, &switches);
        let operations = random.between(20, 120);
        Self { seed, logicals, physicals, vteps, switches, macs, faults, operations, declared }
    }
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        if random.percent(5) {
            return Self::default();
        }
        Self {
            sessions: random.percent(60),
            logical_restarts: random.percent(40),
            physical_restarts: random.percent(40),
            vtep_restarts: random.percent(40),
            lossy: random.percent(25),
            parts: random.percent(40),
            clocks: random.percent(40),
            zombies: random.percent(25),
            redeclared: random.percent(40),
            pins: random.percent(25),
            loss_of_vtep: random.percent(15),
            storms: random.percent(10),
            mass_withdrawals: random.percent(15),
        }
    }
}

fn policy(random: &mut Random, faults: &Faults) -> Policy {
    let time = match random.below(10) {
        0 => TimePolicy::PhysicalControllerTime,
        1 => TimePolicy::VtepTime,
        _ => TimePolicy::Arrival,
    };
    let batch = if random.percent(30) {
        Batch { period_ms: 1500, size: if random.percent(50) { 5 } else { 0 } }
    } else {
        Batch::default()
    };
    let action = if random.percent(10) { DuplicateAction::Freeze } else { DuplicateAction::Warn };
    let guard = MassWithdraw { entries: 4, percent: 20, window_secs: 30 };
    Policy {
        time,
        hold_secs: 40,
        start_wait_secs: 10,
        distribution: if random.percent(10) { Distribution::Full } else { Distribution::Delta },
        batch,
        duplicate: Duplicate { action, recover_secs: 60, ..Duplicate::default() },
        storm: if faults.storms { Storm { takes_max: 5, window_secs: 10 } } else { Storm::default() },
        mass_withdraw: if faults.mass_withdrawals { guard } else { MassWithdraw::default() },
        ..Policy::default()
    }
}

fn vtep(random: &mut Random, text: &str, kind: Kind, at: usize, physicals: usize) -> VtepShape {
    let address = Ipv4Addr::new(192, 0, 2, u8::try_from(at + 1).expect("there are few")).into();
    let slow = random.percent(10);
    VtepShape { name: name(text), kind, address, home: random.index(physicals), partner: None, slow }
}

fn declare(
    random: &mut Random,
    policy: Policy,
    logicals: &[ControllerName],
    physicals: &[ControllerName],
    vteps: &[VtepShape],
    switches: &[LogicalSwitchName],
) -> Declared {
    let mut declared = Declared { policy, ..Declared::default() };
    for (at, switch) in switches.iter().enumerate() {
        let owner = logicals[random.index(logicals.len())].clone();
        declared.logical_switches.insert(switch.clone(), declared_switch(at, owner));
    }
    for vtep in vteps {
        let tor = vtep.kind == Kind::Tor;
        let declared_vtep = DeclaredVtep {
            ovsdb: tor.then(|| format!("tcp:{}:6640", vtep.address)),
            address: random.percent(50).then_some(vtep.address),
            encapsulation: Encapsulation::Vxlan,
            physical_controller: (tor || random.percent(50)).then(|| physicals[vtep.home].clone()),
            bfd: BfdWord::default(),
        };
        declared.vteps.insert(vtep.name.clone(), declared_vtep);
        for (at, switch) in switches.iter().enumerate() {
            if random.percent(75) {
                join(&mut declared, vtep, at, switch);
            }
        }
    }
    declared
}

pub(crate) fn declared_switch(at: usize, owner: ControllerName) -> DeclaredSwitch {
    DeclaredSwitch {
        vni: Vni::try_from(u32::try_from(at).expect("there are few") + 100).expect("it is in range"),
        logical_controller: Some(owner),
        unknown_unicast: UnknownUnicast::default(),
        replication: Replication::default(),
        service_nodes: BTreeSet::new(),
        witness: WitnessPolicy::default(),
    }
}

/// A TOR by a binding, a host by a subscription.
pub(crate) fn join(declared: &mut Declared, vtep: &VtepShape, at: usize, switch: &LogicalSwitchName) {
    if vtep.kind == Kind::Tor {
        declared.bindings.entry(vtep.name.clone()).or_default().insert(binding(at, switch));
    } else {
        declared.subscriptions.entry(vtep.name.clone()).or_default().insert(switch.clone());
    }
}

pub(crate) fn leave(declared: &mut Declared, vtep: &VtepName, switch: &LogicalSwitchName) {
    retain(&mut declared.bindings, vtep, |binding| binding.logical_switch != *switch);
    retain(&mut declared.subscriptions, vtep, |subscribed| subscribed != switch);
}

fn retain<T: Ord>(of: &mut BTreeMap<VtepName, BTreeSet<T>>, vtep: &VtepName, keep: impl FnMut(&T) -> bool) {
    if let Some(set) = of.get_mut(vtep) {
        set.retain(keep);
        if set.is_empty() {
            of.remove(vtep);
        }
    }
}

fn binding(at: usize, switch: &LogicalSwitchName) -> Binding {
    let vlan = VlanId::try_from(i64::try_from(at).expect("there are few") + 10).expect("it is in range");
    Binding { port: name("eth1"), vlan, logical_switch: switch.clone() }
}

pub(crate) fn port() -> SwitchPortName {
    name("eth1")
}

pub(crate) fn name<T: for<'a> TryFrom<&'a str>>(text: &str) -> T {
    T::try_from(text).unwrap_or_else(|_| panic!("{text} is a good name"))
}

fn mac(prefix: [u8; 5], n: u64) -> MacAddr {
    let mut octets = [u8::try_from(n + 1).expect("there are few"); 6];
    octets[..5].copy_from_slice(&prefix);
    MacAddr::new(octets)
}
