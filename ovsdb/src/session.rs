//! A lasting session with one server: connects, follows the database, carries requests, reconnects.
//!
//! ```text
//! Handle ──requests (bounded)──▶ I/O task ──events, replies (bounded, in order)──▶ Events
//!                                   ▲ │
//!                                   │ ▼ bytes
//!                                 server
//! ```
//! The I/O task frames, answers probes and keeps the peer from taking us for dead; rows are decoded by whoever receives
//! the events. A consumer that is behind stops the reading, not the probing.

mod backoff;
mod event;
mod handle;
mod link;
mod probe;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::backoff::Backoff;
pub use self::event::{Commit, Event, Events, LockChange};
pub use self::handle::{Handle, RequestError, TransactError};
pub use self::link::Disconnect;

use self::event::Queued;
use self::handle::Ask;
use self::link::{Link, Resume};
use crate::framer::Limits;
use crate::monitor::{Monitor, MonitorMethod};
use crate::remote::Remote;
use crate::tls::Tls;
use crate::transport::{Connection, Listener};

/// How to reach a server and what to ask of it.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    pub remote: Remote,
    pub tls: Option<Tls>,
    pub database: String,
    pub monitor: Monitor,
    /// The best way to follow the database that is to be tried.
    pub monitor_method: MonitorMethod,
    /// After so long without a byte from the server it is asked for one, and after as long again given up. Without it
    /// a dead peer is not noticed. A server says nothing while it prepares another client's dump: twice this must
    /// outlast that, which the default does for a million rows.
    pub probe_interval: Option<Duration>,
    /// How long the server may stay silent while it prepares the initial dump: a million rows take `ovsdb-server` half
    /// a minute.
    pub dump_timeout: Duration,
    /// For the connection and its TLS handshake.
    pub connect_timeout: Duration,
    pub backoff: Backoff,
    pub limits: Limits,
}

impl SessionConfig {
    pub fn new(remote: Remote, database: impl Into<String>, monitor: Monitor) -> Self {
        Self {
            remote,
            tls: None,
            database: database.into(),
            monitor,
            monitor_method: MonitorMethod::default(),
            probe_interval: Some(Duration::from_secs(15)),
            dump_timeout: Duration::from_mins(2),
            connect_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            limits: Limits::default(),
        }
    }
}

/// Events that wait for the consumer; a batch of rows is about 64 KiB.
const EVENTS_MAX: usize = 64;
/// Requests that wait for the I/O task.
const REQUESTS_MAX: usize = 64;

/// Starts a session on the current Tokio runtime. It ends when its [`Events`] are dropped.
pub fn spawn(config: SessionConfig) -> (Handle, Events) {
    start(config, None)
}

/// Starts a session on a connection that was accepted or opened elsewhere; it ends with the connection.
pub fn spawn_on(connection: Connection, config: SessionConfig) -> (Handle, Events) {
    start(config, Some(connection))
}

fn start(config: SessionConfig, connection: Option<Connection>) -> (Handle, Events) {
    let (queue, queued) = mpsc::channel(EVENTS_MAX);
    let (asks, requests) = mpsc::channel(REQUESTS_MAX);
    let seen = Arc::new(AtomicU64::new(0));
    let handle = Handle::new(asks, seen.clone(), config.database.as_str());
    let events = Events::new(queued, seen);
    let session =
        Session { config, queue, requests, epoch: 0, failures: 0, listener: None, resume: Resume::default() };
    tokio::spawn(session.run(connection));
    (handle, events)
}

struct Session {
    config: SessionConfig,
    queue: mpsc::Sender<Queued>,
    requests: mpsc::Receiver<Ask>,
    /// Counts connections; requests bear the one that their maker knew of.
    epoch: u64,
    /// Attempts since the last connection that was of use.
    failures: u32,
    listener: Option<Listener>,
    resume: Resume,
}

/// The consumer is gone.
struct Abandoned;

