//! A session that keeps a table of things, and waits for what a test expects of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ovsdb::{
    Commit, Disconnect, Event, Events, Handle, LockChange, Monitor, SessionConfig, Table, TransactError,
    Transaction, Uuid, session,
};

use crate::server::DEADLINE;

ovsdb::row! {
    #[derive(Debug)]
    pub(crate) struct Thing in "Thing" {
        pub(crate) name: String = "name",
        pub(crate) set: BTreeSet<i64> = "set",
        pub(crate) map: BTreeMap<String, i64> = "map",
        pub(crate) key: Option<i64> = "key",
        pub(crate) friends: BTreeSet<Uuid> = "friends",
    }
    optional {
        pub(crate) colour: Option<String> = "colour",
    }
}

pub(crate) struct Follower {
    pub(crate) handle: Handle,
    events: Events,
    pub(crate) things: Table<Thing>,
    /// Names of rows that changed, with whether the row was and is there.
    pub(crate) changes: Vec<(String, bool, bool)>,
}

pub(crate) fn config(remote: &str) -> SessionConfig {
    let mut config = SessionConfig::new(remote.parse().unwrap(), "Things", Monitor::new().table::<Thing>());
    config.backoff.ceiling_min = Duration::from_millis(100);
    config.backoff.ceiling_max = Duration::from_millis(200);
    config
}

impl Follower {
    pub(crate) fn spawn(config: SessionConfig) -> Self {
        Self::over(session::spawn(config))
    }

    pub(crate) fn over((handle, events): (Handle, Events)) -> Self {
        Self { handle, events, things: Table::default(), changes: Vec::new() }
    }

    /// The next event, after the table took it in.
    pub(crate) async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let event = event.expect("an event before the deadline").expect("the session goes on");
        self.apply(&event);
        event
    }

    fn apply(&mut self, event: &Event) {
        let changes = &mut self.changes;
        let note = |changed: ovsdb::Changed<'_, Thing>| {
            let name = changed.new.or(changed.old).unwrap().name.clone();
            changes.push((name, changed.old.is_some(), changed.new.is_some()));
        };
        match event {
            Event::Rows(batch) => {
                assert_eq!(batch.table(), "Thing");
                self.things.stage(batch);
            }
            Event::Commit(Commit::Snapshot { .. }) => self.things.commit_snapshot(note),
            Event::Commit(Commit::Resumed | Commit::Update) => self.things.commit(note),
            Event::Disconnected { .. } => self.things.discard(),
            Event::Listening { .. } | Event::Connected { .. } | Event::Lock { .. } => {}
        }
    }

    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Self, &Event) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(self, &event) {
                return found;
            }
        }
    }

    pub(crate) async fn commit(&mut self) -> Commit {
        self.until(|_, event| if let Event::Commit(commit) = event { Some(*commit) } else { None }).await
    }

    pub(crate) async fn disconnect(&mut self) -> std::sync::Arc<Disconnect> {
        self.until(
            |_, event| {
                if let Event::Disconnected { reason, .. } = event { Some(reason.clone()) } else { None }
            },
        )
        .await
    }

    pub(crate) async fn lock_change(&mut self) -> (String, LockChange) {
        self.until(|_, event| {
            if let Event::Lock { name, change } = event { Some((name.clone(), *change)) } else { None }
        })
        .await
    }

    /// A reply, while events are taken in.
    pub(crate) async fn reply<T>(&mut self, reply: impl Future<Output = T>) -> T {
        tokio::pin!(reply);
        tokio::time::timeout(DEADLINE, async {
            loop {
                tokio::select! {
                    reply = &mut reply => return reply,
                    event = self.events.recv() => self.apply(&event.expect("the session goes on")),
                }
            }
        })
        .await
        .expect("a reply before the deadline")
    }

    pub(crate) async fn transact(
        &mut self,
        transaction: Transaction,
    ) -> Result<ovsdb::transact::Results, TransactError> {
        let handle = self.handle.clone();
        self.reply(handle.transact(transaction)).await
    }

    pub(crate) fn thing(&self, name: &str) -> Option<&Thing> {
        self.things.iter().find(|(_, thing)| thing.name == name).map(|(_, thing)| thing)
    }

    pub(crate) fn uuid(&self, name: &str) -> Uuid {
        self.things.iter().find(|(_, thing)| thing.name == name).map(|(uuid, _)| uuid).unwrap()
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.things.iter().map(|(_, thing)| thing.name.as_str()).collect()
    }
}
