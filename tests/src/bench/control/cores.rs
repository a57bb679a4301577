//! The two pure cores, joined without a transport: what they cost by themselves.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use vtep_api::{
    Binding, ControllerName, FromVtep, Inventory, LocalMac, LogicalSwitchName, MacAddr, Origin, PROTOCOL,
    Role, SwitchPortName, Term, ToVtep, VlanId, Vni, VtepName, VtepState,
};
use vtep_controller::{
    Declared, Logical, Now, Physical,
    declared::{Batch, DeclaredSwitch, DeclaredVtep, MassWithdraw, Policy, Storm, WitnessPolicy},
    logical::{self, Durable},
    physical::{self, SessionId},
};

/// In one message of a VTEP.
const RECORDS: u32 = 1000;
pub(super) const NETWORKS: u32 = 10;

/// A logical and a physical controller with VTEPs that are all in all networks.
pub(super) struct Cores {
    logical: Logical,
    physical: Physical,
    start: Instant,
    events: VecDeque<Event>,
    /// Rows that came to VTEPs.
    pub(super) rows_told: u64,
}

enum Event {
    Logical(logical::Event),
    Physical(physical::Event),
}

impl Cores {
    /// The tables of all networks are complete, and empty.
    pub(super) fn new(vteps: u32) -> Result<Self> {
        let now = Now::default();
        let name = ControllerName::try_from("bench")?;
        let declared = Arc::new(declared(vteps)?);
        let begin = logical::Start {
            name: name.clone(),
            term: Term(1),
            declared: Arc::clone(&declared),
            durable: Durable::default(),
            elected: false,
        };
        let logical = Logical::new(begin, now);
        let begin =
            physical::Start { name: name.clone(), term: Term(1), batch: Batch::default(), elected: false };
        let physical = Physical::new(begin, now);
        let mut cores =
            Self { logical, physical, start: Instant::now(), events: VecDeque::new(), rows_told: 0 };
        cores.events.push_back(Event::Logical(logical::Event::Connected { peer: name.clone() }));
        cores.events.push_back(Event::Physical(physical::Event::Connected { peer: name }));
        cores.run();
        for (index, vtep) in declared.vteps.keys().enumerate() {
            let hello =
                FromVtep::Hello { protocol: PROTOCOL, name: vtep.clone(), term: Term(0), tables: Vec::new() };
            let octet = u8::try_from(index)?;
            let state = VtepState { address: Some([192, 0, 2, octet].into()), ..VtepState::default() };
            cores.tell(vtep, hello);
            cores.tell(vtep, FromVtep::State(state));
            cores.tell(
                vtep,
                FromVtep::Inventory(Inventory { snapshot: true, networks: Vec::new(), end: true }),
            );
            cores.run();
        }
        cores.events.push_back(Event::Logical(logical::Event::Tick));
        cores.run();
        Ok(cores)
    }

    pub(super) fn tell(&mut self, vtep: &VtepName, message: FromVtep) {
        let event = physical::Event::Vtep { vtep: vtep.clone(), session: SessionId(1), message };
        self.events.push_back(Event::Physical(event));
    }

