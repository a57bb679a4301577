//! A failing case, made as small as it can be while it still fails.

use anyhow::Result;

use super::{Case, Rig};

pub(super) fn smallest(rig: &mut Rig, case: Case) -> Result<Case> {
    let mut best = case;
    // A run that repeats nothing shows the case as it was found.
    if !fails(rig, &best)? {
        return Ok(best);
    }
    best = shorter(rig, best)?;
    best = with_fewer_rows(rig, best)?;
    zeroed(rig, best)
}

fn fails(rig: &mut Rig, case: &Case) -> Result<bool> {
    Ok(super::mutate::is_judged(&case.stimulus) && case.difference(rig)?.is_some())
}

fn shorter(rig: &mut Rig, mut best: Case) -> Result<Case> {
    let mut step = best.stimulus.frame.len() / 2;
    while step > 0 {
        let mut next = best.clone();
        next.stimulus.frame.truncate(best.stimulus.frame.len().saturating_sub(step));
        if fails(rig, &next)? {
            best = next;
        } else {
            step /= 2;
        }
    }
    Ok(best)
}

fn zeroed(rig: &mut Rig, mut best: Case) -> Result<Case> {
    for at in 0..best.stimulus.frame.len() {
        if best.stimulus.frame[at] == 0 {
            continue;
        }
        let mut next = best.clone();
        next.stimulus.frame[at] = 0;
        if fails(rig, &next)? {
            best = next;
        }
    }
    Ok(best)
}

fn with_fewer_rows(rig: &mut Rig, mut best: Case) -> Result<Case> {
    macro_rules! thin {
        ($table:ident) => {
            for key in best.tables.$table.keys().copied().collect::<Vec<_>>() {
                let mut next = best.clone();
                next.tables.$table.remove(&key);
                if fails(rig, &next)? {
                    best = next;
                }
            }
        };
    }
    for address in best.tables.allowed.clone() {
        let mut next = best.clone();
        next.tables.allowed.remove(&address);
        if fails(rig, &next)? {
            best = next;
        }
    }
    thin!(neighbours);
    thin!(interfaces);
    thin!(fdb);
    thin!(senders);
    thin!(bindings);
    thin!(vteps);
    thin!(networks);
    thin!(local_ports);
    for vni in best.tables.networks.keys().copied().collect::<Vec<_>>() {
        let mut next = best.clone();
        if let Some(network) = next.tables.networks.get_mut(&vni) {
            network.flood.clear();
        }
        if fails(rig, &next)? {
            best = next;
        }
    }
    Ok(best)
}
