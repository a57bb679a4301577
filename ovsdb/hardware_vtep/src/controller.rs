//! The controller's side of a TOR's database: what the TOR says of itself, and the transactions that make the database
//! say to it what it should.
//!
//! A [`Tor`] takes the events of a session in and tells what is news. Once the lock is ours it gives one transaction
//! after the other, until the database says what is desired. Nothing is concluded from what is not there before the
//! outline and the tables are said to be complete, and nothing is removed when the process ends.
//!
//! How a controller uses it, in one task:
//!
//! ```no_run
//! use hardware_vtep::DATABASE;
//! use hardware_vtep::controller::{Failed, LOCK, Tor, TorOutline};
//! use ovsdb::{Event, Remote, SessionConfig, TransactError, session};
//! use vtep_api::VtepName;
//!
//! async fn serve(remote: Remote, name: VtepName, outline: TorOutline) {
//!     let (handle, mut events) = session::spawn(SessionConfig::new(remote, DATABASE, Tor::monitor()));
//!     let mut tor = Tor::new(name);
//!     tor.desired().set_outline(outline); // And whenever it changes; `put` and `remove` for each MAC.
//!     let mut locking = None; // A request for the lock that is under way.
//!     let mut writing = None; // At most one transaction is under way.
//!     loop {
//!         if writing.is_none() {
//!             // Also after an edit of `desired`. `None`: nothing is left to write, or nothing may be written.
//!             writing = tor.next_batch().map(|batch| {
//!                 let handle = handle.clone();
//!                 Box::pin(async move { (handle.transact(batch.transaction().clone()).await, batch) })
//!             });
//!         }
//!         tokio::select! {
//!             event = events.recv() => {
//!                 let Some(event) = event else { return };
//!                 if let Event::Connected { .. } = event {
//!                     // A lock ends with its connection. If another has it, an event tells when it is ours.
//!                     let handle = handle.clone();
//!                     locking = Some(Box::pin(async move { handle.lock(LOCK).await }));
//!                 }
//!                 if let Some(observed) = tor.apply(&event) {
//!                     if observed.state_changed {
//!                         println!("{:?}", tor.state());
//!                     }
//!                     for (switch, mac, local) in observed.macs {
//!                         println!("{switch} {mac} {local:?}");
//!                     }
//!                 }
//!             }
//!             // Replies come the way of the events, so this `select!` must go on receiving.
//!             reply = async { locking.as_mut().expect("the branch is on").await }, if locking.is_some() => {
//!                 locking = None;
//!                 tor.lock_replied(reply.unwrap_or(false));
//!             }
//!             (result, batch) = async { writing.as_mut().expect("the branch is on").await }, if writing.is_some() => {
//!                 writing = None;
//!                 match result {
//!                     Ok(_) => tor.landed(&batch),
//!                     Err(TransactError::Outcome(error)) => match tor.failed(&batch, &error) {
//!                         // Another controller has the lock: `next_batch` gives nothing until the lock is ours again.
//!                         Failed::NotOwner => println!("not owner"),
//!                         Failed::Refused => {}
//!                     },
//!                     // Not connected, or the outcome is unknown: the next dump shows it.
//!                     Err(TransactError::Request(_)) => {}
//!                 }
//!             }
//!         }
//!     }
//! }
//! ```

mod compose;
mod desired;
mod index;
mod mark;
mod observer;
mod plan;
mod write;
mod writer;

use ovsdb::transact::OutcomeError;
use ovsdb::{Event, LockChange, Monitor};
use vtep_api::{LocalMac, LogicalSwitchName, MacAddr, VtepName, VtepState};

pub use self::desired::{DesiredTor, Remote, SwitchOutline, TorOutline, TunnelOutline};
use self::index::Index;
pub use self::observer::Observed;
use self::observer::Observer;
pub use self::plan::Conflict;
pub use self::write::{Subject, Write};
use self::writer::{Facts, Writer};
use crate::mirror::Mirror;

/// On the TOR's own server: who has it may write, and every transaction asserts that it has.
pub const LOCK: &str = "vtepd_physical_controller";

/// Writes that go into one transaction.
pub type Batch = crate::batch::Batch<Write>;

/// One physical switch of a database, as its physical controller sees it. What is written to a MAC table is written to
/// all switches of the database, so one that fronts several can be observed for each of them, but be written by one.
#[derive(Debug)]
pub struct Tor {
    device: VtepName,
    mirror: Mirror,
    index: Index,
    observer: Observer,
    desired: DesiredTor,
    writer: Writer,
    owner: bool,
    /// How many updates had come in when the last batch was planned.
    planned_at: u64,
}

