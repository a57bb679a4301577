//! A TOR's database with a controller on it, run the way a physical controller runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hardware_vtep::controller::{Failed, LOCK, Observed, Remote, Subject, SwitchOutline, Tor, TorOutline};
use hardware_vtep::{DATABASE, Mirror};
use ovsdb::{Event, Events, Handle, SessionConfig, TransactError, session};
use vtep_api::{LocalMac, LogicalSwitchName, MacAddr, Replication, SwitchPortName, VlanId, Vni};

use crate::schema::stock;
use crate::server::{DEADLINE, Server};

pub(crate) const OWN: &str = "192.0.2.100";

pub(crate) struct Controller {
    pub(crate) handle: Handle,
    events: Events,
    pub(crate) tor: Tor,
    pub(crate) outline: TorOutline,
    pub(crate) transactions: usize,
    /// What was observed and not yet looked at.
    pub(crate) observed: Vec<Observed>,
    /// Looked at after each update.
    pub(crate) invariant: Box<dyn Fn(&Mirror)>,
}

pub(crate) fn ls(name: &str) -> LogicalSwitchName {
    name.try_into().unwrap()
}

pub(crate) fn port(name: &str) -> SwitchPortName {
    name.try_into().unwrap()
}

pub(crate) fn vlan(id: u16) -> VlanId {
    VlanId::try_from(i64::from(id)).unwrap()
}

