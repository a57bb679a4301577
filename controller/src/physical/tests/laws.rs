//! What holds of every course of events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vtep_api::*;

use super::receiver::{Ledger, Receiver};
use super::world::*;
use crate::physical::Event;
use crate::published::Published;

const NETWORKS: [&str; 3] = ["X", "Y", "Z"];
const VTEPS: [&str; 3] = ["a", "b", "c"];
const ALL: &[&str] = &VTEPS;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

type Record = (usize, u32, bool);
type Told = BTreeMap<(usize, u32), bool>;

fn records() -> impl Strategy<Value = Told> {
    prop::collection::btree_map((0..3_usize, 0..12_u32), any::<bool>(), 0..20)
}

fn local(is_master: bool) -> LocalMac {
    if is_master { master(1) } else { slave(1) }
}

/// LC-a owns X and Z, LC-b owns Y.
fn split_world() -> World {
    World::ready(&[("lc-a", &[("X", ALL), ("Z", ALL)]), ("lc-b", &[("Y", ALL)])], ALL)
}

/// Tells an inventory in parts of so many records.
fn tell(world: &mut World, name: &str, told: &Told, part: usize, shape: impl Fn(bool) -> LocalMac) {
    let records: Vec<Record> =
        told.iter().map(|((network, number), role)| (*network, *number, *role)).collect();
    for chunk in records.chunks(part) {
        let records =
            chunk.iter().map(|(n, number, role)| (NETWORKS[*n].to_owned(), *number, Some(shape(*role))));
        world.say(name, FromVtep::Inventory(Inventory { end: false, ..inventory(true, records) }));
    }
    world.say(name, FromVtep::Inventory(inventory(true, std::iter::empty())));
}

