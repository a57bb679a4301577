//! TORs as VTEPs: for each one that is to be served an adapter, with OVSDB `hardware_vtep` on one side and the messages
//! of a VTEP's session on the other. The physical controller does not know which of its VTEPs are TORs.

mod adapter;
mod placed;
mod present;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use ovsdb::Remote;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info};
use vtep_api::{Served, VtepName};

use self::adapter::Adapter;
use crate::run::physical;

pub(crate) use self::adapter::Settings;

/// How long a TOR whose adapter failed is without one, at most.
const REVIVE: Duration = Duration::from_secs(5);

type Everyone = BTreeMap<VtepName, Served>;

/// An adapter that runs until this is dropped.
struct Running {
    remote: Remote,
    task: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

/// Keeps one adapter for each TOR that is to be served, until nobody says any more who that is.
pub(crate) async fn serve(
    settings: Settings,
    mut served: watch::Receiver<Everyone>,
    core: mpsc::Sender<physical::Input>,
) {
    let mut running = BTreeMap::new();
    let mut wanted = tors(&served.borrow_and_update());
    loop {
        running.retain(|vtep: &VtepName, adapter: &mut Running| {
            let stays = wanted.get(vtep) == Some(&adapter.remote);
            if !stays {
                info!(%vtep, remote = %adapter.remote, "a TOR is not served any longer");
            } else if adapter.task.is_finished() {
                error!(%vtep, remote = %adapter.remote, "the task that serves a TOR failed; it begins anew");
            }
            stays && !adapter.task.is_finished()
        });
        for (vtep, remote) in wanted.clone() {
            running.entry(vtep.clone()).or_insert_with(|| {
                info!(%vtep, %remote, "a TOR is served");
                let (stop, stopped) = oneshot::channel();
                let adapter = Adapter::new(vtep, &remote, &settings, core.clone());
                let task = tokio::spawn(adapter.run(stopped));
                Running { remote, task, _stop: stop }
            });
        }
        tokio::select! {
            changed = served.changed() => match changed {
                Ok(()) => wanted = tors(&served.borrow_and_update()),
                Err(_) => return,
            },
            () = tokio::time::sleep(REVIVE) => {}
        }
    }
}

fn tors(served: &Everyone) -> BTreeMap<VtepName, Remote> {
    let remote = |(vtep, served): (&VtepName, &Served)| match served.ovsdb.as_ref()?.parse() {
        Ok(remote) => Some((vtep.clone(), remote)),
        Err(reason) => {
            // The declared file was checked: another logical controller knows more than we do.
            error!(%vtep, error = &reason as &dyn std::error::Error, "a TOR cannot be served");
            None
        }
    };
    served.iter().filter_map(remote).collect()
}