impl Session {
    async fn run(mut self, connection: Option<Connection>) {
        let once = connection.is_some();
        let mut connection = connection;
        loop {
            let reason = match connection.take() {
                Some(connection) => self.follow(connection).await,
                None => match self.open().await {
                    Ok(Ok(connection)) => self.follow(connection).await,
                    Ok(Err(reason)) => Ok(reason),
                    Err(abandoned) => Err(abandoned),
                },
            };
            let Ok(reason) = reason else { return };
            let retry_in = (!once).then(|| self.retry_in());
            let event = Event::Disconnected { reason: Arc::new(reason), retry_in };
            if self.queue.send(Queued::Event(event)).await.is_err() {
                return;
            }
            let Some(retry_in) = retry_in else { return };
            if self.refuse_requests(tokio::time::sleep(retry_in)).await.is_err() {
                return;
            }
        }
    }

    /// A server that dials us has a backoff of its own.
    fn retry_in(&mut self) -> Duration {
        if self.listener.is_some() {
            return Duration::ZERO;
        }
        let delay = self.config.backoff.delay(self.failures, &mut rand::rng());
        self.failures = self.failures.saturating_add(1);
        delay
    }

    async fn open(&mut self) -> Result<Result<Connection, Disconnect>, Abandoned> {
        if self.config.remote.is_listening() && self.listener.is_none() {
            match Listener::bind(&self.config.remote, self.config.tls.as_ref()).await {
                Ok(listener) => {
                    if let Ok(address) = listener.address() {
                        let event = Queued::Event(Event::Listening { address });
                        self.queue.send(event).await.map_err(|_| Abandoned)?;
                    }
                    self.listener = Some(listener);
                }
                Err(error) => return Ok(Err(error.into())),
            }
        }
        let listener = self.listener.take();
        let remote = self.config.remote.clone();
        let tls = self.config.tls.clone();
        let timeout = self.config.connect_timeout;
        let opened = self
            .refuse_requests(async {
                let opening = async {
                    match &listener {
                        Some(listener) => {
                            let accepted = listener.accept().await?;
                            Ok(tokio::time::timeout(timeout, accepted.handshake()).await)
                        }
                        None => {
                            Ok(tokio::time::timeout(timeout, Connection::open(&remote, tls.as_ref())).await)
                        }
                    }
                };
                match opening.await {
                    Ok(Ok(opened)) => opened.map_err(Disconnect::from),
                    Ok(Err(_)) => Err(Disconnect::ConnectTimeout { timeout }),
                    Err(error) => Err(Disconnect::Connect(error)),
                }
            })
            .await;
        self.listener = listener;
        opened
    }

    /// Waits for something else while there is no connection that could carry a request.
    async fn refuse_requests<T>(&mut self, until: impl Future<Output = T>) -> Result<T, Abandoned> {
        tokio::pin!(until);
        let mut handles = true;
        loop {
            tokio::select! {
                done = &mut until => return Ok(done),
                () = self.queue.closed() => return Err(Abandoned),
                ask = self.requests.recv(), if handles => match ask {
                    Some(ask) => ask.refuse(RequestError::NotConnected),
                    None => handles = false,
                },
            }
        }
    }

    async fn follow(&mut self, connection: Connection) -> Result<Disconnect, Abandoned> {
        self.epoch += 1;
        let link = Link::new(connection, &self.config, self.epoch, self.resume);
        let mut end = link.run(&self.queue, &mut self.requests).await?;
        if end.synchronized {
            self.failures = 0;
        }
        self.resume = end.resume;
        deliver(&self.queue, &mut end.undelivered).await?;
        Ok(end.reason)
    }
}

async fn deliver(queue: &mpsc::Sender<Queued>, undelivered: &mut VecDeque<Queued>) -> Result<(), Abandoned> {
    while let Some(queued) = undelivered.pop_front() {
        queue.send(queued).await.map_err(|_| Abandoned)?;
    }
    Ok(())
}