fn ledgers(world: &World) -> BTreeMap<&'static str, Ledger> {
    let mut ledgers = BTreeMap::new();
    for name in ["lc-a", "lc-b"] {
        let ledger: &mut Ledger = ledgers.entry(name).or_default();
        for claims in world.claims_to(name) {
            ledger.take(claims);
        }
    }
    ledgers
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn what_is_split_makes_the_whole_again(told in records(), part in 1..8_usize) {
        let mut world = split_world();
        tell(&mut world, "b", &told, part, local);
        let mut merged = Told::new();
        for (name, ledger) in ledgers(&world) {
            for ((network, about), claims) in ledger.records() {
                prop_assert_eq!(name == "lc-b", network == ls("Y"), "{} is not of {}", network, name);
                prop_assert_eq!(about, vtep("b"));
                let at = NETWORKS.iter().position(|name| ls(name) == network).unwrap();
                for (address, claim) in claims {
                    let number = (0..12).find(|number| mac(*number) == address).unwrap();
                    merged.insert((at, number), claim.local.role == Role::Master);
                }
            }
        }
        prop_assert_eq!(merged, told);
    }

    #[test]
    fn a_reconnect_changes_nothing(told in records(), parts in (1..8_usize, 1..8_usize), recovered in any::<bool>()) {
        let mut world = split_world();
        tell(&mut world, "b", &told, parts.0, local);
        let before = ledgers(&world);
        world.down("b");
        world.pass(7000);
        world.hello("b", vec![]);
        let shape = |role| if recovered { LocalMac { origin: None, ..local(role) } } else { local(role) };
        tell(&mut world, "b", &told, parts.1, shape);
        for (name, mut after) in ledgers(&world) {
            prop_assert_eq!(after.news, before[name].news, "a claim was made anew");
            for claim in after.claims.values_mut().flat_map(BTreeMap::values_mut) {
                claim.local.origin = Some(Origin(1));
            }
            prop_assert_eq!(after.records(), before[name].records());
        }
    }

    #[test]
    fn however_slow_they_are_logical_controllers_end_with_what_the_vteps_have(
        steps in prop::collection::vec((0..3_usize, 0..3_usize, 0..6_u32, 0..5_u8), 1..40),
    ) {
        let mut world = split_world();
        world.prompt = false;
        let mut have = BTreeMap::<(usize, usize, u32), LocalMac>::new();
        for (origin, (about, network, number, kind)) in steps.into_iter().enumerate() {
            let key = (about, network, number);
            let record = match kind {
                0 => None,
                1 => Some(slave(origin as u128)),
                2 => { world.take_peer(&lc("lc-a"), number); continue }
                3 => { world.take_peer(&lc("lc-b"), 1); continue }
                _ => Some(master(origin as u128)),
            };
            match &record {
                Some(record) => have.insert(key, record.clone()),
                None => have.remove(&key),
            };
            world.change(VTEPS[about], NETWORKS[network], number, record);
        }
        world.take_all();
        let mut known = BTreeMap::new();
        for ((network, about), claims) in ledgers(&world).values().flat_map(Ledger::records) {
            let network = NETWORKS.iter().position(|name| ls(name) == network).unwrap();
            let about = VTEPS.iter().position(|name| vtep(name) == about).unwrap();
            for (address, claim) in claims {
                let number = (0..6).find(|number| mac(*number) == address).unwrap();
                known.insert((about, network, number), claim.local);
            }
        }
        prop_assert_eq!(known, have);
    }

    #[test]
    fn snapshot_and_deltas_make_the_full_table(steps in prop::collection::vec(step(), 1..40)) {
        Course::new().run(steps);
    }

    #[test]
    fn terms_only_rise(steps in prop::collection::vec((any::<bool>(), 1..6_u64, 1..4_u64), 1..20)) {
        let mut world = World::ready(&[("lc-a", &[("X", ALL)])], ALL);
        let mut receiver = Receiver::default();
        let mut obeyed = Term(0);
        for (second, term, version) in steps {
            let name = if second { "lc-b" } else { "lc-a" };
            world.welcome(name, term);
            world.message(name, FromLogical::Outline(outline(term, version, &[("X", ALL)], ALL)));
            let master = if second { "b" } else { "a" };
            world.table(name, snapshot("X", term, version, vec![put(u32::try_from(version).unwrap(), master)]));
            let table = world.physical.table(&ls("X"));
            let by = table.map_or(Term(0), |table| table.term);
            prop_assert!(by >= obeyed);
            obeyed = by;
            for (_, message) in world.to_vteps.drain(..).filter(|(to, _)| *to == vtep("c")) {
                receiver.take(&message);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u32, usize),
    Remove(u32),
    /// The logical controller sends what is new: as a delta, or whole.
    Send {
        whole: bool,
    },
    /// It begins a new reign, whose first table is not whole.
    Reign,
    Complete,
    /// It is away for a while.
    Away,
    /// It takes nothing meanwhile that was sent before.
    Reconnect(usize, bool),
    Take(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..10_u32, 0..3_usize).prop_map(|(number, master)| Step::Put(number, master)),
        4 => (0..10_u32).prop_map(Step::Remove),
        8 => any::<bool>().prop_map(|whole| Step::Send { whole }),
        1 => Just(Step::Reign),
        2 => Just(Step::Complete),
        1 => Just(Step::Away),
        2 => (0..3_usize, any::<bool>()).prop_map(|(at, forgetful)| Step::Reconnect(at, forgetful)),
        6 => (0..3_usize, 1..20_u32).prop_map(|(at, messages)| Step::Take(at, messages)),
    ]
}

/// A logical controller that the law's author wrote, the physical controller, and three VTEPs.
struct Course {
    world: World,
    table: Published,
    term: u64,
    told: Option<Version>,
    complete: bool,
    receivers: [Receiver; 3],
    /// What was sent and not taken.
    waiting: [Vec<ToVtep>; 3],
    /// MACs that were there from the beginning and never left.
    stable: BTreeSet<MacAddr>,
}

