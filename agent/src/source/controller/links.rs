//! The connections with controllers: one that serves us, and where that is elected, one more with whoever would serve us
//! next. Which addresses those are is found out by trying them in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;
use vtep_api::grpc::Protection;
use vtep_api::{ControllerName, FromVtep, ToVtep};

use super::conversation::LinkId;
use super::link::Link;
use crate::config::ControllerSource;

/// With whom we speak at a time.
pub(super) const LINKS_MAX: usize = 2;
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// What came in and was not looked at yet.
const INBOUND_MAX: usize = 4;

#[derive(Debug)]
pub(super) enum Event {
    /// There is a connection, in which nothing was said.
    Up,
    Message(ToVtep),
    /// It has sent all that it was given.
    Idle,
    Down {
        reason: String,
    },
}

pub(super) struct Links {
    settings: Arc<ControllerSource>,
    running: BTreeMap<LinkId, Running>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<(LinkId, Event)>,
    events: mpsc::Receiver<(LinkId, Event)>,
    /// Of the address that is tried next.
    next: usize,
    next_id: u64,
    failures: u32,
    /// When another one may be begun.
    due: Instant,
}

struct Running {
    address: usize,
    batches: mpsc::Sender<Vec<FromVtep>>,
    idle: bool,
    task: tokio::task::AbortHandle,
}

impl Links {
    pub(super) fn new(settings: ControllerSource) -> Self {
        let (sender, events) = mpsc::channel(INBOUND_MAX);
        for address in &settings.addresses {
            if matches!(settings.protection(address), Ok(Protection::Nothing)) {
                warn!(
                    address,
                    "sessions with the controller are not encrypted, as source.allow_plaintext says"
                );
            }
        }
        Self {
            settings: Arc::new(settings),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            sender,
            events,
            next: 0,
            next_id: 0,
            failures: 0,
            due: Instant::now(),
        }
    }

    /// Waits for the next thing that happens; begins a connection meanwhile if there are fewer than `wanted`. A second one
    /// is not with whom `other` names. May be dropped while pending.
    pub(super) async fn next(&mut self, wanted: usize, other: Option<&ControllerName>) -> (LinkId, Event) {
        loop {
            let addresses = self.settings.addresses.len();
            if self.running.len() < wanted.min(addresses).min(LINKS_MAX) && Instant::now() >= self.due {
                self.begin(other.cloned());
            }
            let waits = self.running.len() < wanted.min(addresses).min(LINKS_MAX);
            tokio::select! {
                Some(event) = self.events.recv() => {
                    // Of one that was ended, nothing counts.
                    if self.running.contains_key(&event.0) {
                        return event;
                    }
                }
                _ = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = tokio::time::sleep_until(self.due), if waits => {}
            }
        }
    }

    /// Who serves us is somewhere else, and is there: the pause is that after a session, at most.
    pub(super) fn seek(&mut self) {
        self.failures = 0;
        self.due = self.due.min(Instant::now() + backoff(0, 1));
    }

    /// An operator knows that it is worth while.
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// How many connections were begun.
    pub(super) fn begun(&self) -> u64 {
        self.next_id
    }

    pub(super) fn idle(&self) -> Vec<LinkId> {
        self.running.iter().filter(|(_, running)| running.idle).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_idle(&mut self, link: LinkId) {
        if let Some(running) = self.running.get_mut(&link) {
            running.idle = true;
        }
    }

    /// To one that is idle.
    pub(super) fn send(&mut self, link: LinkId, batch: Vec<FromVtep>) {
        let Some(running) = self.running.get_mut(&link).filter(|_| !batch.is_empty()) else { return };
        running.idle = false;
        // One that takes nothing more says that it has ended.
        running.batches.try_send(batch).ok();
    }

    pub(super) fn address(&self, link: LinkId) -> &str {
        self.running.get(&link).map_or("?", |running| &self.settings.addresses[running.address])
    }

    /// It is over. `of_use`: a controller had answered.
    pub(super) fn end(&mut self, link: LinkId, of_use: bool) {
        let Some(running) = self.running.remove(&link) else { return };
        running.task.abort();
        self.failures = if of_use { 0 } else { self.failures.saturating_add(1) };
        self.due = Instant::now() + backoff(self.failures, self.settings.addresses.len());
    }

    fn begin(&mut self, other: Option<ControllerName>) {
        let addresses = self.settings.addresses.len();
        let taken = |at: usize| self.running.values().any(|running| running.address == at);
        let Some(address) = (0..addresses).map(|at| (self.next + at) % addresses).find(|at| !taken(*at))
        else {
            return;
        };
        self.next = address + 1;
        let id = LinkId(self.next_id);
        self.next_id += 1;
        let (batches, queued) = mpsc::channel(1);
        let link =
            Link { id, settings: Arc::clone(&self.settings), address, other, events: self.sender.clone() };
        let task = self.tasks.spawn(link.run(queued));
        self.running.insert(id, Running { address, batches, idle: false, task });
    }
}

/// A random part of a ceiling that doubles with each round of failures.
fn backoff(failures: u32, addresses: usize) -> Duration {
    let rounds = failures / u32::try_from(addresses).unwrap_or(1).max(1);
    let ceiling = BACKOFF_MIN.saturating_mul(1 << rounds.min(16)).min(BACKOFF_MAX);
    ceiling.mul_f64(rand::rng().random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_any_part_of_a_ceiling_that_doubles_with_each_round_of_addresses() {
        #[track_caller]
        fn check(failures: u32, addresses: usize, ceiling_ms: u64) {
            const DRAWS: usize = 10_000;
            let ceiling = Duration::from_millis(ceiling_ms);
            let mut tenths = [0; 10];
            for _ in 0..DRAWS {
                let part = backoff(failures, addresses).as_secs_f64() / ceiling.as_secs_f64();
                assert!(part < 1.0, "{failures} failures at {addresses} addresses: {part} of {ceiling:?}");
                let tenth = (0_u8..10).rev().find(|tenth| part * 10.0 >= f64::from(*tenth));
                tenths[usize::from(tenth.unwrap())] += 1;
            }
            // A tenth of them each, give or take ten standard deviations.
            assert!(tenths.iter().all(|count| (700..=1300).contains(count)), "{tenths:?}");
        }
        check(0, 2, 500);
        check(1, 2, 500);
        check(2, 2, 1000);
        check(5, 2, 2000);
        check(3, 1, 4000);
        check(u32::MAX, 1, 8000);
        check(4, 0, 8000);
    }

    #[tokio::test]
    async fn agents_that_lose_their_controller_at_once_look_for_another_one_apart() {
        const AGENTS: u32 = 1000;
        let settings = ControllerSource {
            addresses: vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()],
            tls: None,
            allow_plaintext: false,
        };
        let lost = Instant::now();
        let mut due = Vec::new();
        for _ in 0..AGENTS {
            let mut links = Links::new(settings.clone());
            links.begin(None);
            links.end(LinkId(0), true);
            due.push(links.due.saturating_duration_since(lost));
        }
        due.sort();
        // Of half a second, ten such spans; that this took time itself only spreads them more.
        let most = due.iter().map(|first| {
            due.partition_point(|at| *at < *first + Duration::from_millis(50))
                - due.partition_point(|at| at < first)
        });
        assert!(most.max().unwrap() <= 200, "of {AGENTS} more than 200 come within 50 ms");
    }
}
