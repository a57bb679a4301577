//! Sessions of BFD with VTEPs. A task of its own keeps them, for their timers are short and a comparison of tables may
//! take long. What it finds out of a VTEP is evidence for [`desired`](crate::desired).
//!
//! The programs hear packets first, and judge silence without us (`ebpf/src/liveness.rs`); handshake, negotiation and
//! failback are done here. A session outlives the agent: its successor goes on with what stands in the maps.

mod peer;
mod task;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use vtep_bfd::{Diagnostic, State};

use crate::config::BfdSettings;
use crate::kernel::{Bfd, BfdPackets};

const ORDERS_MAX: usize = 16;

/// A session that should be, with the VTEP of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub address: IpAddr,
    pub local: IpAddr,
    /// Of VXLAN.
    pub udp_port: u16,
    pub settings: BfdSettings,
}

/// By VTEP index.
pub type Wishes = BTreeMap<u32, Wish>;

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub address: IpAddr,
    pub state: State,
    pub remote_state: State,
    pub diagnostic: Diagnostic,
    pub remote_diagnostic: Diagnostic,
    /// As [`vtep_bfd::Standing`] names it.
    pub standing: &'static str,
    /// Others should serve the VTEP's MACs.
    pub suspect: bool,
    /// The session failed, and frames come from the VTEP all the same.
    pub receiving: bool,
    /// It was never up, for longer than a handshake takes.
    pub overdue: bool,
    pub failures: u64,
    /// How often the programs had found it silent, as far as that was judged.
    pub expired: u64,
    pub detection: Option<Duration>,
    pub interval: Option<Duration>,
    /// Why the last packet was refused, or could not be sent.
    pub complaint: Option<String>,
    pub settings: BfdSettings,
}

impl Known {
    /// `vtep(5)`, `bfd_status:forwarding`.
    pub fn forwards(&self) -> bool {
        !self.suspect && (self.state == State::Up || self.receiving)
    }
}

pub type Findings = BTreeMap<u32, Known>;

#[derive(Debug)]
enum Order {
    /// The programs found a VTEP silent.
    Silent(IpAddr),
    /// The operator wants it back. Answers whether it was held back.
    Restore(u32, oneshot::Sender<bool>),
    /// Tells all peers that we go, for we stop forwarding.
    Leave(oneshot::Sender<()>),
}

/// The running task. It ends when this is dropped; the programs go on.
#[derive(Debug)]
pub struct Liveness {
    pub findings: watch::Receiver<Arc<Findings>>,
    wishes: watch::Sender<Wishes>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<io::Result<()>>,
}

impl Liveness {
    /// `suspects`: the VTEPs that are out of service, as the kernel has them.
    pub fn spawn(maps: Bfd, packets: BfdPackets, suspects: Vec<u32>) -> Self {
        let (wishes, wanted) = watch::channel(Wishes::new());
        let (found, findings) = watch::channel(Arc::default());
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let task = tokio::spawn(task::Task::new(maps, packets, suspects, found).run(wanted, ordered));
        Self { findings, wishes, orders, task }
    }

    /// Waits for other findings; an error once the task has ended, and nothing more is found out.
    pub async fn changed(&mut self) -> io::Result<()> {
        if self.findings.changed().await.is_ok() {
            return Ok(());
        }
        (&mut self.task).await??;
        Err(io::Error::other("the task of BFD ended"))
    }

    pub fn want(&self, wishes: Wishes) {
        self.wishes.send_if_modified(|last| {
            let changed = *last != wishes;
            *last = wishes;
            changed
        });
    }

    /// One that is not taken is not lost: the maps tell of it, too.
    pub fn silent(&self, address: IpAddr) {
        drop(self.orders.try_send(Order::Silent(address)));
    }

    pub async fn restore(&self, vtep: u32) -> bool {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Restore(vtep, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    pub async fn leave(&self) {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(Order::Leave(reply)).await.is_ok() {
            drop(answer.await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_task_is_told_once_what_it_found_is() {
        let (wishes, _) = watch::channel(Wishes::new());
        let (found, findings) = watch::channel(Arc::default());
        let (orders, _) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            found.send_replace(Arc::default());
            Err(io::Error::other("no ring"))
        });
        let mut liveness = Liveness { findings, wishes, orders, task };
        liveness.changed().await.expect("what was found last");
        assert_eq!(liveness.changed().await.expect_err("the end").to_string(), "no ring");
    }
}
