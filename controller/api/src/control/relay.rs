//! Rows that another task gathers, perhaps from far away, and hands over in pieces. It waits for the client, and the client
//! for it.

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{ErrorKind, Line, Reply};

/// Pieces that wait for the client.
const PIECES_MAX: usize = 2;
const PIECE_BYTES: usize = 64 * 1024;

/// The gatherer's end.
#[derive(Debug)]
pub struct Relay {
    pieces: mpsc::Sender<Piece>,
    lines: Vec<u8>,
    rows: usize,
}

/// The client's end.
#[derive(Debug)]
pub struct Relayed(mpsc::Receiver<Piece>);

/// The client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

#[derive(Debug)]
pub(super) enum Piece {
    Rows { lines: Vec<u8>, rows: usize },
    End(Option<Line>),
}

impl Relay {
    pub fn new() -> (Self, Reply) {
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        (Self { pieces, lines: Vec::new(), rows: 0 }, Reply::Relayed(Relayed(taken)))
    }

    /// The JSON of a row.
    pub async fn row(&mut self, row: &[u8]) -> Result<(), Broken> {
        // A `Line::Row` without a detour over a `Value`.
        self.lines.extend_from_slice(b"{\"row\":");
        self.lines.extend_from_slice(row);
        self.lines.extend_from_slice(b"}\n");
        self.rows += 1;
        if self.lines.len() >= PIECE_BYTES {
            return self.flush().await;
        }
        Ok(())
    }

    /// Before something is waited for.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        if self.rows == 0 {
            return Ok(());
        }
        let (lines, rows) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.rows));
        self.send(Piece::Rows { lines, rows }).await
    }

    pub async fn end(mut self) -> Result<(), Broken> {
        self.flush().await?;
        self.send(Piece::End(None)).await
    }

    pub async fn refuse(self, kind: ErrorKind, message: String) -> Result<(), Broken> {
        self.fail(kind, message, Vec::new()).await
    }

    /// What came is so, and this is missing.
    pub async fn end_incomplete<T: Serialize>(self, message: String, missing: &[T]) -> Result<(), Broken> {
        let missing = missing.iter().filter_map(|missing| serde_json::to_value(missing).ok()).collect();
        self.fail(ErrorKind::Incomplete, message, missing).await
    }

    async fn fail(mut self, kind: ErrorKind, message: String, missing: Vec<Value>) -> Result<(), Broken> {
        self.flush().await?;
        self.send(Piece::End(Some(Line::Error { kind, message, missing }))).await
    }

    async fn send(&self, piece: Piece) -> Result<(), Broken> {
        self.pieces.send(piece).await.map_err(|_| Broken)
    }
}

impl Relayed {
    /// `None`: whoever gathers failed.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await
    }
}
