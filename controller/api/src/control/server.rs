//! The daemon's side of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest, Ready};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::relay::Piece;
use super::{Asked, ErrorKind, Line, Live, Relayed, Reply, Request};

const CONNECTIONS_MAX: u32 = 32;
/// A client that takes nothing for so long is dropped.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
const READ_PATIENCE: Duration = Duration::from_mins(1);
/// How long an end waits for clients that do not hang up.
const FAREWELL: Duration = Duration::from_secs(1);
/// How soon it is seen that a client hung up before it had its answer.
const HANG_UP_PACE: Duration = Duration::from_millis(200);
const CHUNK_BYTES: usize = 64 * 1024;

/// The listening socket. Its file goes with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
    /// Every connection holds one.
    places: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("control socket {path} is served by another process")]
    Taken { path: PathBuf },
    #[error("control socket {path} cannot be made")]
    Bind { path: PathBuf, source: io::Error },
}

impl Server {
    pub fn listen<A: Asked>(path: &Path, asks: mpsc::Sender<A>) -> Result<Self, ServerError> {
        let listener = bind(path)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
        let free = Arc::clone(&places);
        let task = tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&free).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let asks = asks.clone();
                        tokio::spawn(async move {
                            // A client that went away is no event.
                            serve(stream, &asks).await.ok();
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a control connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(Self { path: path.to_owned(), task, places })
    }

    /// Takes no more clients, and lets those that are there have their answers.
    pub async fn finish(self) {
        self.task.abort();
        tokio::time::timeout(FAREWELL, self.places.acquire_many(CONNECTIONS_MAX)).await.ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        fs::remove_file(&self.path).ok();
    }
}

/// A socket that nobody serves is left over from a crash and goes.
fn bind(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |source| ServerError::Bind { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ServerError::Taken { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

async fn serve<A: Asked>(stream: UnixStream, asks: &mpsc::Sender<A>) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut answer = Answer { write, buffer: Vec::with_capacity(CHUNK_BYTES) };
    while let Some(line) = next_line(&mut lines, A::Request::BYTES_MAX).await? {
        let reply = match serde_json::from_slice::<A::Request>(&line) {
            Ok(request) => {
                let asked = pin!(ask(request, asks));
                let Some(reply) = answer.unless_gone(asked, &mut lines).await else { return Ok(()) };
                reply
            }
            Err(error) => Reply::error(ErrorKind::Usage, format!("the request is not understood: {error}")),
        };
        answer.send(reply, &mut lines).await?;
    }
    Ok(())
}

async fn next_line(lines: &mut BufReader<OwnedReadHalf>, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = lines.take(bytes_max);
    tokio::time::timeout(READ_PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    // The last line of a client that went away, or one that is too long.
    Ok(line.ends_with(b"\n").then_some(line))
}

async fn ask<A: Asked>(request: A::Request, asks: &mpsc::Sender<A>) -> Reply {
    let stopping = || Reply::error(ErrorKind::Failed, format!("the {} is stopping", A::Request::DAEMON));
    let (reply, answered) = oneshot::channel();
    if asks.send(A::client(request, reply)).await.is_err() {
        return stopping();
    }
    answered.await.unwrap_or_else(|_| stopping())
}

struct Answer {
    write: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Answer {
    /// `None`: the client hung up first, and whoever was asked finds nobody waiting. One that only says no more, like
    /// `nc -N`, still listens.
    async fn unless_gone<T>(
        &self,
        mut reply: Pin<&mut impl Future<Output = T>>,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Option<T> {
        tokio::select! {
            reply = &mut reply => return Some(reply),
            heard = lines.fill_buf() => if heard.is_ok_and(|more| !more.is_empty()) { return Some(reply.await) },
        }
        loop {
            tokio::select! {
                reply = &mut reply => return Some(reply),
                () = tokio::time::sleep(HANG_UP_PACE) => {
                    let state = self.write.ready(Interest::WRITABLE).await;
                    if state.is_ok_and(Ready::is_write_closed) {
                        return None;
                    }
                }
            }
        }
    }

    async fn send(&mut self, reply: Reply, lines: &mut BufReader<OwnedReadHalf>) -> io::Result<()> {
        let end = match reply {
            Reply::Error { kind, message } => error(kind, message),
            Reply::Live(live) => Line::End { rows: self.follow(live, lines).await? },
            Reply::Relayed(relayed) => self.hand_on(relayed, lines).await?,
            Reply::Rows(mut rows) => {
                let mut count = 0;
                // A `Line::Row` without a detour over a `Value`.
                loop {
                    let start = self.buffer.len();
                    self.buffer.extend_from_slice(b"{\"row\":");
                    let Some(row) = rows.write_next(&mut self.buffer) else {
                        self.buffer.truncate(start);
                        break;
                    };
                    row?;
                    self.buffer.extend_from_slice(b"}\n");
                    count += 1;
                    if self.buffer.len() >= CHUNK_BYTES {
                        self.flush().await?;
                    }
                }
                Line::End { rows: count }
            }
        };
        serde_json::to_writer(&mut self.buffer, &end)?;
        self.buffer.push(b'\n');
        self.flush().await
    }

    /// Until its end, which is returned, or the client hangs up.
    async fn hand_on(
        &mut self,
        mut relayed: Relayed,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> io::Result<Line> {
        let mut count = 0;
        loop {
            let piece = pin!(relayed.next());
            match self.unless_gone(piece, lines).await {
                Some(Some(Piece::Rows { lines, rows })) => {
                    count += rows;
                    self.write(&lines).await?;
                }
                Some(Some(Piece::End(end))) => return Ok(end.unwrap_or(Line::End { rows: count })),
                Some(None) => return Ok(error(ErrorKind::Failed, "the answer broke off")),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Until the rows end, or the client says anything more or hangs up. Returns how many lines there were.
    async fn follow(&mut self, mut live: Live, lines: &mut BufReader<OwnedReadHalf>) -> io::Result<usize> {
        let mut count = 0;
        loop {
            tokio::select! {
                next = live.next(&mut self.buffer) => match next {
                    Some(written) => written?,
                    None => return Ok(count),
                },
                heard = lines.fill_buf() => return heard.map(|_| count),
            }
            count += 1;
            self.buffer.push(b'\n');
            self.flush().await?;
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer).await;
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        tokio::time::timeout(WRITE_PATIENCE, self.write.write_all(lines)).await?
    }
}

fn error(kind: ErrorKind, message: impl Into<String>) -> Line {
    Line::Error { kind, message: message.into(), missing: Vec::new() }
}
