//! One TOR's session: its database on one side, its physical controller on the other. What the TOR says becomes a VTEP's
//! messages; what the VTEP is told becomes what the database should say, which the writer brings about. What is desired
//! is the only queue: however much is told meanwhile, the next transaction is made of the last of it.
//!
//! The session with the controller lives as long as the connection with the database; what was told outlives it.

mod reports;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use hardware_vtep::DATABASE;
use hardware_vtep::controller::{Batch, Failed, LOCK, Tor};
use ovsdb::transact::Results;
use ovsdb::{
    Event, Events, Handle, LockChange, Remote, RequestError, SessionConfig, Tls, TransactError, session,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};
use vtep_api::daemon::chain;
use vtep_api::{Held, LogicalSwitchName, Term, ToVtep, VtepName, VtepState};

pub(super) use self::writes::Writes;
use super::told::Told;
use crate::cluster::Late;
use crate::config::Ovsdb;
use crate::run::{Channel, Gone, Inbox, Next, OfVtep, physical};

/// Before the next attempt after a transaction got no answer, and before a session that the core ended begins anew.
const PAUSE: Duration = Duration::from_secs(1);
/// The whole database is compared, and what was set aside is tried again.
const AUDIT: Duration = Duration::from_mins(1);
/// What the TOR says of itself is told no more often, apart from what the database itself changed.
const STATE_PACE: Duration = Duration::from_millis(200);

/// Of all sessions with TORs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) probe: Option<Duration>,
    pub(crate) tls: Option<Tls>,
    pub(crate) late: Late,
}

impl Settings {
    pub(crate) fn new(config: &Ovsdb, late: Late) -> Self {
        let probe_ms = config.probe_ms.as_u32();
        let tls = config.tls.as_ref().map(|files| Tls {
            private_key: files.private_key.clone(),
            certificate: files.certificate.clone(),
            ca_certificate: files.ca_certificate.clone(),
            peer_name: None,
        });
        Self { probe: (probe_ms > 0).then(|| Duration::from_millis(probe_ms.into())), tls, late }
    }
}

type Written = (Result<Results, TransactError>, Batch);
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Adapter {
    vtep: VtepName,
    writes: Writes,
    /// By what the database said last.
    owns_lock: bool,
    /// When the lock is asked for once more.
    lock_from: Option<Instant>,
    core: mpsc::Sender<physical::Input>,
    handle: Handle,
    events: Events,
    tor: Tor,
    told: Told,
    session: Option<(Channel<OfVtep>, Inbox<ToVtep>)>,
    /// By this term the session was welcomed, and the core does not know yet whether nobody else can write.
    welcomed: Option<Term>,
    /// When a session may begin.
    session_from: Instant,
    locking: Option<Pending<Result<bool, RequestError>>>,
    /// At most one transaction is under way.
    writing: Option<Pending<Written>>,
    write_from: Instant,
    /// What the database should say is another thing than when a write was last kept back.
    untried: bool,
    audit_at: Instant,
    applied: BTreeMap<LogicalSwitchName, Held>,
    /// Masters whose addresses are not known: the first of them.
    nowhere: BTreeSet<VtepName>,
    state: VtepState,
    state_due: Option<Instant>,
    late: Late,
}

enum Step {
    Event(Event),
    Core(Next<ToVtep>),
    Locked(Result<bool, RequestError>),
    Written(Box<Written>),
    Elected,
    Timer,
}

/// The adapter is to end.
struct Stopped;

impl From<Gone> for Stopped {
    fn from(Gone: Gone) -> Self {
        Self
    }
}

