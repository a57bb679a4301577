//! The commands' side of the socket.

use std::io::{self, BufRead, BufReader, Write};
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
}

/// Asks, and hands over each row as it comes. Returns how many there were.
pub fn ask<R: Request>(
    socket: &Path,
    request: &R,
    mut row: impl FnMut(Value) -> io::Result<()>,
) -> Result<usize, ClientError> {
    let daemon = R::DAEMON;
    let unreachable = |source| ClientError::Unreachable { daemon, path: socket.to_owned(), source };
    let failed = |source| ClientError::Connection { daemon, source };
    let garbled = |source| ClientError::Garbled { daemon, source };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request).map_err(garbled)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    loop {
        text.clear();
        if lines.read_line(&mut text).map_err(failed)? == 0 {
            return Err(ClientError::HungUp { daemon });
        }
        match serde_json::from_str(&text).map_err(garbled)? {
            Line::Row(value) => row(value).map_err(ClientError::Output)?,
            Line::End { rows } => return Ok(rows),
            Line::Error { kind, message } => return Err(ClientError::Refused { kind, message }),
        }
    }
}