pub(crate) fn mac(last: u16) -> MacAddr {
    let [high, low] = last.to_be_bytes();
    MacAddr::new([2, 0, 0, 0, high, low])
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(address: &str) -> Remote {
    Remote { master: ip(address), slaves: Box::default(), ips: Box::default(), own_role: None }
}

pub(crate) fn network(vni: u32, flood: &[&str]) -> SwitchOutline {
    let vni = Vni::try_from(i64::from(vni)).unwrap();
    let flood = flood.iter().map(|text| ip(text)).collect();
    SwitchOutline { vni, replication: Replication::SourceNode, flood }
}

/// A database in which there is the TOR `tor1` with two ports.
pub(crate) fn tor_with(schema: &Path) -> Server {
    let server = Server::start(schema);
    let address = format!("tunnel_ips={OWN}");
    server.ctl(&["add-ps", "tor1", "--", "set", "Physical_Switch", "tor1", &address]);
    server.ctl(&["add-port", "tor1", "Ethernet1/1", "--", "add-port", "tor1", "Ethernet1/2"]);
    server
}

pub(crate) fn tor() -> Server {
    tor_with(stock())
}

/// What `vtep-ctl` shows, without white space.
pub(crate) fn shown(server: &Server, arguments: &[&str]) -> Vec<String> {
    let lines = server.ctl(arguments);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.lines().map(words).filter(|line| !line.is_empty()).collect()
}

/// The remote MACs of a logical switch as `vtep-ctl` shows them.
pub(crate) fn remote(server: &Server, switch: &str) -> BTreeMap<String, String> {
    let lines = shown(server, &["list-remote-macs", switch]);
    let pair = |line: &String| {
        let (mac, locator) = line.split_once(" -> ")?;
        Some((mac.to_owned(), locator.rsplit('/').next()?.to_owned()))
    };
    lines.iter().filter_map(pair).collect()
}

impl Controller {
    /// Connected, without the lock.
    pub(crate) async fn observe(server: &Server) -> Self {
        let mut config = SessionConfig::new(server.unix().parse().unwrap(), DATABASE, Tor::monitor());
        config.backoff.ceiling_min = Duration::from_millis(100);
        config.backoff.ceiling_max = Duration::from_millis(200);
        let (handle, events) = session::spawn(config);
        let mut controller = Self {
            handle,
            events,
            tor: Tor::new("tor1".try_into().unwrap()),
            outline: TorOutline { complete: true, ..TorOutline::default() },
            transactions: 0,
            observed: Vec::new(),
            invariant: Box::new(|_| {}),
        };
        controller.until("the first dump", |tor| tor.mirror().is_synchronized()).await;
        controller
    }

    /// With the lock.
    pub(crate) async fn start(server: &Server) -> Self {
        let mut controller = Self::observe(server).await;
        assert!(controller.lock().await);
        controller
    }

    pub(crate) async fn lock(&mut self) -> bool {
        let handle = self.handle.clone();
        let granted = self.reply(handle.lock(LOCK)).await.unwrap();
        self.tor.lock_replied(granted);
        granted
    }

    /// The logical switch `name`, said to be complete.
    pub(crate) async fn network(&mut self, name: &str, outline: SwitchOutline) {
        self.outline.switches.insert(ls(name), outline);
        self.write_outline().await;
        self.tor.desired().set_complete(&ls(name), true);
    }

    pub(crate) async fn write_outline(&mut self) {
        self.tor.desired().set_outline(self.outline.clone());
        self.settle().await;
    }

    pub(crate) async fn put(&mut self, name: &str, mac: MacAddr, remote: Remote) {
        self.tor.desired().put(&ls(name), mac, remote);
        self.settle().await;
    }

    pub(crate) async fn remove(&mut self, name: &str, mac: MacAddr) {
        self.tor.desired().remove(&ls(name), mac);
        self.settle().await;
    }

    fn apply(&mut self, event: &Event) {
        if let Some(observed) = self.tor.apply(event) {
            (self.invariant)(self.tor.mirror());
            self.observed.push(observed);
        }
    }

    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Tor) -> bool) {
        let waiting = async {
            while !condition(&self.tor) {
                let event = self.events.recv().await.expect("the session goes on");
                self.apply(&event);
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
    }

    /// Takes in whatever was committed before now.
    pub(crate) async fn catch_up(&mut self) {
        let handle = self.handle.clone();
        self.reply(handle.echo()).await.unwrap();
    }

    /// What is news of MACs since it was last asked.
    pub(crate) async fn news(&mut self) -> Vec<(LogicalSwitchName, MacAddr, Option<LocalMac>)> {
        self.catch_up().await;
        std::mem::take(&mut self.observed).into_iter().flat_map(|observed| observed.macs).collect()
    }

    /// Writes until nothing is left to write.
    pub(crate) async fn settle(&mut self) {
        while self.step().await.is_some() {}
    }

    /// One transaction, if there is one to make.
    pub(crate) async fn step(&mut self) -> Option<Result<(), Failed>> {
        let batch = self.tor.next_batch()?;
        assert!(batch.transaction().operations()[0] == ovsdb::Operation::Assert { lock: LOCK.into() });
        let handle = self.handle.clone();
        self.transactions += 1;
        assert!(self.transactions < 10_000, "there is no end: {:?}", batch.writes());
        Some(match self.reply(handle.transact(batch.transaction().clone())).await {
            Ok(_) => {
                self.tor.landed(&batch);
                Ok(())
            }
            Err(TransactError::Outcome(error)) => Err(self.tor.failed(&batch, &error)),
            Err(error @ TransactError::Request(_)) => panic!("{error}"),
        })
    }

    pub(crate) fn refused(&self) -> BTreeMap<Subject, String> {
        self.tor.refused().map(|(subject, reason)| (subject.clone(), reason)).collect()
    }

    /// The addresses of all locators.
    pub(crate) fn locators(&self) -> Vec<String> {
        let mut locators: Vec<_> =
            self.tor.mirror().locators.iter().map(|(_, row)| row.dst_ip.clone()).collect();
        locators.sort();
        locators
    }

    /// Where the one `unknown-dst` row of a logical switch leads.
    pub(crate) fn flood(&self) -> BTreeSet<String> {
        let mirror = self.tor.mirror();
        assert_eq!(mirror.mcast_remote.len(), 1, "one row");
        let set = mirror.mcast_remote.iter().next().unwrap().1.locator_set;
        let set = mirror.locator_sets.row(set).unwrap();
        set.locators.iter().map(|&locator| mirror.locators.row(locator).unwrap().dst_ip.clone()).collect()
    }

    pub(crate) async fn reply<T>(&mut self, reply: impl Future<Output = T>) -> T {
        tokio::pin!(reply);
        let waiting = async {
            loop {
                tokio::select! {
                    reply = &mut reply => return reply,
                    event = self.events.recv() => self.apply(&event.expect("the session goes on")),
                }
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("a reply before the deadline")
    }
}