impl Course {
    fn new() -> Self {
        let mut world = World::ready(&[("lc-a", &[("X", ALL)])], ALL);
        world.prompt = false;
        let mut course = Self {
            world,
            table: Published::default(),
            term: 1,
            told: None,
            complete: true,
            receivers: Default::default(),
            waiting: Default::default(),
            stable: BTreeSet::new(),
        };
        for number in 0..10 {
            course.table.publish([put(number, "a")]);
            course.stable.insert(mac(number));
        }
        course.send(true);
        for at in 0..3 {
            course.take(at, u32::MAX);
        }
        course
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(&step);
            self.deliver();
        }
        self.step(&Step::Complete);
        self.table.publish([put(99, "c")]);
        self.send(false);
        for _ in 0..4 {
            for at in 0..3 {
                self.take(at, u32::MAX);
            }
        }
        let expected: BTreeMap<_, _> = self.table.iter().map(|(mac, row)| (mac, row.clone())).collect();
        assert_eq!(self.world.rows("X"), expected);
        for receiver in &self.receivers {
            assert_eq!(receiver.tables[&ls("X")].rows, expected);
            assert!(receiver.resyncs.is_empty());
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put(number, master) => {
                self.table.publish([put(number, VTEPS[master])]);
            }
            Step::Remove(number) => {
                self.stable.remove(&mac(number));
                self.table.publish([(mac(number), Change::Remove(Cause::Withdrawn))]);
            }
            Step::Send { whole } => self.send(whole),
            Step::Reign => {
                self.term += 1;
                self.connect();
                let rows: Vec<_> =
                    self.table.iter().map(|(mac, row)| (mac, Change::Put(row.clone()))).collect();
                // It has heard of the even ones only.
                let heard = rows.into_iter().filter(|(mac, _)| mac.octets()[5] % 2 == 0);
                self.table = Published::default();
                self.table.publish(heard.collect::<Vec<_>>());
                // The rest was never claimed again.
                self.stable.retain(|mac| mac.octets()[5] % 2 == 0);
                self.complete = false;
                self.send(true);
            }
            Step::Complete => {
                if !std::mem::replace(&mut self.complete, true) {
                    self.send(true);
                }
            }
            Step::Away => {
                self.world.step(Event::Disconnected { peer: lc("lc-a") });
                self.connect();
                self.send(true);
            }
            Step::Reconnect(at, forgetful) => {
                self.world.down(VTEPS[at]);
                self.waiting[at].clear();
                self.receivers[at].disconnect();
                if forgetful {
                    self.receivers[at] = Receiver::default();
                }
                let held = self.receivers[at].held();
                self.world.hello(VTEPS[at], held);
            }
            Step::Take(at, messages) => self.take(at, messages),
        }
    }

    fn connect(&mut self) {
        self.world.welcome("lc-a", self.term);
        self.world.message("lc-a", FromLogical::Outline(outline(self.term, 1, &[("X", ALL)], ALL)));
        self.told = None;
    }

    fn send(&mut self, whole: bool) {
        let to = self.table.version();
        let from = self.told.filter(|_| !whole && self.complete);
        let changes = match from {
            Some(from) if from == to => return,
            Some(from) => self.table.since(from).unwrap(),
            None => self.table.iter().map(|(mac, row)| (mac, Change::Put(row.clone()))).collect(),
        };
        let update = TableUpdate { from, complete: self.complete, ..snapshot("X", self.term, to.0, changes) };
        // In two parts.
        let (first, second) = update.changes.split_at(update.changes.len() / 2);
        let part = |changes: &[_], end| TableUpdate { changes: changes.to_vec(), end, ..update.clone() };
        self.world.table("lc-a", part(first, false));
        self.world.table("lc-a", part(second, true));
        self.told = Some(to);
    }

    fn take(&mut self, at: usize, messages: u32) {
        self.deliver();
        let taken = self.waiting[at].len().min(messages as usize);
        for message in self.waiting[at].drain(..taken) {
            self.receivers[at].take(&message);
        }
        if let Some(table) = self.receivers[at].tables.get(&ls("X")).filter(|table| table.rows.len() > 1) {
            assert!(
                self.stable.iter().all(|mac| table.rows.contains_key(mac)),
                "a row went that was never removed"
            );
        }
        self.world.take_vtep(&vtep(VTEPS[at]), u32::try_from(taken).unwrap());
        self.deliver();
    }

    fn deliver(&mut self) {
        for (to, message) in self.world.to_vteps.drain(..) {
            let at = VTEPS.iter().position(|name| vtep(name) == to).unwrap();
            self.waiting[at].push(message);
        }
    }
}
