//! Real frames through the real programs, on hosts that last for as long as this: a host with an agent of its own, its
//! VMs, and far ends that are the kernel's VXLAN devices, each in a network namespace without a name, the maps on a BPF
//! filesystem that only this process sees. Nothing of the host is touched, and nothing is left, however it ends.
//!
//! The configuration gives the way of the outer headers and the kind of MAC table; the MTU is that of the uplinks.

mod agent;
mod cable;
mod lab;
mod packet;
mod place;
mod probe;
mod stream;

use std::io;
use std::sync::mpsc;
use std::thread;

use crate::config::Config;
use crate::genetlink::GenetlinkError;
use crate::netlink::NetlinkError;

pub use self::lab::Lab;
pub(super) use self::lab::TAP;
pub use self::probe::{Outcome, Probe};

use self::agent::Agent;
use self::lab::Underlay;
use self::place::Place;

#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    #[error("namespaces cannot be made")]
    Place(#[source] io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Genetlink(#[from] GenetlinkError),
    #[error("the agent of the examination does not forward: {0}")]
    Agent(String),
}

/// What became of one kind of frame on one lane.
#[derive(Debug, Clone)]
pub struct Sent {
    /// A way of decapsulation, at a veth, or `tap`: by the tunnel device at a tap.
    pub lane: &'static str,
    pub probe: Probe,
    pub outcome: Outcome,
}

/// `mtu` is that of the uplinks. `meddle` may change the hosts before frames are sent: for tests of this examination.
pub fn send(
    config: &Config,
    mtu: u32,
    meddle: impl FnOnce(&Lab) -> io::Result<()> + Send,
) -> Result<Vec<Sent>, FramesError> {
    // The thread goes to another host and does not come back.
    let sent = thread::scope(|scope| scope.spawn(|| send_there(config, mtu, meddle)).join());
    sent.unwrap_or_else(|_| Err(io::Error::other("the examination's thread failed").into()))
}

fn send_there(
    config: &Config,
    mtu: u32,
    meddle: impl FnOnce(&Lab) -> io::Result<()>,
) -> Result<Vec<Sent>, FramesError> {
    let host = Place::enter_new().map_err(FramesError::Place)?;
    // Its threads are on the new host, too.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let underlay = Underlay::new(config, mtu);
    let lab = Lab::build(host, underlay, runtime.handle())?;
    let agent = Agent::start(lab.agent_config(config).map_err(FramesError::Agent)?, runtime.handle().clone());
    let sent = agent.wait_until_ready().and_then(|()| {
        meddle(&lab)?;
        let sent = probe::all(&lab, &agent, runtime.handle())?;
        agent.still_runs()?;
        Ok(sent)
    });
    agent.stop();
    let cut = lab.cut_cables(runtime.handle());
    runtime.shutdown_background();
    cut.and(sent)
}

/// A thread whose end can be waited for with patience.
fn spawn_result<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    receiver
}
