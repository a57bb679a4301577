use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::handle::RequestError;
use super::link::Disconnect;
use crate::framer::RowBatch;
use crate::monitor::MonitorMethod;
use crate::schema::Schema;

/// What happens in a session, in order. Every update is one or more `Rows` and then its `Commit`.
#[derive(Debug, Clone)]
pub enum Event {
    /// A server may dial us at this address.
    Listening {
        address: SocketAddr,
    },
    /// The server is there and has this schema; what it holds follows. Requests are accepted from here on.
    Connected {
        peer: String,
        schema: Arc<Schema>,
    },
    Rows(RowBatch),
    Commit(Commit),
    Lock {
        name: String,
        change: LockChange,
    },
    /// Rows without their commit are void; what was committed stays what is known. Locks are lost.
    Disconnected {
        reason: Arc<Disconnect>,
        retry_in: Option<Duration>,
    },
}

/// What the rows since the last commit mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// They are all that the database holds.
    Snapshot { method: MonitorMethod },
    /// They are what changed while we were away.
    Resumed,
    /// They are what one or more transactions changed.
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockChange {
    /// A lock that was waited for is ours.
    Acquired,
    /// Another session stole it.
    Lost,
}

pub(super) type Reply = oneshot::Sender<Result<Bytes, RequestError>>;

/// Replies go the way of the events, so that whoever learns that its transaction was committed has been told before
/// what it changed (the server notifies first and replies then).
pub(super) enum Queued {
    Event(Event),
    Reply(Reply, Result<Bytes, RequestError>),
    /// Requests made by those who know of this connection are accepted.
    Connected(u64, Event),
}

/// The consumer's end of a session.
#[derive(Debug)]
pub struct Events {
    queued: mpsc::Receiver<Queued>,
    seen: Arc<AtomicU64>,
}

impl Events {
    pub(super) fn new(queued: mpsc::Receiver<Queued>, seen: Arc<AtomicU64>) -> Self {
        Self { queued, seen }
    }

    /// The next event, or `None` when the session is over. Replies to requests are passed on while this is awaited:
    /// a task that awaits a reply must go on receiving meanwhile. May be dropped while pending without loss.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.queued.recv().await? {
                Queued::Reply(reply, result) => {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(result);
                }
                Queued::Connected(epoch, event) => {
                    self.seen.store(epoch, Ordering::Release);
                    return Some(event);
                }
                Queued::Event(event) => {
                    if let Event::Disconnected { .. } = event {
                        self.seen.store(0, Ordering::Release);
                    }
                    return Some(event);
                }
            }
        }
    }
}