/// What a transaction that failed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The lock is not ours: nothing was written, nor is anything before [`Tor::lock_replied`] or the lock's event. It need
    /// not be asked for again on this connection: whom it was stolen from waits for it.
    NotOwner,
    /// What cannot be written is looked for, and set aside.
    Refused,
}

impl Tor {
    pub fn new(device: VtepName) -> Self {
        Self {
            observer: Observer::new(device.clone()),
            device,
            mirror: Mirror::with_old_rows(),
            index: Index::default(),
            desired: DesiredTor::default(),
            writer: Writer::default(),
            owner: false,
            planned_at: 0,
        }
    }

    /// What a session must follow.
    pub fn monitor() -> Monitor {
        Mirror::monitor()
    }

    /// Takes an event of the session in. `Some` after an update that came in whole, with what is news of it: after a
    /// reconnect only what differs from before.
    pub fn apply(&mut self, event: &Event) -> Option<Observed> {
        match event {
            Event::Connected { .. } | Event::Disconnected { .. } => self.owner = false,
            Event::Lock { name, change } if name == LOCK => self.owner = *change == LockChange::Acquired,
            _ => {}
        }
        let was_synchronized = self.mirror.is_synchronized();
        let changes = self.mirror.apply(event)?;
        let Self { device, mirror, index, observer, desired, writer, .. } = self;
        index.take(mirror, &changes);
        let facts = Facts { device, mirror, index };
        writer.take(facts, &changes, desired);
        if !was_synchronized {
            writer.audit(facts, desired);
        }
        Some(observer.take(mirror, index, &changes))
    }

    /// The reply to a request for [`LOCK`]: whether it is ours. That it is not tells nothing, since the event that it was
    /// acquired may have been taken in before the reply was looked at.
    pub fn lock_replied(&mut self, owner: bool) {
        self.owner |= owner;
    }

    pub fn is_owner(&self) -> bool {
        self.owner
    }

    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// What the TOR says of itself, and what of its rows was set aside. Empty before the first dump.
    pub fn state(&self) -> &VtepState {
        self.observer.state()
    }

    /// All MACs behind the TOR.
    pub fn macs(&self) -> impl Iterator<Item = (&LogicalSwitchName, MacAddr, &LocalMac)> {
        self.observer.macs()
    }

    /// What the database should say, to be edited.
    pub fn desired(&mut self) -> &mut DesiredTor {
        &mut self.desired
    }

    /// What was desired is not known any more. Nothing is written before it is again.
    pub fn forget_desired(&mut self) {
        self.desired = DesiredTor::unknown();
    }

    /// The next transaction, or `None` when nothing is left to write, or nothing may be written. The one before must
    /// have landed or failed, and its update must have been taken in: a reply comes after it.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if !self.owner || !self.mirror.is_synchronized() {
            return None;
        }
        self.planned_at = self.mirror.commits();
        let Self { device, mirror, index, desired, writer, .. } = self;
        writer.next(Facts { device, mirror, index }, desired)
    }

    /// The transaction was committed.
    pub fn landed(&mut self, batch: &Batch) {
        self.writer.landed(batch);
    }

    /// The server refused the transaction. For a connection that ended there is nothing to tell.
    pub fn failed(&mut self, batch: &Batch, error: &OutcomeError) -> Failed {
        if error.is_not_owner() {
            self.owner = false;
            return Failed::NotOwner;
        }
        self.writer.failed(batch, self.planned_at != self.mirror.commits(), error);
        Failed::Refused
    }

    /// Compares the whole database, and tries again what was set aside: to be done from time to time.
    pub fn audit(&mut self) {
        let Self { device, mirror, index, desired, writer, .. } = self;
        writer.audit(Facts { device, mirror, index }, desired);
    }

    /// Whether the database says what was desired of the logical switch when [`Self::next_batch`] was last asked, apart from
    /// what was set aside or is held.
    pub fn is_settled(&self, switch: &LogicalSwitchName) -> bool {
        self.mirror.is_synchronized()
            && self.desired.is_seen(switch)
            && self.index.switches.contains_key(switch)
            && self.writer.is_settled(switch)
    }

    /// What was set aside, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&Subject, String)> {
        self.writer.refused()
    }

    /// MACs that are not added while the TOR says that its table is full.
    pub fn held(&self) -> usize {
        self.writer.held()
    }
}
