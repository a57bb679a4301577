//! The control socket, with the daemon's place taken by the test.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::sync::mpsc;
use vtep_abi::{FdbKey, Target};
use vtep_agent::control::client::{ClientError, ask};
use vtep_agent::control::client::{Conversation, Heard};
use vtep_agent::control::view::{CountRow, FdbDump, FdbRow, Labels};
use vtep_agent::control::{Ask, ErrorKind, FdbFilter, Reply, Request, Server};
use vtep_agent::dataplane::FdbTarget;
use vtep_agent::monitor::Wanted;
use vtep_api::control::Feed;

struct Daemon {
    directory: TempDir,
    _server: Server,
}

/// Answers `fdb count` with 7, `fdb show` with `entries` rows, and finds nothing else.
fn daemon(entries: u32) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let (sender, mut asks) = mpsc::channel(4);
    let server = Server::listen(&directory.path().join("run/agent.sock"), sender).unwrap();
    tokio::spawn(async move {
        while let Some(Ask::Client { request, reply }) = asks.recv().await {
            let answer = match request {
                Request::FdbCount { .. } => Reply::rows([CountRow { macs: 7 }]),
                Request::FdbShow { .. } => Reply::stream(dump(entries).into_rows()),
                _ => Reply::error(ErrorKind::NotFound, "there is nothing"),
            };
            drop(reply.send(answer));
        }
    });
    Daemon { directory, _server: server }
}

fn dump(entries: u32) -> FdbDump {
    let target = FdbTarget { master: Target::Vtep(1), slave: Target::None, flags: 0 };
    let entry = |at: u32| {
        let [_, a, b, c] = at.to_be_bytes();
        (FdbKey::new(5001, [2, 0, 0, a, b, c]), target)
    };
    FdbDump { entries: (0..entries).map(entry).collect(), labels: Labels::default() }
}

impl Daemon {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/agent.sock")
    }

    /// What the server answers to raw bytes, until it hangs up or one line has come.
    async fn answer(&self, bytes: Vec<u8>) -> String {
        let socket = self.socket();
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            // A server that has hung up takes no more.
            stream.write_all(&bytes).ok();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok();
            line
        });
        asked.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_with_an_end_and_errors_with_their_kind() {
    let daemon = daemon(0);
    let socket = daemon.socket();
    let asked = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let count = Request::FdbCount { filter: FdbFilter::default() };
        let rows = ask(&socket, &count, |row| {
            found.push(serde_json::from_value::<CountRow>(row)?);
            Ok(())
        });
        assert_eq!((rows.unwrap(), found), (1, vec![CountRow { macs: 7 }]));
        ask(&socket, &Request::Status, |_| Ok(()))
    });
    let refused = asked.await.unwrap();
    assert!(matches!(refused, Err(ClientError::Refused { kind: ErrorKind::NotFound, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_streamed_in_order() {
    const ROWS: u32 = 100_000;
    let daemon = daemon(ROWS);
    let socket = daemon.socket();
    let asked = tokio::task::spawn_blocking(move || {
        let mut last = None;
        let rows = ask(&socket, &Request::FdbShow { filter: FdbFilter::default() }, |row| {
            let row: FdbRow = serde_json::from_value(row)?;
            assert!(last < Some(row.mac));
            last = Some(row.mac);
            Ok(())
        });
        rows.unwrap()
    });
    assert_eq!(asked.await.unwrap(), ROWS as usize);
}

/// The publisher waits for nobody: what finds no room in socket and feed is counted, and told before the next row.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_is_told_how_much_it_lost() {
    const ROWS: usize = 200_000;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let (sender, mut asks) = mpsc::channel(4);
    let _server = Server::listen(&socket, sender).unwrap();
    let (published, is_published) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let Some(Ask::Client { reply, .. }) = asks.recv().await else { return };
        let (mut feed, answer) = Feed::new(64);
        reply.send(answer).unwrap();
        for row in 0..ROWS {
            feed.offer(|| row);
        }
        published.send(()).unwrap();
        while !feed.is_closed() {
            feed.tell_losses();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let request = Request::Monitor { wanted: Wanted::default() };
    let conversation = Conversation::open(&socket, &request).unwrap();
    is_published.await.unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        let (mut rows, mut lost) = (0, 0);
        let hung_up = conversation.hear(|heard| {
            match heard {
                Heard::Row(_) => rows += 1,
                Heard::Lost(more) => lost += more,
            }
            if rows + lost < ROWS { Ok(()) } else { Err(std::io::Error::other("heard enough")) }
        });
        assert!(matches!(hung_up, Err(ClientError::Output(_))), "{hung_up:?}");
        (rows, lost)
    });
    let (rows, lost) = heard.await.unwrap();
    assert!(rows > 0 && lost > 0 && rows + lost == ROWS, "{rows} rows, {lost} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_what_is_endless_is_cut_off() {
    let daemon = daemon(0);
    let answer = daemon.answer(b"{\"command\":\"reboot\"}\n".to_vec()).await;
    assert!(answer.contains("\"usage\"") && answer.contains("reboot"), "{answer}");
    assert_eq!(daemon.answer(vec![b'x'; 1 << 20]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_group_alone_and_is_not_taken_over() {
    let daemon = daemon(0);
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (sender, _asks) = mpsc::channel::<Ask>(1);
    let second = Server::listen(&daemon.socket(), sender.clone());
    assert!(second.unwrap_err().to_string().contains("served by another process"));
    // One that is left over from a crash is.
    let left = daemon.directory.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(Server::listen(&left, sender).is_ok());
}
