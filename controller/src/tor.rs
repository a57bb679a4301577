//! TORs as VTEPs: for each one that is to be served an adapter, with OVSDB `hardware_vtep` on one side and the messages
//! of a VTEP's session on the other. The physical controller does not know which of its VTEPs are TORs.

mod adapter;
mod placed;
mod present;
mod told;

use std::collections::BTreeMap;

use ovsdb::Remote;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};
use vtep_api::{Served, VtepName};

use self::adapter::Adapter;
use crate::run::physical;

pub(crate) use self::adapter::Settings;

type Everyone = BTreeMap<VtepName, Served>;

/// An adapter that runs until this is dropped.
struct Running {
    remote: Remote,
    _stop: oneshot::Sender<()>,
}

/// Keeps one adapter for each TOR that is to be served, until nobody says any more who that is.
pub(crate) async fn serve(
    settings: Settings,
    mut served: watch::Receiver<Everyone>,
    core: mpsc::Sender<physical::Input>,
) {
    let mut running = BTreeMap::new();
    loop {
        let tors = tors(&served.borrow_and_update());
        running.retain(|vtep: &VtepName, adapter: &mut Running| {
            let stays = tors.get(vtep) == Some(&adapter.remote);
            if !stays {
                info!(%vtep, remote = %adapter.remote, "a TOR is not served any longer");
            }
            stays
        });
        for (vtep, remote) in tors {
            running.entry(vtep.clone()).or_insert_with(|| {
                info!(%vtep, %remote, "a TOR is served");
                let (stop, stopped) = oneshot::channel();
                let adapter = Adapter::new(vtep, &remote, &settings, core.clone());
                tokio::spawn(adapter.run(stopped));
                Running { remote, _stop: stop }
            });
        }
        if served.changed().await.is_err() {
            return;
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