    /// Until nothing is left to do.
    pub(super) fn run(&mut self) {
        let (mut of_logical, mut of_physical) = (Vec::new(), Vec::new());
        while let Some(event) = self.events.pop_front() {
            let now = Now { mono_ms: millis(self.start.elapsed()), wall_ms: 0 };
            match event {
                Event::Logical(event) => self.logical.step(event, now, &mut of_logical),
                Event::Physical(event) => self.physical.step(event, now, &mut of_physical),
            }
            for action in of_logical.drain(..) {
                if let logical::Action::Send { peer, message } = action {
                    let taken = logical::Event::Taken { peer: peer.clone(), messages: 1 };
                    self.events.push_back(Event::Physical(physical::Event::Message { peer, message }));
                    self.events.push_back(Event::Logical(taken));
                }
            }
            for action in of_physical.drain(..) {
                match action {
                    physical::Action::Send { peer, message } => {
                        let taken = physical::Event::Taken { peer: peer.clone(), messages: 1 };
                        self.events.push_back(Event::Logical(logical::Event::Message { peer, message }));
                        self.events.push_back(Event::Physical(taken));
                    }
                    physical::Action::ToVtep { vtep, session, message } => {
                        if let ToVtep::Table(update) = message {
                            self.rows_told += update.changes.len() as u64;
                        }
                        let taken = physical::Event::VtepTaken { vtep, session, messages: 1 };
                        self.events.push_back(Event::Physical(taken));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// New claims in a second, on the one core that this thread has.
pub(super) fn claims_per_second(macs: u32) -> Result<f64> {
    let mut cores = Cores::new(2)?;
    let vtep = vtep(0)?;
    let messages: Vec<_> = (0..macs.div_ceil(RECORDS))
        .map(|part| claims(part, 0, part * RECORDS..(part + 1) * RECORDS))
        .collect::<Result<_>>()?;
    let before = cores.rows_told;
    let start = Instant::now();
    for message in messages {
        cores.tell(&vtep, message);
        cores.run();
    }
    let took = start.elapsed();
    let told = cores.rows_told - before;
    let expected = u64::from(macs.div_ceil(RECORDS) * RECORDS) * 2;
    ensure!(told == expected, "of {expected} rows {told} came to the two VTEPs");
    Ok(f64::from(macs) / took.as_secs_f64())
}

/// Microseconds from one VTEP's claim of a MAC that another had, until all VTEPs are told, with so many MACs in the table.
pub(super) fn change_micros(macs: u32, changes: u32) -> Result<f64> {
    let mut cores = Cores::new(2)?;
    let places = [vtep(0)?, vtep(1)?];
    for part in 0..macs.div_ceil(RECORDS) {
        cores.tell(&places[0], claims(0, 0, part * RECORDS..(part + 1) * RECORDS)?);
        cores.run();
    }
    let before = cores.rows_told;
    let start = Instant::now();
    for change in 0..changes {
        cores.tell(&places[1], claims(0, 1, change..change + 1)?);
        cores.run();
    }
    let took = start.elapsed();
    let told = cores.rows_told - before;
    ensure!(told == u64::from(changes) * 2, "{changes} moves came as {told} rows to two VTEPs");
    Ok(took.as_secs_f64() * 1e6 / f64::from(changes))
}

fn claims(network: u32, claim: u32, macs: std::ops::Range<u32>) -> Result<FromVtep> {
    let record = |number: u32| {
        let origin = Some(Origin(u128::from(claim) << 32 | u128::from(number)));
        (mac(number), Some(LocalMac { role: Role::Master, origin, ..LocalMac::default() }))
    };
    let networks = vec![(logical_switch(network % NETWORKS)?, macs.map(record).collect())];
    Ok(FromVtep::Inventory(Inventory { snapshot: false, networks, end: true }))
}

/// Guards stand aside: what is measured is what they let pass.
fn declared(vteps: u32) -> Result<Declared> {
    let never = u32::MAX;
    let policy = Policy {
        storm: Storm { takes_max: never, ..Storm::default() },
        mass_withdraw: MassWithdraw { entries: never, ..MassWithdraw::default() },
        quota: never,
        ..Policy::default()
    };
    let mut declared = Declared { policy, ..Declared::default() };
    for number in 0..NETWORKS {
        let switch = DeclaredSwitch {
            vni: Vni::try_from(i64::from(5001 + number))?,
            logical_controller: None,
            unknown_unicast: vtep_api::UnknownUnicast::default(),
            replication: vtep_api::Replication::default(),
            service_nodes: BTreeSet::new(),
            witness: WitnessPolicy::default(),
        };
        declared.logical_switches.insert(logical_switch(number)?, switch);
    }
    for number in 0..vteps {
        let bindings = (0..NETWORKS).map(|network| {
            Ok(Binding {
                port: SwitchPortName::try_from("p")?,
                vlan: VlanId::try_from(i64::from(network))?,
                logical_switch: logical_switch(network)?,
            })
        });
        declared.vteps.insert(vtep(number)?, DeclaredVtep::default());
        declared.bindings.insert(vtep(number)?, bindings.collect::<Result<_>>()?);
    }
    Ok(declared)
}

fn logical_switch(number: u32) -> Result<LogicalSwitchName> {
    Ok(LogicalSwitchName::try_from(format!("ls{number}"))?)
}

fn vtep(number: u32) -> Result<VtepName> {
    Ok(VtepName::try_from(format!("vtep{number}"))?)
}

pub(super) fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
