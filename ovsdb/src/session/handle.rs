use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::event::Reply;
use crate::schema::Schema;
use crate::transact::{Operation, OutcomeError, Refusal, Results, Transaction};

/// Makes requests of the server. Each belongs to the connection that its maker was last told of by
/// [`Events::recv`](super::Events::recv): what was planned on what an earlier one showed is refused, not sent.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    seen: Arc<AtomicU64>,
    database: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Ask {
    pub epoch: u64,
    pub method: &'static str,
    pub params: Box<RawValue>,
    pub reply: Reply,
}

impl Ask {
    pub(super) fn refuse(self, error: RequestError) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(Err(error));
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("no connection to the server")]
    NotConnected,
    /// The server may have done what was asked: compare before asking again.
    #[error("connection ended before the server replied")]
    OutcomeUnknown,
    #[error("session is over")]
    Over,
    #[error("server refused: {0}")]
    Refused(Refusal),
    #[error("reply is malformed")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
}

impl Handle {
    pub(super) fn new(asks: mpsc::Sender<Ask>, seen: Arc<AtomicU64>, database: &str) -> Self {
        Self { asks, seen, database: database.into() }
    }

    /// Resolves after the events that came before the reply were received, what the transaction changed among them: the
    /// task that awaits this must not be one that has stopped receiving.
    pub async fn transact(&self, transaction: Transaction) -> Result<Results, TransactError> {
        let operations = transaction.operations();
        let reply = self.ask("transact", &Transact { database: &self.database, operations }).await?;
        Ok(Results::read(&reply, operations.len())?)
    }

    /// True when the lock is ours; otherwise an event tells when it is. A lock ends with its connection.
    pub async fn lock(&self, name: &str) -> Result<bool, RequestError> {
        self.lock_request("lock", name).await
    }

    /// Takes a lock from whoever has it.
    pub async fn steal(&self, name: &str) -> Result<bool, RequestError> {
        self.lock_request("steal", name).await
    }

    /// Gives a lock back, or stops waiting for it.
    pub async fn unlock(&self, name: &str) -> Result<(), RequestError> {
        self.ask("unlock", &[name]).await.map(drop)
    }

    async fn lock_request(&self, method: &'static str, name: &str) -> Result<bool, RequestError> {
        #[derive(serde::Deserialize)]
        struct Locked {
            locked: bool,
        }

        let reply = self.ask(method, &[name]).await?;
        let Locked { locked } = serde_json::from_slice(&reply).map_err(RequestError::Malformed)?;
        Ok(locked)
    }

    pub async fn list_databases(&self) -> Result<Vec<String>, RequestError> {
        let reply = self.ask("list_dbs", &[(); 0]).await?;
        serde_json::from_slice(&reply).map_err(RequestError::Malformed)
    }

    pub async fn schema(&self, database: &str) -> Result<Schema, RequestError> {
        let reply = self.ask("get_schema", &[database]).await?;
        Schema::read(&reply).map_err(RequestError::Malformed)
    }

    /// The schema of this session's database as the server gives it, in JSON.
    pub async fn schema_text(&self) -> Result<String, RequestError> {
        let reply = self.ask("get_schema", &[&*self.database]).await?;
        let text: &RawValue = serde_json::from_slice(&reply).map_err(RequestError::Malformed)?;
        Ok(text.get().to_owned())
    }

    /// Converts this session's database to another schema, its rows kept (`ovsdb-server.7`, "Schema Conversion"). The
    /// server then ends the connections of those who follow the database.
    pub async fn convert(&self, schema: &str) -> Result<(), RequestError> {
        let schema: &RawValue = serde_json::from_str(schema).map_err(RequestError::Malformed)?;
        self.ask("convert", &(&*self.database, schema)).await.map(drop)
    }

    /// Returns when the server has answered.
    pub async fn echo(&self) -> Result<(), RequestError> {
        self.ask("echo", &[(); 0]).await.map(drop)
    }

    async fn ask(&self, method: &'static str, params: &impl Serialize) -> Result<Bytes, RequestError> {
        let params = serde_json::value::to_raw_value(params).expect("parameters have string keys");
        let (reply, answer) = oneshot::channel();
        let epoch = self.seen.load(Ordering::Acquire);
        self.asks.send(Ask { epoch, method, params, reply }).await.map_err(|_| RequestError::Over)?;
        answer.await.map_err(|_| RequestError::Over)?
    }
}

/// The parameters of `transact`: the database's name and then each operation.
struct Transact<'a> {
    database: &'a str,
    operations: &'a [Operation],
}

impl Serialize for Transact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut params = serializer.serialize_seq(Some(1 + self.operations.len()))?;
        params.serialize_element(self.database)?;
        for operation in self.operations {
            params.serialize_element(operation)?;
        }
        params.end()
    }
}
