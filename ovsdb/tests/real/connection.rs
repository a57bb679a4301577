//! How connections begin, last and end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ovsdb::{Cells, Commit, Disconnect, Event, MonitorMethod, RequestError, TransactError, Transaction};

use crate::follower::{Follower, config};
use crate::proxy::{Proxy, hide};
use crate::schema;
use crate::server::{Server, wait_for};

const HIDDEN: [&str; 2] = ["monitor_cond_since", "monitor_cond"];
const INSERT: &str = r#"["Things",{"op":"insert","table":"Thing","row":{"name":"a"}}]"#;

fn tcp(server: &Server) -> String {
    format!("tcp:127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn a_server_that_knows_only_older_methods_is_followed_by_those() {
    let server = Server::start(schema());
    server.transact(INSERT);
    for (hidden, method) in [(1, MonitorMethod::Cond), (2, MonitorMethod::Plain)] {
        let proxy = Proxy::start(server.port(), hide(&HIDDEN[..hidden]));
        let mut follower = Follower::spawn(config(&proxy.remote()));
        assert_eq!(follower.commit().await, Commit::Snapshot { method });
        assert_eq!(follower.names(), BTreeSet::from(["a"]));
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_refused_by_name() {
    let server = Server::start(schema());
    let mut config = config(&server.unix());
    config.database = "Nothings".into();
    let reason = Follower::spawn(config).disconnect().await;
    assert!(reason.to_string().starts_with("server refused get_schema: unknown database"), "{reason}");
}

#[tokio::test]
async fn a_reconnect_gives_a_dump_that_changes_nothing() {
    let mut server = Server::start(schema());
    server.transact(INSERT);
    let mut follower = Follower::spawn(config(&server.unix()));
    follower.commit().await;
    server.stop();
    follower.disconnect().await;
    assert_eq!(follower.names(), BTreeSet::from(["a"]), "what was known stays");
    follower.changes.clear();
    server.restart();
    assert_eq!(follower.commit().await, Commit::Snapshot { method: MonitorMethod::CondSince });
    assert_eq!(follower.changes, []);
}

#[tokio::test]
async fn a_server_with_a_history_sends_only_what_was_missed() {
    let server = Server::start_clustered(schema());
    // It keeps a history no larger than the database itself.
    let others = (0..50).map(|n| format!(r#"{{"op":"insert","table":"Thing","row":{{"name":"{n}"}}}}"#));
    server.transact(&format!(r#"["Things",{}]"#, others.collect::<Vec<_>>().join(",")));
    server.transact(INSERT);
    let proxy = Proxy::start(server.port(), |bytes| bytes);
    let mut follower = Follower::spawn(config(&proxy.remote()));
    assert_eq!(follower.commit().await, Commit::Snapshot { method: MonitorMethod::CondSince });
    follower.changes.clear();
    proxy.cut();
    follower.disconnect().await;
    server.transact(
        r#"["Things",{"op":"insert","table":"Thing","row":{"name":"b"}},{"op":"delete","table":"Thing","where":[["name","==","a"]]}]"#);
    assert_eq!(follower.commit().await, Commit::Resumed);
    while follower.changes.len() < 2 {
        follower.next().await;
    }
    follower.changes.sort();
    assert_eq!(follower.changes, [("a".into(), true, false), ("b".into(), false, true)]);
    assert_eq!(follower.things.len(), 51);
}

#[tokio::test]
async fn a_reply_that_was_lost_leaves_the_outcome_open() {
    let mut server = Server::start(schema());
    let mut follower = Follower::spawn(config(&server.unix()));
    follower.commit().await;
    // The server holds the transaction back until a thing of this name appears, which none does.
    let mut waiting = Transaction::new();
    waiting.push(ovsdb::Operation::Wait {
        table: "Thing",
        conditions: ovsdb::Conditions::default().equal("name", "a"),
        columns: vec!["name"],
        until: ovsdb::transact::Until::Equal,
        rows: vec![Cells::new().with("name", "a")],
        timeout_ms: None,
    });
    let handle = follower.handle.clone();
    let reply = tokio::spawn(async move { handle.transact(waiting).await });
    let handle = follower.handle.clone();
    follower.reply(handle.echo()).await.unwrap();
    server.stop();
    follower.disconnect().await;
    let error = reply.await.unwrap().unwrap_err();
    assert!(matches!(error, TransactError::Request(RequestError::OutcomeUnknown)), "{error}");
    let refused = follower.transact(Transaction::new()).await.unwrap_err();
    assert!(matches!(refused, TransactError::Request(RequestError::NotConnected)), "{refused}");
}

#[tokio::test]
async fn what_was_planned_on_an_earlier_connection_is_not_sent() {
    let server = Server::start(schema());
    let proxy = Proxy::start(server.port(), |bytes| bytes);
    let mut follower = Follower::spawn(config(&proxy.remote()));
    follower.commit().await;
    proxy.cut();
    let proxy = tokio::task::spawn_blocking(move || {
        wait_for("the next connection", || proxy.connections() == 1);
        proxy
    });
    let _proxy = proxy.await.unwrap();
    // The consumer has not been told of the new connection: it plans on what the old one showed.
    let mut insert = Transaction::new();
    insert.insert("Thing", None, Cells::new().with("name", "late"));
    let refused = follower.handle.transact(insert).await.unwrap_err();
    assert!(matches!(refused, TransactError::Request(RequestError::NotConnected)), "{refused}");
    follower.commit().await;
    assert!(follower.things.is_empty());
}

/// A server on TCP that drops a client after six seconds without a sign of life.
fn impatient() -> Server {
    let server = Server::start_with(schema(), &["--remote=db:Things,Config,managers"]);
    server.transact(
        r#"["Things",{"op":"insert","table":"Manager","uuid-name":"m","row":{"target":"ptcp:0:127.0.0.1","inactivity_probe":3000}},
        {"op":"insert","table":"Config","row":{"managers":["named-uuid","m"]}}]"#,
    );
    server
}

#[tokio::test]
async fn the_server_s_probes_are_answered_while_a_large_dump_waits_to_be_decoded() {
    let server = impatient();
    // More than the session holds, so that it stops reading, and less than that and the kernel's buffers: a server that
    // cannot get rid of the dump does not probe either.
    let filler = "x".repeat(400);
    let inserts: Vec<_> = (0..11_000)
        .map(|n| format!(r#"{{"op":"insert","table":"Thing","row":{{"name":"{n:05} {filler}"}}}}"#))
        .collect();
    for some in inserts.chunks(200) {
        server.transact(&format!(r#"["Things",{}]"#, some.join(",")));
    }
    let remote = tcp(&server);
    let mut idle = std::net::TcpStream::connect(remote.trim_start_matches("tcp:")).unwrap();
    let mut follower = Follower::spawn(config(&remote));
    follower.until(|_, event| matches!(event, Event::Rows(_)).then_some(())).await;
    // Nothing is decoded until the server has given up a client that says nothing, and as long again.
    let started = Instant::now();
    let patience = tokio::task::spawn_blocking(move || {
        std::io::copy(&mut idle, &mut std::io::sink()).unwrap();
        started.elapsed()
    })
    .await
    .unwrap();
    tokio::time::sleep(patience).await;
    assert_eq!(follower.commit().await, Commit::Snapshot { method: MonitorMethod::CondSince });
    assert_eq!(follower.things.len(), 11_000);
    let handle = follower.handle.clone();
    follower.reply(handle.echo()).await.expect("the connection is the one that the dump came by");
}

#[tokio::test]
async fn an_idle_session_outlives_the_server_s_patience() {
    let server = impatient();
    let remote = tcp(&server);
    let mut idle = std::net::TcpStream::connect(remote.trim_start_matches("tcp:")).unwrap();
    let mut follower = Follower::spawn(config(&remote));
    follower.commit().await;
    tokio::task::spawn_blocking(move || std::io::copy(&mut idle, &mut std::io::sink()).unwrap())
        .await
        .unwrap();
    let handle = follower.handle.clone();
    follower.reply(handle.echo()).await.expect("the session's probes were answered");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_found_again() {
    let server = Server::start(schema());
    let mut config = config(&tcp(&server));
    config.probe_interval = Some(Duration::from_millis(300));
    let mut follower = Follower::spawn(config);
    follower.commit().await;
    server.signal("-STOP");
    let reason = follower.disconnect().await;
    assert!(
        matches!(&*reason, Disconnect::Silent { silence } if *silence >= Duration::from_millis(600)),
        "{reason}"
    );
    server.signal("-CONT");
    follower.commit().await;
}

#[tokio::test]
async fn a_message_beyond_the_limits_ends_the_connection_by_name() {
    let server = Server::start(schema());
    server.transact(INSERT);
    let mut config = config(&server.unix());
    config.limits.held_len_max = 200;
    let reason = Follower::spawn(config).disconnect().await;
    assert!(matches!(&*reason, Disconnect::Frame(_)), "{reason}");
    let told = std::error::Error::source(&*reason).unwrap().to_string();
    assert_eq!(told, "row, or message without its rows, has more than 200 bytes");
}

#[tokio::test]
async fn a_peer_that_is_no_ovsdb_server_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("tcp:{}", listener.local_addr().unwrap());
    let mut follower = Follower::spawn(config(&remote));
    let (mut stream, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let reason = follower.disconnect().await;
    let told = std::error::Error::source(&*reason).unwrap().to_string();
    assert_eq!(told, "byte 0x48 stands at offset 0 of a message; expected `{`");
}
