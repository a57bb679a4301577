//! The members of a run, what happens to them, and what must hold all the time and in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use vtep_api::{ControllerName, Term, VtepName};

use super::model::{Backup, Client, Faults, Store};
use super::time::{Tasks, below, jitter_ms, percent, sleep};
use crate::cluster::etcd::Etcd;
use crate::cluster::member::Member;
use crate::cluster::view::MemberEntry;
use crate::cluster::{Office, Standing, desired};
use crate::config::Role;
use crate::logical::{Durable, Known};

const LEASE: Duration = Duration::from_secs(3);
const SHARDS: u16 = 3;

struct World {
    tasks: Tasks,
    store: Arc<Mutex<Store>>,
    standings: Vec<watch::Receiver<Standing>>,
    hints: Vec<Arc<Notify>>,
    /// The highest by which each office was acted on.
    highest: BTreeMap<Office, Term>,
    /// Who acted by which term.
    holders: BTreeMap<(Office, Term), usize>,
    /// A lease may be gone without its holder knowing.
    ghosts: bool,
    /// The highest term that etcd could have given by what each process ever read.
    given: Vec<Term>,
}

pub(super) fn run(seed: u64) -> Result<(), String> {
    World::new(seed).play()
}

/// Everything that happened to etcd.
pub(super) fn told(seed: u64) -> Vec<String> {
    let mut world = World::new(seed);
    let end = world.play();
    let mut log = std::mem::take(&mut world.store.lock().unwrap().log);
    log.extend(end.err());
    log
}

impl World {
    fn new(seed: u64) -> Self {
        let members = 4;
        let tasks = Tasks::new(seed, members + 1);
        let hints: Vec<Arc<Notify>> = (0..members).map(|_| Arc::default()).collect();
        let faults = Faults { lossy: percent(40), slow: percent(40), deaf: percent(40), ghosts: percent(25) };
        let ghosts = faults.ghosts;
        let store = Arc::new(Mutex::new(Store::new(faults, hints.clone())));
        let (standings, highest, holders) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let given = vec![Term::default(); members];
        let mut world = Self { tasks, store, standings, hints, highest, holders, ghosts, given };
        for process in 0..members {
            let standing = world.start(process);
            world.standings.push(standing);
        }
        world
    }

    fn start(&mut self, process: usize) -> watch::Receiver<Standing> {
        let (standing, told) = watch::channel(Standing::default());
        let client = Client { store: self.store.clone(), process };
        let name = ControllerName::try_from(format!("c{process}")).unwrap();
        let role = [Role::Both, Role::Both, Role::Logical, Role::Physical][process % 4];
        let (address, version) = (String::new(), String::new());
        let entry = MemberEntry { role, address, version, settled: false, lease: 0, created: 0 };
        let hint = self.hints[process].clone();
        let mut member =
            Member::simulated(Etcd::simulated(client), name, entry, SHARDS, LEASE, hint, standing);
        self.tasks.spawn(process, async move {
            loop {
                member.life().await.ok();
                sleep(jitter_ms(400)).await;
            }
        });
        let mut acting = told.clone();
        self.tasks.spawn(process, async move {
            loop {
                sleep(jitter_ms(300)).await;
                let reigns = acting.borrow_and_update().reigns.clone();
                for (office, reign) in reigns {
                    if !reign.tenure.holds() || office.controller().is_none() {
                        continue;
                    }
                    // Under way for some time: who was stopped meanwhile writes when he goes on.
                    sleep(jitter_ms(200)).await;
                    let known = Known { reign: reign.term, ..Known::default() };
                    let known = BTreeMap::from([(VtepName::try_from("v").unwrap(), known)]);
                    reign.put(Some(&Durable { known, ..Durable::default() }), &BTreeMap::new()).await.ok();
                }
            }
        });
        told
    }

    fn play(&mut self) -> Result<(), String> {
        self.pass(5000)?;
        let backup = percent(30).then(|| self.store.lock().unwrap().back_up());
        for _ in 0..below(12) + 3 {
            let process = usize::try_from(below(4)).unwrap();
            match below(5) {
                0 => self.tasks.stopped[process] = true,
                1 => self.store.lock().unwrap().cut_off[process] = true,
                2 => {
                    self.tasks.kill(process);
                    self.standings[process] = self.start(process);
                    self.given[process] = Term::default();
                }
                3 if self.ghosts => self.store.lock().unwrap().make_ghost(),
                _ => self.store.lock().unwrap().babble(),
            }
            self.pass(200 + below(5000))?;
            if percent(60) {
                self.tasks.stopped[process] = false;
                self.store.lock().unwrap().cut_off[process] = false;
                self.pass(below(3000))?;
            }
        }
        self.tasks.stopped.fill(false);
        {
            let mut store = self.store.lock().unwrap();
            store.cut_off.fill(false);
            // Watches and leases stay as they are: nobody may depend on what they say.
            store.faults = Faults { lossy: false, slow: false, ..store.faults.clone() };
        }
        if let Some(backup) = backup {
            self.put_back(backup)?;
        }
        self.pass(20_000)?;
        self.check_end()
    }

