//! What the messages of a connection mean and what is said in return; does no I/O.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use super::super::SessionConfig;
use super::super::event::{Commit, Event, LockChange, Queued, Reply};
use super::super::handle::{Ask, RequestError};
use super::{Disconnect, End};
use crate::Uuid;
use crate::framer::RowBatch;
use crate::message::{self, Message};
use crate::monitor::MonitorMethod;
use crate::schema::Schema;
use crate::transact::Refusal;

pub(super) struct Protocol<'a> {
    config: &'a SessionConfig,
    peer: String,
    epoch: u64,
    phase: Phase,
    schema: Arc<Schema>,
    /// Rows have come whose message has not ended.
    rows_open: bool,
    request_id: u64,
    callers: HashMap<u64, Reply>,
    resume: Resume,
    /// What the consumer has not been handed; while there is anything, no more is read.
    pub backlog: VecDeque<Queued>,
}

/// From which transaction on a server with a history may go on.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Resume {
    last_transaction: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitingSchema { id: u64 },
    AwaitingDump { id: u64, method: MonitorMethod },
    Following,
}

impl<'a> Protocol<'a> {
    pub(super) fn start(
        config: &'a SessionConfig,
        peer: String,
        epoch: u64,
        resume: Resume,
        outgoing: &mut BytesMut,
    ) -> Self {
        let mut protocol = Self {
            config,
            peer,
            epoch,
            phase: Phase::Following,
            schema: Arc::default(),
            rows_open: false,
            request_id: 0,
            callers: HashMap::new(),
            resume,
            backlog: VecDeque::new(),
        };
        let id = protocol.request("get_schema", [&config.database], outgoing);
        protocol.phase = Phase::AwaitingSchema { id };
        protocol
    }

    pub(super) fn is_synchronized(&self) -> bool {
        self.phase == Phase::Following
    }

    /// Requests of callers that wait for a reply.
    pub(super) fn pending(&self) -> usize {
        self.callers.len()
    }

    pub(super) fn ask(&mut self, ask: Ask, outgoing: &mut BytesMut) {
        let id = self.request(ask.method, &ask.params, outgoing);
        self.callers.insert(id, ask.reply);
    }

    fn request(&mut self, method: &str, params: impl serde::Serialize, outgoing: &mut BytesMut) -> u64 {
        self.request_id += 1;
        outgoing.extend_from_slice(&message::request(self.request_id, method, params));
        self.request_id
    }

    pub(super) fn rows(&mut self, batch: RowBatch) -> Result<(), Disconnect> {
        if let Phase::AwaitingSchema { .. } = self.phase {
            return Err(Disconnect::Unexpected { found: "rows", expected: "the schema" });
        }
        self.rows_open = true;
        self.event(Event::Rows(batch));
        Ok(())
    }

    pub(super) fn message(&mut self, text: &Bytes, outgoing: &mut BytesMut) -> Result<(), Disconnect> {
        let message = Message::read(text)?;
        match (&message.method, message.id) {
            (Some(method), id) => self.called(method, id, message.params, outgoing)?,
            (None, Some(id)) => self.replied(id, &message, text, outgoing)?,
            (None, None) => {
                return Err(Disconnect::Unexpected {
                    found: "a message without method and id",
                    expected: "either",
                });
            }
        }
        if std::mem::take(&mut self.rows_open) {
            return Err(Disconnect::Unexpected {
                found: "rows in another message",
                expected: "them in an update",
            });
        }
        Ok(())
    }

