//! This process as a member: from a lease to its end, and again. While the lease holds it reads the state of the cluster,
//! takes and leaves offices as the plan says, and tells the rest of the process what it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use vtep_api::daemon::chain;
use vtep_api::grpc::TransportError;
use vtep_api::{ControllerName, Term};

use super::etcd::{Etcd, EtcdError, Guard, Op, Range};
use super::heard::{Heard, Outdated};
use super::keys::Keys;
use super::late::Late;
use super::plan::{Bid, Me, bids};
use super::time::{Instant, jitter, sleep, sleep_until, timeout_at, unix_ms};
use super::view::{Holder, MemberEntry, Settings, View};
use super::{Office, Reign, StateError, Tenure};
use crate::bugs::bug;
use crate::config::{Config, EtcdStore};
use crate::store::{Applied, Envelope};

/// The cluster is read so often though no watch hinted at anything.
const DOUBT: Duration = Duration::from_secs(1);
/// Not read more often than that.
const PACE: Duration = Duration::from_millis(20);
const BIDS_AT_ONCE: usize = 32;
/// Full jitter below it, between attempts.
const RETRY: Duration = Duration::from_millis(400);

/// What this process is to know of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub view: Arc<View>,
    pub declared: Option<Declaration>,
    /// Why `view` may be old: it could not be read since.
    pub away: Option<String>,
    /// Its terms are lower than one that was obeyed.
    pub outdated: Option<Outdated>,
    /// Since when this process is a member, as a term; none: it is not one.
    pub member: Option<Term>,
    /// The offices that it has.
    pub reigns: BTreeMap<Office, Reign>,
}

/// A declared file, and the revision of its key.
#[derive(Debug, Clone)]
pub struct Declaration {
    pub revision: i64,
    pub applied: Arc<Applied>,
}

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("controller.name {name} is that of a shard; expected another one")]
    Reserved { name: ControllerName },
}

/// For the rest of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(super) etcd: Arc<Etcd>,
    pub(super) keys: Keys,
    hint: Arc<Notify>,
    heard: Heard,
    standing: watch::Receiver<Standing>,
    /// One write of a shard's state at a time: what was taken to be written later is written later.
    writing: Arc<tokio::sync::Mutex<()>>,
    health: Arc<Mutex<Health>>,
    late: Late,
}

/// How writing went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) errors: u64,
    /// Of writes of an office that was not ours any more: etcd refused them.
    pub(crate) fenced: u64,
    pub(crate) failing: Option<String>,
}

pub(super) struct Member {
    etcd: Arc<Etcd>,
    keys: Keys,
    name: ControllerName,
    entry: MemberEntry,
    /// Of a cluster that has none yet.
    shards: u16,
    lease_for: Duration,
    /// Since when it is a member, by which revision, and when it says that it has settled.
    since: Option<(i64, Instant)>,
    settle_for: Duration,
    hint: Arc<Notify>,
    standing: watch::Sender<Standing>,
    heard: Heard,
    doubt: Doubt,
    /// A lease by which nobody acts any more, though etcd may keep it for a while.
    ended: Option<i64>,
}

/// What was read before, against which what is read is held.
#[derive(Default)]
struct Doubt {
    /// The revision that was read last in the present life.
    seen: i64,
    /// The highest term that etcd could have given by what was ever read of it.
    given: Term,
    /// Since when etcd gives only lower ones than were obeyed.
    outdated_since: Option<Instant>,
    outdated: Option<Outdated>,
    /// The revision of a declared file that was not understood.
    damaged: Option<i64>,
    warned: Option<String>,
}

