//! Agents without a kernel: sessions of the real protocol that keep the tables they are told, as many as one machine
//! can hold. Where a bench speaks of "simulated agents", it means these.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use tokio::{runtime, sync::mpsc, task::JoinSet, time::interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use vtep_api::{
    Change, FromVtep, Held, Inventory, LogicalSwitchName, MacAddr, PROTOCOL, Row, TableUpdate, Term, ToVtep,
    VtepName, VtepState, grpc,
};

use crate::netns::Netns;

/// Messages that wait for the connection.
const OUTBOX: usize = 64;
const HEARTBEAT: Duration = Duration::from_secs(2);

type Table = HashMap<(LogicalSwitchName, MacAddr), Row>;

/// They live on one thread, in the controller's namespace.
pub(super) struct Fleet {
    thread: JoinHandle<Result<Vec<Table>>>,
    inventories: Vec<mpsc::Sender<Inventory>>,
    /// Rows that came, to all together.
    rows: Arc<AtomicU64>,
}

/// Who one of them is.
pub(super) struct Member {
    pub(super) name: VtepName,
    pub(super) address: Ipv4Addr,
    /// Without it the controller must be on the loopback.
    pub(super) tls: Option<grpc::TlsFiles>,
}

impl Fleet {
    /// Their sessions begin; nothing is behind them.
    pub(super) fn attach(netns: &Netns, controller: SocketAddr, members: Vec<Member>) -> Self {
        let rows = Arc::new(AtomicU64::new(0));
        let (inventories, queues): (Vec<_>, Vec<_>) = members.iter().map(|_| mpsc::channel(OUTBOX)).unzip();
        let (netns, counted) = (netns.clone(), Arc::clone(&rows));
        let thread = thread::spawn(move || {
            netns.within(|| {
                let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let mut sessions = JoinSet::new();
                    for (index, (member, queue)) in members.into_iter().zip(queues).enumerate() {
                        let rows = Arc::clone(&counted);
                        sessions.spawn(async move {
                            let name = member.name.clone();
                            let table = session(controller, member, queue, &rows).await;
                            let table = table.with_context(|| format!("agent {name}"));
                            // Whoever waits for its rows learns why.
                            table.inspect_err(|error| eprintln!("{error:#}")).map(|table| (index, table))
                        });
                    }
                    let mut tables = Vec::new();
                    while let Some(ended) = sessions.join_next().await {
                        tables.push(ended??);
                    }
                    tables.sort_unstable_by_key(|(index, _)| *index);
                    Ok(tables.into_iter().map(|(_, table)| table).collect())
                })
            })?
        });
        Self { thread, inventories, rows }
    }

    /// What is behind one of them, by the number at which it was given.
    pub(super) fn report(&self, member: usize, inventory: Inventory) -> Result<()> {
        self.inventories[member].blocking_send(inventory).ok().context("the agent's session has ended")
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Ends the sessions, and gives the table of each.
    pub(super) fn finish(self) -> Result<Vec<Table>> {
        drop(self.inventories);
        self.thread.join().ok().context("the agents' thread failed")?
    }
}

/// Until nothing more is to be reported.
async fn session(
    controller: SocketAddr,
    member: Member,
    mut inventories: mpsc::Receiver<Inventory>,
    rows: &AtomicU64,
) -> Result<Table> {
    let (outbox, mut incoming) = admitted(controller, &member).await?;
    let mut table = Table::default();
    let mut beat = interval(HEARTBEAT);
    loop {
        tokio::select! {
            // As an agent does: its controller ends a session that is silent, however much it says itself.
            _ = beat.tick() => outbox.send(FromVtep::Heartbeat { wall_ms: wall_ms()? }).await?,
            message = incoming.next() => {
                if let ToVtep::Table(update) = message.context("the controller ended the session")?? {
                    rows.fetch_add(update.changes.len() as u64, Ordering::Relaxed);
                    if let Some(held) = take(&mut table, update) {
                        outbox.send(FromVtep::Applied(held)).await?;
                    }
                }
            },
            inventory = inventories.recv() => match inventory {
                Some(inventory) => outbox.send(FromVtep::Inventory(inventory)).await?,
                None => return Ok(table),
            },
        }
    }
}

/// As an agent does, it tries again while what is declared has not reached its controller.
async fn admitted(
    controller: SocketAddr,
    member: &Member,
) -> Result<(mpsc::Sender<FromVtep>, Streaming<ToVtep>)> {
    let scheme = if member.tls.is_some() { "https" } else { "http" };
    let endpoint = grpc::endpoint(&format!("{scheme}://{controller}"), member.tls.as_ref())?;
    let channel = endpoint.connect().await?;
    for attempt in 0.. {
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let name = member.name.clone();
        outbox.send(FromVtep::Hello { protocol: PROTOCOL, name, term: Term(0), tables: Vec::new() }).await?;
        let address = Some(member.address.into());
        outbox.send(FromVtep::State(VtepState { address, ..VtepState::default() })).await?;
        let nothing = Inventory { snapshot: true, networks: Vec::new(), end: true };
        outbox.send(FromVtep::Inventory(nothing)).await?;
        let mut client = grpc::vtep_client(channel.clone());
        let mut incoming = client.attach(ReceiverStream::new(outgoing)).await?.into_inner();
        match incoming.next().await.context("the controller ended the session")? {
            Ok(ToVtep::Welcome { term, .. }) => {
                outbox.send(FromVtep::Obeys { term }).await?;
                return Ok((outbox, incoming));
            }
            Ok(other) => bail!("expected a welcome, found {other:?}"),
            Err(status) if status.code() == Code::FailedPrecondition && attempt < 50 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
    unreachable!("the last attempt returns")
}

fn wall_ms() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

/// What may be acknowledged, when the last part has come.
fn take(table: &mut Table, update: TableUpdate) -> Option<Held> {
    let TableUpdate { logical_switch, term, to, changes, end, .. } = update;
    for (mac, change) in changes {
        let key = (logical_switch.clone(), mac);
        match change {
            Change::Put(row) => table.insert(key, row),
            Change::Remove(_) => table.remove(&key),
        };
    }
    end.then_some(Held { logical_switch, term, version: to })
}

/// Until so many rows have come to all, or nothing comes any more.
pub(super) fn await_rows(fleet: &Fleet, rows: u64, deadline: Instant) -> Result<()> {
    while fleet.rows() < rows {
        if fleet.thread.is_finished() {
            bail!("a session has ended when {} of {rows} rows had come", fleet.rows());
        }
        if Instant::now() > deadline {
            bail!("of {rows} rows {} have come", fleet.rows());
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
