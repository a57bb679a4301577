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
use vtep_api::{Served, Term, VtepName};

use self::adapter::{Adapter, Writes};
use crate::cluster::Tenure;
use crate::run::physical;

pub(crate) use self::adapter::Settings;

/// How long a TOR whose adapter failed is without one, at most.
const REVIVE: Duration = Duration::from_secs(5);

/// By elections, the VTEPs that are ours to write to.
pub(crate) type Masteries = BTreeMap<VtepName, Mastery>;

/// The right to write to a TOR.
#[derive(Debug, Clone)]
pub(crate) struct Mastery {
    pub(crate) term: Term,
    pub(crate) tenure: Tenure,
}

type Everyone = BTreeMap<VtepName, Served>;

/// An adapter that runs until this is dropped.
struct Running {
    remote: Remote,
    /// By which term it writes, if that is elected.
    term: Option<Term>,
    mastery: watch::Sender<Option<Mastery>>,
    task: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

/// Keeps one adapter for each TOR that is to be served, until nobody says any more who that is. `elected`: who writes is;
/// an adapter that does not write mirrors the TOR, to write at once when it is elected. One that has written begins anew
/// when its reign is over, for what it was told then may be old by the next.
pub(crate) async fn serve(
    settings: Settings,
    mut served: watch::Receiver<Everyone>,
    mut elected: Option<watch::Receiver<Masteries>>,
    core: mpsc::Sender<physical::Input>,
) {
    let mut running = BTreeMap::new();
    let mut wanted = tors(&served.borrow_and_update());
    loop {
        let masteries = elected.as_mut().map(|elected| elected.borrow_and_update().clone());
        let present = |vtep: &VtepName| masteries.as_ref().and_then(|masteries| masteries.get(vtep)).cloned();
        running.retain(|vtep: &VtepName, adapter: &mut Running| {
            let mastery = present(vtep);
            let term = mastery.as_ref().map(|mastery| mastery.term);
            if adapter.term.is_some() && adapter.term != term {
                info!(%vtep, "a TOR is not ours to write to any longer");
                return false;
            }
            if adapter.term != term {
                adapter.term = term;
                adapter.mastery.send_replace(mastery);
            }
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
                let first = present(&vtep);
                let term = first.as_ref().map(|mastery| mastery.term);
                let (mastery, told) = watch::channel(first);
                let writes = if elected.is_some() { Writes::Elected(told) } else { Writes::Always };
                let adapter = Adapter::new(vtep, &remote, &settings, writes, core.clone());
                let task = tokio::spawn(adapter.run(stopped));
                Running { remote, term, mastery, task, _stop: stop }
            });
        }
        tokio::select! {
            changed = served.changed() => match changed {
                Ok(()) => wanted = tors(&served.borrow_and_update()),
                Err(_) => return,
            },
            () = changed(&mut elected) => {}
            () = tokio::time::sleep(REVIVE) => {}
        }
    }
}

async fn changed(elected: &mut Option<watch::Receiver<Masteries>>) {
    let told = match elected {
        Some(elected) => elected.changed().await,
        None => std::future::pending().await,
    };
    if told.is_err() {
        // Nobody is elected any more; who was is until its tenure ends.
        std::future::pending::<()>().await;
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
