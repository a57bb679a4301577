//! The commands' side of the socket.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ErrorKind, Line, Request};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no {daemon} answers at {path}; is it running?")]
    Unreachable { daemon: &'static str, path: PathBuf, source: io::Error },
    #[error("the {daemon} hung up")]
    HungUp { daemon: &'static str },
    #[error("the connection to the {daemon} failed")]
    Connection { daemon: &'static str, source: io::Error },
    #[error("a row cannot be taken")]
    Output(#[source] io::Error),
    #[error("the {daemon}'s answer is not understood")]
    Garbled { daemon: &'static str, source: serde_json::Error },
    #[error("the {daemon} answered nothing")]
    Nothing { daemon: &'static str },
    #[error("{message}")]
    Refused { kind: ErrorKind, message: String },
    /// The rows that came are so.
    #[error("{message}")]
    Incomplete { message: String, missing: Vec<Value> },
}

/// Asks, and hands over each row as it comes. Returns how many there were.
pub fn ask<R: Request>(
    socket: &Path,
    request: &R,
    mut row: impl FnMut(Value) -> io::Result<()>,
) -> Result<usize, ClientError> {
    Conversation::open(socket, request)?.hear(|heard| match heard {
        Heard::Row(value) => row(value),
        Heard::Lost(_) => Ok(()),
    })
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Row(Value),
    /// So many rows came faster than they were taken.
    Lost(usize),
}

/// A question that was asked and is being answered, perhaps for long.
#[derive(Debug)]
pub struct Conversation {
    daemon: &'static str,
    stream: UnixStream,
}

impl Conversation {
    pub fn open<R: Request>(socket: &Path, request: &R) -> Result<Self, ClientError> {
        let daemon = R::DAEMON;
        let unreachable = |source| ClientError::Unreachable { daemon, path: socket.to_owned(), source };
        let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
        let mut line =
            serde_json::to_vec(request).map_err(|source| ClientError::Garbled { daemon, source })?;
        line.push(b'\n');
        stream.write_all(&line).map_err(|source| ClientError::Connection { daemon, source })?;
        Ok(Self { daemon, stream })
    }

    /// Ends a live answer from another thread: what is on its way still comes, and then an end.
    pub fn farewell(&self) -> Result<impl FnOnce() + Send + use<>, ClientError> {
        let daemon = self.daemon;
        let stream = self.stream.try_clone().map_err(|source| ClientError::Connection { daemon, source })?;
        // A connection that failed is at its end anyway.
        Ok(move || drop(stream.shutdown(Shutdown::Write)))
    }

    /// Hands over each piece as it comes. Returns how many rows the daemon says there were.
    pub fn hear(self, mut heard: impl FnMut(Heard) -> io::Result<()>) -> Result<usize, ClientError> {
        let Self { daemon, stream } = self;
        let mut lines = BufReader::new(stream);
        let mut text = String::new();
        loop {
            text.clear();
            let read = lines.read_line(&mut text);
            if read.map_err(|source| ClientError::Connection { daemon, source })? == 0 {
                return Err(ClientError::HungUp { daemon });
            }
            let line =
                serde_json::from_str(&text).map_err(|source| ClientError::Garbled { daemon, source })?;
            match line {
                Line::Row(value) => heard(Heard::Row(value)).map_err(ClientError::Output)?,
                Line::Lost { rows } => heard(Heard::Lost(rows)).map_err(ClientError::Output)?,
                Line::End { rows } => return Ok(rows),
                Line::Error { kind: ErrorKind::Incomplete, message, missing } => {
                    return Err(ClientError::Incomplete { message, missing });
                }
                Line::Error { kind, message, .. } => return Err(ClientError::Refused { kind, message }),
            }
        }
    }
}
