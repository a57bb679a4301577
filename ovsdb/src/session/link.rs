//! One connection, from its first byte to its last.

mod protocol;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use self::protocol::Protocol;
pub(super) use self::protocol::Resume;
use super::event::Queued;
use super::handle::{Ask, RequestError};
use super::probe::{Hearing, Probe, Sign};
use super::{Abandoned, SessionConfig};
use crate::framer::{FrameError, Framer, Piece};
use crate::message;
use crate::monitor::SchemaError;
use crate::transact::Refusal;
use crate::transport::{ConnectError, Connection, Stream};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("server did not accept the connection within {timeout:?}")]
    ConnectTimeout { timeout: Duration },
    #[error("server closed the connection")]
    Closed,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("server sent nothing for {silence:?} and answered no probe")]
    Silent { silence: Duration },
    #[error("stream from the server cannot be read")]
    Frame(#[from] FrameError),
    #[error("message from the server is malformed")]
    Message(#[from] serde_json::Error),
    #[error("server sent {found}; expected {expected}")]
    Unexpected { found: &'static str, expected: &'static str },
    #[error("server refused {method}: {refusal}")]
    Refused { method: &'static str, refusal: Refusal },
    #[error("server's database is not fit")]
    Schema(#[from] SchemaError),
    #[error("server withdrew the database")]
    Canceled,
}

/// How a connection ended.
pub(super) struct End {
    pub reason: Disconnect,
    /// Whether the initial dump had come in whole.
    pub synchronized: bool,
    pub resume: Resume,
    pub undelivered: VecDeque<Queued>,
}

const READ_LEN: usize = 64 << 10;
/// No request is taken, and nothing more is read, while so much waits to be written.
const OUTGOING_LEN_MAX: usize = 4 << 20;
/// Requests that wait for their reply.
const PENDING_MAX: usize = 64;

pub(super) struct Link<'a> {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    framer: Framer,
    protocol: Protocol<'a>,
    probe: Probe,
    outgoing: BytesMut,
    /// A TLS stream holds back what was written until it is flushed.
    unflushed: bool,
    epoch: u64,
}

enum Done {
    Failed(Disconnect),
    Abandoned,
}

impl<T: Into<Disconnect>> From<T> for Done {
    fn from(reason: T) -> Self {
        Self::Failed(reason.into())
    }
}

impl<'a> Link<'a> {
    pub(super) fn new(connection: Connection, config: &'a SessionConfig, epoch: u64, resume: Resume) -> Self {
        let peer = connection.peer().to_owned();
        let (reader, writer) = tokio::io::split(connection.stream);
        let mut outgoing = BytesMut::new();
        Self {
            reader,
            writer,
            framer: Framer::new(config.limits),
            protocol: Protocol::start(config, peer, epoch, resume, &mut outgoing),
            probe: Probe::new(config.probe_interval, config.dump_timeout, Instant::now()),
            outgoing,
            unflushed: false,
            epoch,
        }
    }

    pub(super) async fn run(
        mut self,
        queue: &mpsc::Sender<Queued>,
        requests: &mut mpsc::Receiver<Ask>,
    ) -> Result<End, Abandoned> {
        let mut handles = true;
        loop {
            match self.step(queue, requests, &mut handles).await {
                Ok(()) => {}
                Err(Done::Abandoned) => return Err(Abandoned),
                Err(Done::Failed(reason)) => return Ok(self.protocol.end(reason)),
            }
        }
    }

    async fn step(
        &mut self,
        queue: &mpsc::Sender<Queued>,
        requests: &mut mpsc::Receiver<Ask>,
        handles: &mut bool,
    ) -> Result<(), Done> {
        let behind = !self.protocol.backlog.is_empty();
        let writable = self.outgoing.len() < OUTGOING_LEN_MAX;
        let hearing = match (behind || !writable, self.protocol.is_synchronized()) {
            (true, _) => Hearing::Deaf,
            (false, false) => Hearing::AwaitingDump,
            (false, true) => Hearing::Listening,
        };
        let wake_at = match self.probe.poll(Instant::now(), hearing) {
            Sign::Wait(wake_at) => wake_at,
            Sign::Ask => {
                self.outgoing.extend_from_slice(&message::probe());
                return Ok(());
            }
            Sign::Dead { silence } => return Err(Disconnect::Silent { silence }.into()),
        };
        if !behind && writable {
            self.framer.buffer().reserve(READ_LEN);
        }
        let taking = *handles && writable && self.protocol.pending() < PENDING_MAX;
        let unwritten = self.unflushed || !self.outgoing.is_empty();
        tokio::select! {
            room = queue.reserve(), if behind => {
                let room = room.map_err(|_| Done::Abandoned)?;
                if let Some(queued) = self.protocol.backlog.pop_front() {
                    room.send(queued);
                }
            }
            () = queue.closed(), if !behind => return Err(Done::Abandoned),
            read = self.reader.read_buf(self.framer.buffer()), if !behind && writable => {
                if read? == 0 {
                    return Err(Disconnect::Closed.into());
                }
                self.probe.heard(Instant::now());
                self.receive()?;
            }
            written = write_or_flush(&mut self.writer, &self.outgoing), if unwritten => match written? {
                0 => self.unflushed = false,
                written => {
                    self.outgoing.advance(written);
                    self.unflushed = true;
                    self.probe.sent(Instant::now());
                }
            },
            ask = requests.recv(), if taking => match ask {
                Some(ask) if ask.epoch == self.epoch => self.protocol.ask(ask, &mut self.outgoing),
                Some(ask) => ask.refuse(RequestError::NotConnected),
                None => *handles = false,
            },
            () = wake(wake_at) => {}
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Done> {
        while let Some(piece) = self.framer.next_piece()? {
            match piece {
                Piece::Rows(batch) => self.protocol.rows(batch)?,
                Piece::Message(message) => self.protocol.message(&message, &mut self.outgoing)?,
            }
        }
        Ok(())
    }
}

/// How many bytes were written; none when there was nothing but to flush.
async fn write_or_flush(writer: &mut (impl AsyncWrite + Unpin), outgoing: &[u8]) -> io::Result<usize> {
    if outgoing.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(outgoing).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