impl Adapter {
    pub(super) fn new(
        vtep: VtepName,
        remote: &Remote,
        settings: &Settings,
        writes: Writes,
        core: mpsc::Sender<physical::Input>,
    ) -> Self {
        let mut config = SessionConfig::new(remote.clone(), DATABASE, Tor::monitor());
        config.probe_interval = settings.probe;
        config.tls.clone_from(&settings.tls);
        let (handle, events) = session::spawn(config);
        let now = Instant::now();
        Self {
            told: Told::new(vtep.clone()),
            tor: Tor::new(vtep.clone()),
            vtep,
            writes,
            owns_lock: false,
            lock_from: None,
            core,
            handle,
            events,
            session: None,
            welcomed: None,
            session_from: now,
            locking: None,
            writing: None,
            write_from: now,
            untried: true,
            audit_at: now + AUDIT,
            applied: BTreeMap::new(),
            nowhere: BTreeSet::new(),
            state: VtepState::default(),
            state_due: None,
            late: settings.late.clone(),
        }
    }

    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        tokio::select! {
            _ = &mut stop => {}
            _ = self.serve() => {}
        }
        // The core may be gone.
        self.end_session().await.ok();
    }

    async fn serve(&mut self) -> Result<(), Stopped> {
        loop {
            self.write();
            self.tell_obedience().await?;
            self.tell_applied().await?;
            self.tell_state().await?;
            let step = self.next().await?;
            self.take(step).await?;
        }
    }

    async fn next(&mut self) -> Result<Step, Stopped> {
        let timer = self.timer();
        let Self { events, session, locking, writing, writes, .. } = self;
        let told = async {
            match session {
                Some((_, inbox)) => inbox.next().await,
                None => pending().await,
            }
        };
        Ok(tokio::select! {
            event = events.recv() => Step::Event(event.ok_or(Stopped)?),
            next = told => Step::Core(next),
            locked = done(locking) => Step::Locked(locked),
            written = done(writing) => Step::Written(Box::new(written)),
            () = writes.changed() => Step::Elected,
            () = tokio::time::sleep_until(timer) => Step::Timer,
        })
    }

    /// The next time that something is due by itself.
    fn timer(&self) -> Instant {
        let now = Instant::now();
        let later = |at: Instant| Some(at).filter(|&at| at > now);
        let due = [later(self.write_from), later(self.session_from), self.state_due, self.lock_from];
        due.into_iter().flatten().min().unwrap_or(self.audit_at).min(self.audit_at)
    }

    async fn take(&mut self, step: Step) -> Result<(), Stopped> {
        match step {
            Step::Event(event) => self.event(event).await,
            Step::Core(Next::Message(message)) => {
                self.untried = true;
                self.tell(message).await
            }
            Step::Core(Next::End(reason)) => {
                let reason = reason.unwrap_or_else(|| "a new one replaces it".to_owned());
                self.give_up(&reason).await
            }
            Step::Locked(result) => {
                self.locking = None;
                self.locked(&result);
                Ok(())
            }
            Step::Written(written) => {
                self.writing = None;
                let (result, batch) = *written;
                self.written(result, &batch).await
            }
            Step::Elected => {
                self.ask_for_lock();
                Ok(())
            }
            Step::Timer => {
                if self.lock_from.is_some_and(|from| Instant::now() >= from) {
                    self.ask_for_lock();
                }
                if Instant::now() >= self.audit_at {
                    self.audit_at = Instant::now() + AUDIT;
                    self.tor.audit();
                }
                self.begin_session().await
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Stopped> {
        let vtep = &self.vtep;
        match &event {
            Event::Listening { address } => info!(%vtep, %address, "waiting for a TOR to connect"),
            Event::Connected { peer, .. } => {
                info!(%vtep, peer, "connected to a TOR's database");
                self.ask_for_lock();
            }
            Event::Lock { name, change: LockChange::Lost } if name == LOCK => {
                warn!(%vtep, lock = LOCK, "another controller took a TOR's lock; nothing is written");
                self.lock_lost().await?;
            }
            Event::Lock { name, change: LockChange::Acquired } if name == LOCK => {
                info!(%vtep, lock = LOCK, "a TOR's lock is ours");
                self.owns_lock = true;
                self.state_soon();
            }
            Event::Disconnected { reason, .. } => {
                self.disconnected(&chain(&**reason)).await?;
            }
            Event::Lock { .. } | Event::Rows(_) | Event::Commit(_) => {}
        }
        let Some(observed) = self.tor.apply(&event) else { return Ok(()) };
        if self.session.is_none() {
            return self.begin_session().await;
        }
        if observed.state_changed {
            self.state_due = Some(Instant::now());
            self.tell_state().await?;
        }
        self.tell_changes(observed.macs).await
    }

    fn ask_for_lock(&mut self) {
        self.lock_from = None;
        // A second request before the answer to the first is refused, and with the first answer lost nobody writes.
        if self.locking.is_some() || self.owns_lock {
            return;
        }
        if !self.writes.may() {
            if self.writes.is_over() {
                self.late.withhold();
            }
            return;
        }
        let (handle, steal) = (self.handle.clone(), matches!(self.writes, Writes::Elected(_)));
        self.locking = Some(Box::pin(async move {
            if !steal {
                return handle.lock(LOCK).await;
            }
            // Whose lock was stolen has to give up his place first (ovsdb/jsonrpc-server.c); who has none is refused.
            handle.unlock(LOCK).await.ok();
            handle.steal(LOCK).await
        }));
    }

    /// Who is elected has it back; whose time is over does not ask.
    fn ask_for_lock_later(&mut self) {
        self.lock_from = matches!(self.writes, Writes::Elected(_)).then(|| Instant::now() + PAUSE);
    }

    /// Whoever has it may write what is newer than what we were told: where that is not written by us alone, we have to be
    /// told again.
    async fn lock_lost(&mut self) -> Result<(), Stopped> {
        self.late.lock_lost();
        self.owns_lock = false;
        self.ask_for_lock_later();
        self.state_soon();
        if self.forget_told() {
            self.end_session().await?;
            self.begin_session().await?;
        }
        Ok(())
    }

    fn forget_told(&mut self) -> bool {
        let elected = matches!(self.writes, Writes::Elected(_));
        if elected {
            self.told = Told::new(self.vtep.clone());
            self.tor.forget_desired();
        }
        elected
    }

    async fn disconnected(&mut self, reason: &str) -> Result<(), Stopped> {
        // One line for each reason is enough while nothing was reached.
        if self.session.is_some() {
            warn!(vtep = %self.vtep, reason, "the connection to a TOR's database is lost");
        } else {
            tracing::debug!(vtep = %self.vtep, reason, "a TOR's database is not reached");
        }
        self.locking = None;
        self.owns_lock = false;
        self.forget_told();
        self.end_session().await
    }

    async fn give_up(&mut self, reason: &str) -> Result<(), Stopped> {
        warn!(vtep = %self.vtep, reason, "the session of a TOR is ended; it begins anew");
        self.session_from = Instant::now() + PAUSE;
        self.end_session().await
    }

    fn locked(&mut self, result: &Result<bool, RequestError>) {
        let vtep = &self.vtep;
        match result {
            Ok(true) => info!(%vtep, lock = LOCK, "a TOR's lock is ours"),
            Ok(false) => warn!(%vtep, lock = LOCK, "another controller has a TOR's lock; nothing is written"),
            Err(error) => {
                info!(%vtep, error = error as &dyn std::error::Error, "no answer about a TOR's lock");
            }
        }
        match result {
            Ok(owner) => {
                self.owns_lock = *owner;
                self.tor.lock_replied(*owner);
            }
            Err(_) => self.ask_for_lock_later(),
        }
        self.state_soon();
    }

    /// Starts the next transaction, if the database does not say what it should.
    fn write(&mut self) {
        if self.writing.is_some() || Instant::now() < self.write_from {
            return;
        }
        if !self.writes.may() {
            // What was planned is planned anew by the next attempt.
            if self.untried && self.writes.is_over() && self.tor.next_batch().is_some() {
                self.untried = false;
                self.late.withhold();
            }
            return;
        }
        let Some(batch) = self.tor.next_batch() else { return };
        let handle = self.handle.clone();
        self.writing =
            Some(Box::pin(async move { (handle.transact(batch.transaction().clone()).await, batch) }));
    }

    async fn written(
        &mut self,
        result: Result<Results, TransactError>,
        batch: &Batch,
    ) -> Result<(), Stopped> {
        let vtep = &self.vtep;
        match result {
            Ok(_) => self.tor.landed(batch),
            Err(TransactError::Outcome(error)) => {
                let cause = &error as &dyn std::error::Error;
                match self.tor.failed(batch, &error) {
                    Failed::NotOwner => {
                        self.late.write_refused();
                        warn!(%vtep, lock = LOCK, "a TOR's lock is not ours; nothing was written");
                        // Unless the event that it is lost came first.
                        if self.owns_lock {
                            self.lock_lost().await?;
                        }
                    }
                    Failed::Refused => {
                        warn!(%vtep, error = cause, "a TOR's database refused a transaction");
                        self.state_soon();
                    }
                }
            }
            // It may have landed: nothing is planned before the database was read again.
            Err(TransactError::Request(error)) => {
                info!(%vtep, error = &error as &dyn std::error::Error, "a transaction got no answer");
                self.write_from = Instant::now() + PAUSE;
            }
        }
        Ok(())
    }

    fn state_soon(&mut self) {
        self.state_due.get_or_insert_with(|| Instant::now() + STATE_PACE);
    }
}

async fn done<T>(task: &mut Option<Pending<T>>) -> T {
    match task {
        Some(task) => task.await,
        None => pending().await,
    }
}