    /// etcd is away for longer than a lease, and then in an older state. Who knows of higher terms than it gives says so, until
    /// an operator raises them; from then on nobody acts by one that receivers refuse.
    fn put_back(&mut self, backup: Backup) -> Result<(), String> {
        self.pass(5000)?;
        self.store.lock().unwrap().cut_off.fill(true);
        self.pass(5000)?;
        self.store.lock().unwrap().put_back(backup);
        self.store.lock().unwrap().cut_off.fill(false);
        // Terms are given a second time.
        self.highest.clear();
        self.holders.clear();
        self.pass(15_000)?;
        let told = self.outdated()?;
        let Some(above) = told.into_iter().flatten().max() else { return Ok(()) };
        self.store.lock().unwrap().raise_terms(above);
        self.highest.clear();
        self.holders.clear();
        self.pass(3000)?;
        let low = acting(&self.tasks, &self.standings)
            .into_iter()
            .find(|(_, by)| by.iter().any(|(_, term)| *term <= above));
        if let Some(low) = low {
            return Err(format!("{low:?} acts though terms were raised above {above:?}"));
        }
        let told = self.outdated()?;
        if told.iter().any(Option::is_some) {
            Err(format!("{told:?} after terms were raised"))
        } else {
            Ok(())
        }
    }

    /// By process, the term that is higher than etcd gives, if it says so.
    fn outdated(&self) -> Result<Vec<Option<Term>>, String> {
        let mut told = Vec::new();
        for (process, (standing, given)) in self.standings.iter().zip(&self.given).enumerate() {
            let standing = standing.borrow();
            let obeyed = standing.outdated.as_ref().map(|outdated| outdated.obeyed);
            let highest = standing.view.term(standing.view.revision);
            if (*given > highest) != (obeyed >= Some(*given)) {
                return Err(format!(
                    "c{process} knows of {given:?}, etcd gives {highest:?}, told is {obeyed:?}"
                ));
            }
            told.push(obeyed);
        }
        Ok(told)
    }

    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let Self { tasks, store, standings, highest, holders, ghosts, given, .. } = self;
        tasks.run(Duration::from_millis(ms), |tasks| {
            store.lock().unwrap().expire();
            for (given, standing) in given.iter_mut().zip(standings.iter()) {
                let view = standing.borrow().view.clone();
                *given = view.term(view.revision).max(*given);
            }
            let acting = acting(tasks, standings);
            for (office, by) in &acting {
                for &(process, term) in by {
                    let first = *holders.entry((office.clone(), term)).or_insert(process);
                    if first != process {
                        return Err(format!("{office} is held by c{first} and c{process}, both by {term:?}"));
                    }
                }
            }
            check(acting, highest, *ghosts)?;
            store.lock().unwrap().violation.clone().map_or(Ok(()), Err)
        })
    }

    /// Every office is with whom the assignment names, and he knows it.
    fn check_end(&self) -> Result<(), String> {
        let view = self.standings[0].borrow().view.clone();
        if view.members.len() != self.standings.len() {
            return Err(format!("in the end there are {} members", view.members.len()));
        }
        for office in view.all_offices() {
            let wanted = desired(&view, &office).ok_or("nobody may have it")?;
            let acts_by = |standing: &watch::Receiver<Standing>| {
                standing.borrow().reigns.get(&office).is_some_and(|reign| reign.tenure.holds())
            };
            let acting: Vec<String> = (0..self.standings.len())
                .filter(|&process| acts_by(&self.standings[process]))
                .map(|process| format!("c{process}"))
                .collect();
            if acting != [wanted.to_string()] {
                return Err(format!("in the end {acting:?} has {office}; expected {wanted}"));
            }
        }
        Ok(())
    }
}

type Acting = BTreeMap<Office, Vec<(usize, Term)>>;

/// Who takes which office to be his own; who is stopped does nothing.
fn acting(tasks: &Tasks, standings: &[watch::Receiver<Standing>]) -> Acting {
    let mut acting = Acting::new();
    for (process, standing) in standings.iter().enumerate().filter(|(process, _)| !tasks.stopped[*process]) {
        for (office, reign) in &standing.borrow().reigns {
            if reign.tenure.holds() {
                acting.entry(office.clone()).or_default().push((process, reign.term));
            }
        }
    }
    acting
}

/// Nobody acts beside another one, and nobody by a term that is over.
fn check(acting: Acting, highest: &mut BTreeMap<Office, Term>, ghosts: bool) -> Result<(), String> {
    for (office, holders) in acting {
        // A lease that is gone though it is prolonged is known by its keys, with the next look.
        if holders.len() > 1 && !ghosts {
            return Err(format!("{office} is held twice: {holders:?}"));
        }
        let term = holders.iter().map(|(_, term)| *term).max().unwrap_or_default();
        let known = highest.entry(office.clone()).or_default();
        if term < *known && !ghosts {
            return Err(format!("{office} is held by {term:?} after {known:?}"));
        }
        *known = term.max(*known);
    }
    Ok(())
}
