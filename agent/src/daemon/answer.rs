//! What clients ask, and who answers: the host what is known, the daemon what has to be done.

use tokio::sync::oneshot;
use tracing::info;
use vtep_api::daemon::chain;

use super::Daemon;
use super::drill::Drill;
use crate::control::view::{CountRow, RestoredRow};
use crate::control::{Ask, ErrorKind, Reply, Request};
use crate::roles::Rule;
use crate::trace::Question;

/// Traces at a time: each loads the programs.
pub(super) const TRACES_MAX: usize = 2;

impl Daemon {
    pub(super) async fn answer(&mut self, ask: Ask) -> Option<oneshot::Sender<Reply>> {
        self.host.note_session(&self.source.status.borrow());
        // A client that does not wait for its answer needs none.
        match ask {
            Ask::Client { request: Request::Detach, reply } => return Some(reply),
            Ask::Client { request: Request::RoleSet { rule }, reply } => {
                drop(reply.send(tokio::task::block_in_place(|| self.set_role(rule))));
            }
            Ask::Client { request: Request::Drill { vtep, seconds }, reply } => {
                let begun =
                    tokio::task::block_in_place(|| Drill::begin(&mut self.host, &vtep, seconds, reply));
                if let Some(mut drill) = begun {
                    info!(vtep, seconds, "a failover is rehearsed");
                    self.reconcile().await;
                    tokio::task::block_in_place(|| drill.goes_on(&self.host));
                    self.drill = Some(drill);
                }
            }
            Ask::Client { request: Request::BfdRestore { vtep }, reply } => {
                let restored = self.restore(&vtep).await;
                drop(reply.send(restored));
            }
            Ask::Client { request: Request::Trace { question }, reply } => self.trace(&question, reply),
            Ask::Client { request: Request::Monitor { wanted }, reply } => {
                drop(reply.send(self.host.monitor(&wanted)));
            }
            Ask::Client { request: Request::Capture { filter }, reply } => {
                drop(reply.send(self.host.capture(&filter)));
            }
            Ask::Client { request: Request::Release { vni }, reply } => drop(reply.send(self.release(vni))),
            Ask::Client { request: Request::Diff { past }, reply } => {
                drop(reply.send(tokio::task::block_in_place(|| self.host.differences(past))));
            }
            Ask::Client { request, reply } => {
                let metrics = self.metrics;
                drop(reply.send(tokio::task::block_in_place(|| self.host.answer(&request, metrics))));
            }
            Ask::Waits(reply) => drop(reply.send(self.host.waits_for())),
            Ask::Scrape(reply) => {
                let metrics = self.metrics;
                drop(reply.send(Box::new(tokio::task::block_in_place(|| self.host.scrape(metrics)))));
            }
        }
        None
    }

    /// The programs run beside the loop, for to load them takes long.
    fn trace(&mut self, question: &Question, reply: oneshot::Sender<Reply>) {
        if self.traces >= TRACES_MAX {
            let message = format!("{TRACES_MAX} traces run already, as many as may; ask again");
            drop(reply.send(Reply::error(ErrorKind::Failed, message)));
            return;
        }
        match self.host.begin_trace(question) {
            Ok(tracing) => {
                self.traces += 1;
                let answering = self.answering.clone();
                // A daemon that has ended meanwhile takes no answer.
                tokio::task::spawn_blocking(move || drop(answering.blocking_send(tracing.run(reply))));
            }
            Err(refused) => drop(reply.send(refused)),
        }
    }

    fn set_role(&mut self, rule: Rule) -> Reply {
        info!(role = rule.role.as_str(), scope = ?rule.scope, "the role is set");
        match self.host.set_role(rule) {
            Ok(()) => {
                self.publish();
                Reply::rows(self.host.roles.rules())
            }
            Err(error) => Reply::error(ErrorKind::Failed, chain(&error)),
        }
    }

    /// Gives a VTEP that is held back its MACs.
    async fn restore(&self, vtep: &str) -> Reply {
        let mut restored = 0;
        for index in self.host.vteps_called(vtep) {
            restored += usize::from(self.liveness.restore(index).await);
        }
        if restored == 0 {
            return Reply::error(ErrorKind::NotFound, format!("no VTEP {vtep} is up again and held back"));
        }
        info!(vtep, "a VTEP is brought back");
        Reply::rows([RestoredRow { vteps: restored }])
    }

    fn release(&self, vni: u32) -> Reply {
        let status = self.source.status.borrow();
        let macs = status.tables.iter().filter(|table| table.vni == vni).map(|table| table.held).sum();
        if macs == 0 {
            return Reply::error(ErrorKind::NotFound, format!("no MACs of VNI {vni} are held"));
        }
        if !self.source.release(vni) {
            return Reply::error(ErrorKind::Failed, "the source is busy");
        }
        info!(vni, macs, "MACs that a snapshot lacked are released");
        Reply::rows([CountRow { macs }])
    }
}
