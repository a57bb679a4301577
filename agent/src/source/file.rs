//! The table as a file, TOML or JSON, read again when it changes and on request. `docs/table-file.md` describes it.

mod document;
mod rows;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

pub use document::{Document, DocumentError};
pub use rows::build;

use super::{Refusals, SourceEvent};
use crate::table::Table;
use crate::tunnel_address::OwnAddresses;

/// An editor's several writes are read once.
const QUIET: Duration = Duration::from_millis(20);
/// Without a notice the file is looked at again all the same: some file systems give none.
const POLL: Duration = Duration::from_secs(30);

/// Follows the file until the receiver is gone.
pub(super) async fn follow(
    path: PathBuf,
    own: OwnAddresses,
    events: mpsc::Sender<SourceEvent>,
    reload: Arc<Notify>,
) {
    let mut changes = watch::Changes::of(&path);
    let mut last_good = Arc::new(Table::default());
    let mut stamp = None;
    let mut forced = true;
    loop {
        let seen = watch::Stamp::of(&path);
        if forced || stamp != Some(seen.clone()) {
            stamp = Some(seen);
            let event = read_again(&path, own, &mut last_good).await;
            if events.send(event).await.is_err() {
                return;
            }
        }
        forced = tokio::select! {
            () = reload.notified() => true,
            () = changes.next(QUIET) => false,
            () = tokio::time::sleep(POLL) => false,
        };
    }
}

async fn read_again(path: &Path, own: OwnAddresses, last_good: &mut Arc<Table>) -> SourceEvent {
    let (path, previous) = (path.to_owned(), Arc::clone(last_good));
    let read = tokio::task::spawn_blocking(move || load(&path, own, &previous)).await;
    match read {
        Ok(Ok((table, refusals))) => {
            let table = Arc::new(table);
            *last_good = Arc::clone(&table);
            SourceEvent::Snapshot { table, refusals }
        }
        Ok(Err(error)) => SourceEvent::Lost { reason: chain(&error) },
        Err(error) => SourceEvent::Lost { reason: format!("reading the table file failed: {error}") },
    }
}

/// Reads and checks the file without following it. `previous` keeps what is bad in the file as it was.
pub fn load(path: &Path, own: OwnAddresses, previous: &Table) -> Result<(Table, Refusals), DocumentError> {
    Ok(build(Document::read(path)?, own, previous))
}

pub use vtep_api::daemon::chain;

#[cfg(test)]
mod tests;
