//! One of them: what the daemon does with its source, without a kernel.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;
use vtep_agent::{
    config::Config,
    source::{Feedback, Inherited, Report, SessionStatus, Source, SourceEvent},
    table::Table,
};

/// What it has, and how its sessions went.
#[derive(Debug, Default)]
pub struct Known {
    pub table: Table,
    pub session: SessionStatus,
    /// When it began connections.
    pub attempts: Vec<Instant>,
}

impl Known {
    /// Tables that came as a whole, since it began.
    pub fn snapshots(&self) -> u64 {
        self.session.tables.iter().map(|table| table.snapshots).sum()
    }

    /// Whether all that was heard is what it forwards by.
    pub fn is_installed(&self) -> bool {
        let installed = |table: &vtep_agent::source::TableStatus| table.installed == Some(table.version);
        self.session.tables.iter().all(installed)
    }
}

/// As long as its runtime does.
pub(super) async fn live(
    config: Config,
    report: watch::Receiver<Option<Arc<Report>>>,
    known: watch::Sender<Known>,
) {
    let (install, installed) = watch::channel(0);
    let mut source = Source::spawn(&config, Inherited::default(), Feedback { report, installed });
    let mut events = 0;
    loop {
        tokio::select! {
            Some(event) = source.events.recv() => {
                events += 1;
                known.send_modify(|known| take(&mut known.table, event));
                install.send_replace(events);
            }
            Ok(()) = source.status.changed() => {
                let session = source.status.borrow_and_update().clone();
                known.send_modify(|known| {
                    let begun = session.attempts - known.session.attempts;
                    known.attempts.extend((0..begun).map(|_| Instant::now()));
                    known.session = session;
                });
            }
            else => return,
        }
    }
}

fn take(table: &mut Table, event: SourceEvent) {
    match event {
        SourceEvent::Snapshot { table: whole, .. } => *table = Arc::unwrap_or_clone(whole),
        SourceEvent::Delta { delta, .. } => table.apply(delta),
        SourceEvent::Obeys { .. } | SourceEvent::Lost { .. } => {}
    }
}
