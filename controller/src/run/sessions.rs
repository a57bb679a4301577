//! The sessions that a core has, one for each name. What comes from a session that was replaced is nobody's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::outbox::Outbox;
use crate::physical::SessionId;

/// A number that no other session of this process has.
pub(crate) fn new_session() -> SessionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    SessionId(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Debug)]
pub(crate) struct Sessions<K, M> {
    open: BTreeMap<K, (SessionId, Outbox<M>)>,
}

impl<K: Ord + Display + Clone, M> Sessions<K, M> {
    pub(crate) fn new() -> Self {
        Self { open: BTreeMap::new() }
    }

    /// Ends an earlier session of the same name.
    pub(crate) fn open(&mut self, name: &K, session: SessionId, outbox: Outbox<M>) {
        if let Some((_, earlier)) = self.open.insert(name.clone(), (session, outbox)) {
            warn!(%name, "a session is replaced by a new one of the same name");
            earlier.end(format!("a new session of {name} replaces this one"));
        }
    }

    pub(crate) fn is_open(&self, name: &K, session: SessionId) -> bool {
        self.open.get(name).is_some_and(|(open, _)| *open == session)
    }

    pub(crate) fn has(&self, name: &K) -> bool {
        self.open.contains_key(name)
    }

    /// The transport has ended it. Returns whether it was open.
    pub(crate) fn left(&mut self, name: &K, session: SessionId) -> bool {
        let open = self.is_open(name, session);
        if open {
            self.open.remove(name);
        }
        open
    }

    /// Returns whether the session goes on.
    pub(crate) fn send(&mut self, name: &K, message: M) -> bool {
        let Some((_, outbox)) = self.open.get(name) else { return true };
        let sent = outbox.send(message).is_ok();
        if !sent {
            self.end(name, "it does not take what it is sent".to_owned());
        }
        sent
    }

    pub(crate) fn end(&mut self, name: &K, reason: String) {
        if let Some((_, outbox)) = self.open.remove(name) {
            warn!(%name, reason, "a session is ended");
            outbox.end(reason);
        }
    }
}
