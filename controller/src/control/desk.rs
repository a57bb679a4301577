//! The task that answers: from the cores, each of which its own task owns, and from the state store.

use std::sync::Arc;

use tokio::sync::mpsc;
use vtep_api::ControllerName;

use super::ErrorKind;
use super::{Ask, LogicalErrand, PhysicalErrand, Reply, Request, Scrape};
use crate::config::Role;
use crate::store::Store;

/// Who answers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: ControllerName,
    pub role: Role,
}

#[derive(Debug)]
pub struct Desk {
    pub identity: Identity,
    /// Shared with whoever writes down what the core persists. Locked for one read or write.
    pub store: Arc<std::sync::Mutex<Store>>,
    pub logical: Option<mpsc::Sender<LogicalErrand>>,
    pub physical: Option<mpsc::Sender<PhysicalErrand>>,
}

impl Desk {
    /// Until nobody can ask.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Client { request, reply } => {
                    reply.send(self.answer(request).await).ok();
                }
                Ask::Scrape(reply) => {
                    reply.send(Box::new(Scrape::default())).ok();
                }
                Ask::Waits(reply) => {
                    reply.send(Vec::new()).ok();
                }
            }
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        Reply::error(ErrorKind::Failed, format!("{request:?} is not answered yet"))
    }
}
