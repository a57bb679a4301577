//! The commands' side of the socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ErrorKind, Line, Request};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent answers at {path}; is it running?")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("the agent hung up")]
    HungUp,
    #[error("the connection to the agent failed")]
    Connection(#[from] io::Error),
    #[error("a row cannot be taken")]
    Output(#[source] io::Error),
    #[error("the agent's answer is not understood")]
    Garbled(#[from] serde_json::Error),
    #[error("{message}")]
    Refused { kind: ErrorKind, message: String },
}

/// Asks, and hands over each row as it comes. Returns how many there were.
pub fn ask(
    socket: &Path,
    request: &Request,
    mut row: impl FnMut(Value) -> io::Result<()>,
) -> Result<usize, ClientError> {
    let unreachable = |source| ClientError::Unreachable { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    loop {
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            return Err(ClientError::HungUp);
        }
        match serde_json::from_str(&text)? {
            Line::Row(value) => row(value).map_err(ClientError::Output)?,
            Line::End { rows } => return Ok(rows),
            Line::Error { kind, message } => return Err(ClientError::Refused { kind, message }),
        }
    }
}
