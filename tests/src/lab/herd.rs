//! Many agents in one process: each is the daemon's own client of the controllers, sessions, backoff, resumption and all,
//! with a table in memory where the daemon has a kernel.

mod agent;
mod cluster;
mod failover;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use tokio::{runtime, sync::oneshot, sync::watch};
use vtep_agent::{
    config::Config,
    source::{LocalMacs, Report},
};
use vtep_api::{LocalMac, LogicalSwitchName, MacAddr, Origin, VtepName};

pub use agent::Known;
pub use cluster::HerdCluster;
pub use failover::{Failover, Rush};

use crate::netns::Netns;

pub struct Herd {
    agents: Vec<Member>,
    /// Ends them.
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Who one of them is. It takes part in one network.
#[derive(Clone, Debug)]
pub struct Recruit {
    pub name: VtepName,
    pub network: LogicalSwitchName,
    pub address: Ipv4Addr,
}

pub struct Member {
    pub recruit: Recruit,
    reports: watch::Sender<Option<Arc<Report>>>,
    known: watch::Receiver<Known>,
    claims: BTreeMap<MacAddr, LocalMac>,
}

impl Herd {
    /// On one thread, in that namespace. They look for the controllers at once, and have no MACs.
    pub fn start(netns: &Netns, controllers: &[SocketAddr], recruits: Vec<Recruit>) -> Result<Self> {
        let (mut agents, mut tasks) = (Vec::new(), Vec::new());
        for recruit in recruits {
            let config = config(&recruit, controllers)?;
            let (reports, said) = watch::channel(None);
            let (tell, known) = watch::channel(Known::default());
            tasks.push(move || agent::live(config, said, tell));
            let mut member = Member { recruit, reports, known, claims: BTreeMap::new() };
            member.report();
            agents.push(member);
        }
        let (over, ended) = oneshot::channel::<()>();
        let netns = netns.clone();
        let thread = thread::spawn(move || {
            netns.within(|| -> Result<()> {
                let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    for task in tasks {
                        tokio::spawn(task());
                    }
                    // By a word or by the end of whoever has the other side.
                    ended.await.ok();
                });
                Ok(())
            })?
        });
        Ok(Self { agents, over: Some(over), thread: Some(thread) })
    }

    pub fn agents(&self) -> &[Member] {
        &self.agents
    }

    /// One more MAC is behind that one.
    pub fn claim(&mut self, agent: usize, mac: MacAddr) {
        self.agents[agent].claim(mac);
    }

    /// Until the sessions are closed.
    pub fn finish(mut self) -> Result<()> {
        self.over.take();
        let thread = self.thread.take().context("it has ended already")?;
        thread.join().ok().context("the agents' thread panicked")?
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Member {
    /// What it has.
    pub fn known(&self) -> watch::Ref<'_, Known> {
        self.known.borrow()
    }

    pub fn claims(&self) -> impl Iterator<Item = MacAddr> {
        self.claims.keys().copied()
    }

    fn claim(&mut self, mac: MacAddr) {
        let origin = Some(Origin(u128::from_be_bytes(origin(&self.recruit, mac))));
        self.claims.insert(mac, LocalMac { origin, ..LocalMac::default() });
        self.report();
    }

    fn report(&mut self) {
        let macs = LocalMacs::from([(self.recruit.network.clone(), self.claims.clone())]);
        let report = Report { local_macs: Arc::new(macs), ..Report::default() };
        self.reports.send_replace(Some(Arc::new(report)));
    }
}

/// Of its one claim of that MAC: no other one has it.
fn origin(recruit: &Recruit, mac: MacAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&recruit.address.octets());
    bytes[10..].copy_from_slice(&mac.octets());
    bytes
}

/// As the daemon reads it.
fn config(recruit: &Recruit, controllers: &[SocketAddr]) -> Result<Config> {
    let addresses: Vec<_> = controllers.iter().map(|address| format!("http://{address}")).collect();
    let text = format!(
        "[agent]\nname = \"{}\"\n\n[underlay]\naddress = \"{}\"\nuplinks = [\"lo\"]\n\n[source]\nkind = \
         \"controller\"\naddresses = {addresses:?}\n",
        recruit.name, recruit.address
    );
    Ok(Config::parse(&text, Path::new("agent.toml"), &[])?)
}
