//! Which VTEPs this process serves by election, for the physical controller's core and for the adapters of TORs.

use tokio::sync::{mpsc, watch};

use super::physical::Input;
use crate::cluster::{Office, Standing};
use crate::physical::Reigns;
use crate::tor::{Masteries, Mastery};

/// Until the cluster is left.
pub(super) async fn follow(
    mut standings: watch::Receiver<Standing>,
    elect: watch::Sender<Masteries>,
    core: mpsc::Sender<Input>,
) {
    let mut told = Reigns::default();
    loop {
        let (masteries, reigns) = read(&standings.borrow_and_update());
        if reigns != told {
            // Who may write is known before anything is to be written.
            elect.send_replace(masteries);
            told.clone_from(&reigns);
            if core.send(Input::Reigns(reigns)).await.is_err() {
                return;
            }
        }
        if standings.changed().await.is_err() {
            return;
        }
    }
}

fn read(standing: &Standing) -> (Masteries, Reigns) {
    let (mut masteries, mut reigns) = (Masteries::new(), Reigns::default());
    for (office, reign) in &standing.reigns {
        let Office::Vtep(vtep) = office else { continue };
        let (term, tenure) = (reign.term, reign.tenure.clone());
        masteries.insert(vtep.clone(), Mastery { term, tenure });
        reigns.own.insert(vtep.clone(), term);
    }
    for (office, holder) in &standing.view.offices {
        let Office::Vtep(vtep) = office else { continue };
        if !reigns.own.contains_key(vtep) {
            let term = standing.view.term(holder.created);
            reigns.others.insert(vtep.clone(), (holder.name.clone(), term));
        }
    }
    (masteries, reigns)
}