    fn called(
        &mut self,
        method: &str,
        id: Option<&RawValue>,
        params: Option<&RawValue>,
        outgoing: &mut BytesMut,
    ) -> Result<(), Disconnect> {
        match (method, id) {
            ("echo", Some(id)) => outgoing.extend_from_slice(&message::echo_reply(id, params)),
            ("update" | "update2", _) => {
                let _: (IgnoredAny, Emptied<'_>) = read(params)?;
                self.updated(Uuid::ZERO)?;
            }
            ("update3", _) => {
                let (_, transaction, _): (IgnoredAny, Uuid, Emptied<'_>) = read(params)?;
                self.updated(transaction)?;
            }
            ("locked", _) => self.lock_changed(params, LockChange::Acquired)?,
            ("stolen", _) => self.lock_changed(params, LockChange::Lost)?,
            ("monitor_canceled", _) => return Err(Disconnect::Canceled),
            (_, Some(id)) => outgoing.extend_from_slice(&message::unknown_method_reply(id)),
            (_, None) => {}
        }
        Ok(())
    }

    fn updated(&mut self, transaction: Uuid) -> Result<(), Disconnect> {
        if self.phase != Phase::Following {
            return Err(Disconnect::Unexpected { found: "an update", expected: "the initial dump" });
        }
        self.resume = Resume { last_transaction: transaction };
        self.commit(Commit::Update);
        Ok(())
    }

    fn lock_changed(&mut self, params: Option<&RawValue>, change: LockChange) -> Result<(), Disconnect> {
        let [name]: [String; 1] = read(params)?;
        self.event(Event::Lock { name, change });
        Ok(())
    }

    fn replied(
        &mut self,
        id: &RawValue,
        message: &Message<'_>,
        text: &Bytes,
        outgoing: &mut BytesMut,
    ) -> Result<(), Disconnect> {
        if id.get() == message::PROBE_ID {
            return Ok(());
        }
        let id: u64 = serde_json::from_str(id.get())?;
        let result = match (message.error, message.result) {
            (Some(error), _) => Err(refusal(error)),
            (None, Some(result)) => Ok(text.slice_ref(result.get().as_bytes())),
            (None, None) => Ok(Bytes::from_static(b"null")),
        };
        match self.phase {
            Phase::AwaitingSchema { id: awaited } if awaited == id => self.schema_came(result, outgoing),
            Phase::AwaitingDump { id: awaited, method } if awaited == id => {
                self.dump_came(method, result, outgoing)
            }
            _ => {
                let unknown =
                    Disconnect::Unexpected { found: "a reply", expected: "one to a request of ours" };
                let reply = self.callers.remove(&id).ok_or(unknown)?;
                self.backlog.push_back(Queued::Reply(reply, result.map_err(RequestError::Refused)));
                Ok(())
            }
        }
    }

    fn schema_came(
        &mut self,
        result: Result<Bytes, Refusal>,
        outgoing: &mut BytesMut,
    ) -> Result<(), Disconnect> {
        let result = result.map_err(|refusal| Disconnect::Refused { method: "get_schema", refusal })?;
        self.schema = Arc::new(Schema::read(&result)?);
        // Asked before the consumer is told, so that a misfit ends the connection without having been one.
        if self.config.monitor.is_empty() {
            self.phase = Phase::Following;
        } else {
            self.follow(self.config.monitor_method, outgoing)?;
        }
        let connected = Event::Connected { peer: self.peer.clone(), schema: self.schema.clone() };
        self.backlog.push_back(Queued::Connected(self.epoch, connected));
        Ok(())
    }

    fn follow(&mut self, method: MonitorMethod, outgoing: &mut BytesMut) -> Result<(), Disconnect> {
        let requests = self.config.monitor.requests(&self.schema)?;
        let database = &self.config.database;
        let id = match method {
            MonitorMethod::CondSince => {
                let since = self.resume.last_transaction;
                self.request(method.name(), (database, MONITOR_ID, requests, since), outgoing)
            }
            MonitorMethod::Cond | MonitorMethod::Plain => {
                self.request(method.name(), (database, MONITOR_ID, requests), outgoing)
            }
        };
        self.phase = Phase::AwaitingDump { id, method };
        Ok(())
    }

    fn dump_came(
        &mut self,
        method: MonitorMethod,
        result: Result<Bytes, Refusal>,
        outgoing: &mut BytesMut,
    ) -> Result<(), Disconnect> {
        let result = match (result, method.next()) {
            (Ok(result), _) => result,
            (Err(_), Some(next)) => return self.follow(next, outgoing),
            (Err(refusal), None) => return Err(Disconnect::Refused { method: method.name(), refusal }),
        };
        self.phase = Phase::Following;
        let (resumed, last_transaction) = if method == MonitorMethod::CondSince {
            let (resumed, last_transaction, _): (bool, Uuid, Emptied<'_>) = serde_json::from_slice(&result)?;
            (resumed, last_transaction)
        } else {
            let _: Emptied<'_> = serde_json::from_slice(&result)?;
            (false, Uuid::ZERO)
        };
        self.resume = Resume { last_transaction };
        self.commit(if resumed { Commit::Resumed } else { Commit::Snapshot { method } });
        Ok(())
    }

    fn commit(&mut self, commit: Commit) {
        self.rows_open = false;
        self.event(Event::Commit(commit));
    }

    fn event(&mut self, event: Event) {
        self.backlog.push_back(Queued::Event(event));
    }

    pub(super) fn end(mut self, reason: Disconnect) -> End {
        for (_, reply) in self.callers.drain() {
            self.backlog.push_back(Queued::Reply(reply, Err(RequestError::OutcomeUnknown)));
        }
        End {
            reason,
            synchronized: self.phase == Phase::Following,
            resume: self.resume,
            undelivered: self.backlog,
        }
    }
}

/// A session has one monitor.
const MONITOR_ID: &str = "monitor";

/// `<table-updates>` after the framer took the rows out: had it left one, that would be refused here.
#[derive(Deserialize)]
#[expect(clippy::zero_sized_map_values, reason = "each table is to be an empty object, not merely a key")]
#[serde(transparent)]
struct Emptied<'a> {
    #[serde(borrow)]
    _tables: BTreeMap<Cow<'a, str>, NoRows>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoRows {}

fn read<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Disconnect> {
    Ok(serde_json::from_str(params.map_or("null", RawValue::get))?)
}

/// A JSON-RPC error is an `<error>` object or, for a method that is not known, a string.
fn refusal(error: &RawValue) -> Refusal {
    fn as_<T: DeserializeOwned>(error: &RawValue) -> Option<T> {
        serde_json::from_str(error.get()).ok()
    }

    as_(error).unwrap_or_else(|| Refusal {
        error: as_(error).unwrap_or_else(|| error.get().chars().take(256).collect()),
        details: None,
    })
}