impl Cluster {
    /// Joins, and stays until the last clone is gone.
    pub(crate) fn join(config: &Config, store: &EtcdStore) -> Result<Self, JoinError> {
        let name = config.controller.name.clone();
        if Office::is_reserved(&name) {
            return Err(JoinError::Reserved { name });
        }
        let lease_for = Duration::from_secs(store.lease_secs.as_u32().into());
        // A request that is lost leaves time for another one before the lease is over.
        let etcd = Arc::new(Etcd::new(&store.endpoints, store.tls.as_ref(), lease_for / 3)?);
        let (hint, keys) = (Arc::new(Notify::new()), Keys::new(&store.prefix));
        let (standing, watched) = watch::channel(Standing::default());
        let address = store.advertise.as_ref().map_or(config.listen.address.to_string(), ToString::to_string);
        let entry = MemberEntry {
            role: config.controller.role,
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settled: false,
            lease: 0,
            created: 0,
        };
        let cluster = Self {
            etcd: etcd.clone(),
            keys: keys.clone(),
            hint: hint.clone(),
            heard: Heard::default(),
            standing: watched,
            writing: Arc::default(),
            health: Arc::default(),
            late: Late::default(),
        };
        let shards = store.shards.as_u16();
        let heard = cluster.heard.clone();
        let member = Member {
            etcd,
            keys,
            name,
            entry,
            shards,
            lease_for,
            since: None,
            settle_for: Duration::from_secs(store.settle_secs.as_u32().into()),
            hint,
            standing,
            heard,
            doubt: Doubt::default(),
            ended: None,
        };
        tokio::spawn(member.run());
        Ok(cluster)
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Where it is noted what terms others obeyed.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Where it is counted what this process kept back.
    pub(crate) fn late(&self) -> Late {
        self.late.clone()
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn writing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// How a write of a shard's state went.
    pub(crate) fn noted(&self, error: Option<&StateError>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.errors += u64::from(error.is_some());
        health.failing = error.map(|error| chain(error));
        if error.is_some_and(StateError::is_not_ours) {
            health.fenced += 1;
            self.doubt();
        }
    }

    /// Something may have changed that nobody told.
    pub(crate) fn doubt(&self) {
        self.hint.notify_one();
    }

    /// For operators.
    pub(crate) fn describe(&self) -> String {
        format!("etcd {:?} {}", self.etcd, self.keys.cluster().key)
    }

    /// Waits until this process is a member.
    pub(crate) async fn joined(&self) -> Term {
        let mut standing = self.standing();
        match standing.wait_for(|standing| standing.member.is_some()).await {
            Ok(standing) => standing.member.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Replaces the declared file that is known here; refused if somebody else did so meanwhile.
    pub(crate) async fn declare(&self, applied: &Applied) -> Result<(), String> {
        let revision = self.standing.borrow().declared.as_ref().map_or(0, |declared| declared.revision);
        let nothing = |reason: String| format!("nothing is applied: {reason}");
        let value = Envelope::seal(applied).map_err(|error| nothing(error.to_string()))?;
        let key = self.keys.declared();
        let guard = Guard::Changed { key: key.clone(), revision };
        let outcome = self.etcd.transact(&[guard], vec![Op::Put { key, value, lease: None }]).await;
        let failed = |error: EtcdError| {
            self.doubt();
            let reason = chain(&error);
            if error.leaves_open() {
                format!("whether the file is applied is not known, `status` tells: {reason}")
            } else {
                nothing(reason)
            }
        };
        let done = outcome.map_err(failed)?.done;
        self.doubt();
        if !done {
            let reason = "another file was applied at the same time; look at --diff and apply again";
            return Err(nothing(reason.to_owned()));
        }
        let mut standing = self.standing();
        let newer = |standing: &Standing| {
            standing.declared.as_ref().is_some_and(|declared| declared.revision > revision)
        };
        // Whoever asks here next may rely on it.
        tokio::time::timeout(Duration::from_secs(2), standing.wait_for(newer)).await.ok();
        Ok(())
    }

    /// The operator's word on who should have an office, who looked at `view`; `None` takes it back. Whether it counts:
    /// nobody else said otherwise since.
    pub(crate) async fn move_office(
        &self,
        office: &Office,
        to: Option<&ControllerName>,
        view: &View,
    ) -> Result<bool, EtcdError> {
        let revision = view.moves.get(office).map_or(0, |moved| moved.changed);
        let key = self.keys.moved(office);
        let op = match to {
            Some(name) => Op::Put { key: key.clone(), value: json(name), lease: None },
            None => Op::Delete(Range::key(key.clone())),
        };
        let moved = self.etcd.transact(&[Guard::Changed { key, revision }], vec![op]).await;
        self.doubt();
        let done = moved?.done;
        // Whoever moves it here next has looked at that.
        let seen = |standing: &Standing| {
            let changed = standing.view.moves.get(office).map_or(0, |moved| moved.changed);
            changed != revision || to.is_none() && changed == 0
        };
        tokio::time::timeout(Duration::from_secs(2), self.standing().wait_for(seen)).await.ok();
        Ok(done)
    }

    /// Others need not wait for the end of the lease.
    pub(crate) async fn leave(self) {
        let Some(lease) = self.lease() else { return };
        if let Err(error) = self.etcd.revoke(lease).await {
            info!(error = chain(&error), "the lease was not given back; it ends by itself");
        }
    }

    fn lease(&self) -> Option<i64> {
        let standing = self.standing.borrow();
        let since = standing.member?;
        let own = standing.view.members.values().find(|entry| standing.view.term(entry.created) == since);
        own.map(|entry| entry.lease)
    }
}

#[cfg(test)]
impl Cluster {
    /// As if this process had that office.
    pub(crate) fn reign(&self, office: Office, term: Term) -> Reign {
        let (etcd, keys) = (self.etcd.clone(), self.keys.clone());
        Reign { etcd, keys, office, created: 1, term, tenure: Tenure::until(Instant::now()) }
    }
}

impl Member {
    /// Until nobody wants to know any more.
    async fn run(mut self) {
        let (etcd, hint, ranges) = (self.etcd.clone(), self.hint.clone(), self.watched());
        let watching = tokio::spawn(async move {
            loop {
                let error = etcd.watch(&ranges, || hint.notify_one()).await;
                tracing::debug!(error = chain(&error), "a watch is begun anew");
                // What happened meanwhile was not told.
                hint.notify_one();
                sleep(jitter(RETRY)).await;
            }
        });
        while !self.standing.is_closed() {
            if let Err(error) = self.life().await {
                self.warn(&error);
                sleep(jitter(RETRY)).await;
            }
        }
        watching.abort();
    }

    #[cfg(test)]
    pub(super) fn simulated(
        etcd: Etcd,
        name: ControllerName,
        entry: MemberEntry,
        shards: u16,
        lease_for: Duration,
        hint: Arc<Notify>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        Self {
            etcd: Arc::new(etcd),
            keys: Keys::new(super::tests::model::PREFIX),
            name,
            entry,
            shards,
            lease_for,
            since: None,
            settle_for: 2 * lease_for,
            hint,
            standing,
            heard: Heard::default(),
            doubt: Doubt::default(),
            ended: None,
        }
    }

    fn watched(&self) -> [Range; 2] {
        [self.keys.cluster(), Range::key(self.keys.declared())]
    }

    /// From a new lease to its end.
    pub(super) async fn life(&mut self) -> Result<(), EtcdError> {
        self.doubt.seen = 0;
        // A new leader of etcd prolongs all leases: nobody need wait for the end of one that is over by our clock.
        if let Some(ended) = self.ended {
            match self.etcd.revoke(ended).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => self.ended = None,
            }
        }
        let asked = Instant::now();
        let lease = self.etcd.grant(self.lease_for.as_secs().try_into().unwrap_or(i64::MAX)).await?;
        let tenure = Tenure::until(asked + self.lease_for);
        let (etcd, lease_for) = (self.etcd.clone(), self.lease_for);
        let end = tokio::select! {
            biased;
            end = keep(&etcd, lease, lease_for, &tenure) => end,
            end = self.govern(lease, &tenure) => end,
        };
        tenure.end();
        self.ended = Some(lease);
        warn!(lease, end, "the lease in etcd is over; every office is left");
        self.standing.send_modify(|standing| {
            standing.member = None;
            standing.reigns.clear();
        });
        Ok(())
    }

    async fn govern(&mut self, lease: i64, tenure: &Tenure) -> &'static str {
        while !self.standing.is_closed() {
            match self.round(lease, tenure).await {
                Ok(true) => {}
                Ok(false) => tokio::select! {
                    biased;
                    () = self.hint.notified() => sleep(PACE).await,
                    () = sleep(DOUBT), if !bug!(HintsSuffice) => {}
                },
                Err(error) if error.is_not_found() && !bug!(LeaseBelieved) => {
                    return "etcd does not know it, though it prolongs it";
                }
                Err(error) => {
                    self.warn(&error);
                    sleep(jitter(RETRY)).await;
                }
            }
        }
        "nobody wants it any more"
    }

    /// Reads, tells, acts. Returns whether something was done, so that the state is another one by now.
    async fn round(&mut self, lease: i64, tenure: &Tenure) -> Result<bool, EtcdError> {
        let declared = Range::key(self.keys.declared()).keys_only();
        // What was obeyed before this is read was given before.
        let obeyed = self.heard.highest();
        let found = self.etcd.read(&[self.keys.cluster(), declared]).await?;
        let mut ranges = found.ranges.into_iter();
        let entries = ranges.next().unwrap_or_default();
        let declared = ranges.next().unwrap_or_default().first().map(|entry| entry.changed);
        let mut view = View::of(&self.keys, found.revision, &entries);
        self.hold_against(&view, obeyed);
        if view.revision < self.doubt.seen && self.doubt.outdated.is_none() {
            // Of a member of etcd that is behind.
            return Ok(false);
        }
        self.doubt.seen = view.revision;
        let is_applied = declared.is_some();
        let declared = self.declared(declared).await?;
        if let Some(Declaration { applied, .. }) = &declared {
            view.vteps = applied.declared.vteps.keys().cloned().collect();
        }
        let Some(settings) = view.settings else {
            let key = self.keys.settings();
            if entries.iter().any(|entry| entry.key == key) {
                self.complain(format!("{key} in etcd was not understood"));
                return Ok(false);
            }
            return self.found().await;
        };
        if settings.shards != self.shards {
            let (own, expected) = (self.shards, settings.shards);
            self.tell(view, None, BTreeMap::new(), declared);
            self.complain(format!("store.shards is {own}; expected {expected}, as the cluster was made"));
            return Ok(false);
        }
        if is_applied && declared.is_none() {
            // By an empty file it would take back what others rule by this one.
            let key = self.keys.declared();
            self.tell(view, None, BTreeMap::new(), declared);
            self.complain(format!("the declared file in etcd ({key}) is not understood by this release"));
            return Ok(false);
        }
        let own = view.members.get(&self.name);
        if let Some(own) = own.filter(|own| own.lease != lease) {
            let (name, address) = (&self.name, &own.address);
            let reason = format!("a process at {address} is member {name}, or was until of late; waiting");
            self.tell(view, None, BTreeMap::new(), declared);
            self.complain(reason);
            return Ok(false);
        }
        let Some(own) = own else {
            // At the beginning, or though etcd still prolongs the lease: then nothing that hung on it is ours.
            if !bug!(LeaseBelieved) {
                self.tell(view, None, BTreeMap::new(), declared);
            }
            return self.enter(0, false, lease).await.map(|()| true);
        };
        let member = Some(view.term(own.created));
        let (created, settled) = (own.created, own.settled);
        let planned = bids(&view, &Me { name: self.name.clone(), lease });
        let leaves = |office: &Office| {
            planned.iter().any(|bid| matches!(bid, Bid::Resign { office: left, .. } if left == office))
        };
        // What is left is not used any more before it is free for others.
        let mine = view.offices.iter().filter(|(office, holder)| holder.lease == lease && !leaves(office));
        let reigns = mine.map(|(office, holder)| (office.clone(), self.reign(&view, office, holder, tenure)));
        let reigns = reigns.collect();
        self.tell(view, member, reigns, declared);
        self.doubt.warned = None;
        let settles = !settled && self.is_due_to_settle(created);
        let some = settles || !planned.is_empty();
        if settles {
            self.enter(created, true, lease).await?;
        }
        // There may be as many as VTEPs, and each waits for a disk.
        let me: &Self = self;
        let carried_out = planned.into_iter().map(|bid| me.carry_out(bid, lease));
        let results = stream::iter(carried_out).buffer_unordered(BIDS_AT_ONCE).collect::<Vec<_>>().await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(some)
    }

    /// By whomever, it is made then.
    async fn found(&self) -> Result<bool, EtcdError> {
        let (key, settings) = (self.keys.settings(), Settings { shards: self.shards, term_base: unix_ms() });
        let guard = Guard::Created { key: key.clone(), revision: 0 };
        let op = Op::Put { key, value: json(&settings), lease: None };
        self.etcd.transact(&[guard], vec![op]).await.map(|_| true)
    }

    /// Among the members. `created`: of the entry that is there; 0: none.
    async fn enter(&self, created: i64, settled: bool, lease: i64) -> Result<(), EtcdError> {
        let key = self.keys.member(&self.name);
        let guard = Guard::Created { key: key.clone(), revision: created };
        let entry = MemberEntry { settled, ..self.entry.clone() };
        let op = Op::Put { key, value: json(&entry), lease: Some(lease) };
        self.etcd.transact(&[guard], vec![op]).await.map(drop)
    }

    fn is_due_to_settle(&mut self, created: i64) -> bool {
        let (_, since) = *match &mut self.since {
            Some(since) if since.0 == created => since,
            other => other.insert((created, Instant::now())),
        };
        Instant::now() - since >= self.settle_for
    }

    async fn carry_out(&self, bid: Bid, lease: i64) -> Result<(), EtcdError> {
        match bid {
            Bid::Campaign(office) => {
                let key = self.keys.office(&office);
                let holder = Holder { name: self.name.clone(), lease, created: 0 };
                let vacant = Guard::Created { key: key.clone(), revision: 0 };
                let vacant = [vacant].into_iter().filter(|_| !bug!(TakenAnyway)).collect::<Vec<_>>();
                let op = Op::Put { key, value: json(&holder), lease: Some(lease) };
                if self.etcd.transact(&vacant, vec![op]).await?.done {
                    info!(%office, "took an office");
                }
            }
            Bid::Resign { office, created } => {
                let key = self.keys.office(&office);
                let mine = Guard::Created { key: key.clone(), revision: created };
                self.etcd.transact(&[mine], vec![Op::Delete(Range::key(key))]).await?;
                info!(%office, "left an office to whom it belongs");
            }
        }
        Ok(())
    }

    fn reign(&self, view: &View, office: &Office, holder: &Holder, tenure: &Tenure) -> Reign {
        Reign {
            etcd: self.etcd.clone(),
            keys: self.keys.clone(),
            office: office.clone(),
            created: holder.created,
            term: view.term(holder.created),
            tenure: tenure.clone(),
        }
    }

    fn tell(
        &self,
        view: View,
        member: Option<Term>,
        reigns: BTreeMap<Office, Reign>,
        declared: Option<Declaration>,
    ) {
        let outdated = self.doubt.outdated.clone();
        let view = Arc::new(view);
        self.standing.send_replace(Standing { view, declared, away: None, outdated, member, reigns });
    }

    /// Whether terms that others obeyed, or that etcd gave before, are above all that it gives. One that is read of a member
    /// of etcd that is behind is so for a moment; for longer than a lease, etcd was put back.
    fn hold_against(&mut self, view: &View, obeyed: Option<(Term, String)>) {
        if view.settings.is_none() {
            return;
        }
        let highest = view.term(view.revision);
        let doubt = &mut self.doubt;
        doubt.given = doubt.given.max(highest);
        let own = (doubt.given, format!("{} of late", self.name));
        let (obeyed, by) = obeyed.filter(|(obeyed, _)| *obeyed > doubt.given).unwrap_or(own);
        if obeyed <= highest {
            (doubt.outdated_since, doubt.outdated) = (None, None);
            return;
        }
        let since = *doubt.outdated_since.get_or_insert_with(Instant::now);
        if Instant::now() - since < self.lease_for || bug!(RestoredUnnoticed) {
            return;
        }
        let known = doubt.outdated.replace(Outdated { highest, obeyed, by });
        if let Some(outdated) = &doubt.outdated
            && known.is_none_or(|known| known.obeyed != obeyed)
        {
            warn!("{outdated}");
        }
    }

    /// The declared file of that revision, or else the last one that was understood.
    async fn declared(&mut self, revision: Option<i64>) -> Result<Option<Declaration>, EtcdError> {
        let known = self.standing.borrow().declared.clone();
        // Of a lower revision, too: etcd may have been put back to an older state.
        let other = |known: &Declaration| revision != Some(known.revision);
        match revision {
            Some(_) if revision == self.doubt.damaged => Ok(known),
            Some(_) if known.as_ref().is_none_or(other) => Ok(self.read_declared().await?.or(known)),
            // It is not in what was put back: it counts until somebody applies one.
            None => Ok(known.map(|known| Declaration { revision: 0, ..known })),
            Some(_) => Ok(known),
        }
    }

    async fn read_declared(&mut self) -> Result<Option<Declaration>, EtcdError> {
        let found = self.etcd.read(&[Range::key(self.keys.declared())]).await?;
        if found.revision < self.doubt.seen {
            // Of a member of etcd that is behind.
            return Ok(None);
        }
        let Some(entry) = found.ranges.into_iter().flatten().next() else { return Ok(None) };
        match Envelope::open::<Applied>(&entry.value) {
            Ok(applied) => Ok(Some(Declaration { revision: entry.changed, applied: Arc::new(applied) })),
            Err(problem) => {
                self.doubt.damaged = Some(entry.changed);
                warn!(problem, "the declared file in etcd is not understood; the last one counts");
                Ok(None)
            }
        }
    }

    fn warn(&mut self, error: &EtcdError) {
        self.complain(chain(error));
    }

    /// What keeps this process from being a member, or from knowing what is. One line for each reason, however often it
    /// comes.
    fn complain(&mut self, reason: String) {
        self.standing.send_if_modified(|standing| {
            let news = standing.away.as_ref() != Some(&reason);
            standing.away = Some(reason.clone());
            news
        });
        if self.doubt.warned.as_ref() != Some(&reason) {
            warn!(reason, "the cluster is not reached as it should be");
            self.doubt.warned = Some(reason);
        }
    }
}

/// Until the lease is over, by our clock or by etcd's word.
async fn keep(etcd: &Etcd, lease: i64, lease_for: Duration, tenure: &Tenure) -> &'static str {
    let mut due = Instant::now() + lease_for / 3;
    loop {
        let deadline = tenure.deadline();
        sleep_until(due.min(deadline)).await;
        let asked = Instant::now();
        if asked >= deadline {
            return "it was not prolonged in time";
        }
        match timeout_at(deadline, etcd.keep_alive(lease)).await {
            Ok(Ok(true)) => {
                let asked = if bug!(TenureFromAnswer) { Instant::now() } else { asked };
                if !tenure.extend(asked + lease_for) {
                    return "it was not prolonged in time";
                }
                due = asked + lease_for / 3;
            }
            Ok(Ok(false)) => return "etcd does not know it any more",
            Ok(Err(_)) => due = Instant::now() + jitter(RETRY) / 4,
            Err(_) => return "it was not prolonged in time",
        }
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names and numbers are JSON")
}
