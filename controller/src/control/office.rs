//! What is asked of the cluster: who is there, who has what, and the operator's word on that.

use vtep_api::Term;
use vtep_api::daemon::chain;

use super::view::{DoneRow, MemberRow, OfficeRow};
use super::{ErrorKind, Reply, Request};
use crate::cluster::{Cluster, Office, Raised, View, desired, shard_of};

pub(super) async fn answer(cluster: &Cluster, request: Request) -> Reply {
    if let Request::RaiseTerm { above } = request {
        return raise(cluster, above).await;
    }
    let standing = cluster.standing().borrow().clone();
    let view = &standing.view;
    if let (None, Some(reason)) = (standing.member, &standing.away) {
        // What was so last would be taken for what is so.
        let message = format!("who has what is not known, for the cluster is not reached: {reason}");
        return Reply::error(ErrorKind::Failed, message);
    }
    match request {
        Request::Members => {
            let has = |name: &vtep_api::ControllerName, kind: fn(&Office) -> bool| {
                view.offices.iter().filter(|(office, holder)| kind(office) && holder.name == *name).count()
            };
            let row = |(name, member): (&vtep_api::ControllerName, &crate::cluster::MemberEntry)| MemberRow {
                name: name.clone(),
                role: member.role,
                address: member.address.clone(),
                version: member.version.clone(),
                term: view.term(member.created),
                settled: member.settled,
                shards: has(name, |office| matches!(office, Office::Shard(_))),
                vteps: has(name, |office| matches!(office, Office::Vtep(_))),
            };
            Reply::rows(view.members.iter().map(row).collect::<Vec<_>>())
        }
        Request::Offices { vteps } => {
            let declared = standing.declared.as_ref().map(|declared| &declared.applied.declared);
            let row = |office: Office| {
                let switches = declared.iter().flat_map(|declared| declared.logical_switches.keys());
                let own = switches.filter(|name| office == Office::Shard(shard_of(name, view.shards())));
                let holder = view.offices.get(&office);
                OfficeRow {
                    logical_switches: own.cloned().collect(),
                    holder: holder.map(|holder| holder.name.clone()),
                    term: holder.map(|holder| view.term(holder.created)),
                    assigned: desired(view, &office).cloned(),
                    moved: view.moves.get(&office).map(|moved| moved.to.clone()),
                    office,
                }
            };
            let asked = view.all_offices().filter(|office| matches!(office, Office::Vtep(_)) == vteps);
            Reply::rows(asked.map(row).collect::<Vec<_>>())
        }
        Request::Move { office, to } => moved(cluster, view, office, to).await,
        _ => Reply::error(ErrorKind::Failed, "the cluster cannot tell"),
    }
}

async fn raise(cluster: &Cluster, above: Term) -> Reply {
    let done = match cluster.raise_terms(above).await {
        Ok(Raised::To(lowest)) => format!("terms are raised: the lowest that anybody has is {}", lowest.0),
        Ok(Raised::Already(lowest)) => {
            format!("nothing is changed: the lowest term that anybody has is {}", lowest.0)
        }
        Err(error) => {
            let message = format!("whether terms are above {}, `shards` tells: {}", above.0, chain(&error));
            return Reply::error(ErrorKind::Failed, message);
        }
    };
    Reply::rows([DoneRow { done }])
}

async fn moved(
    cluster: &Cluster,
    view: &View,
    office: Office,
    to: Option<vtep_api::ControllerName>,
) -> Reply {
    if view.all_offices().all(|known| known != office) {
        let expected = match office {
            Office::Shard(_) => format!("0 to {}", view.shards().saturating_sub(1)),
            Office::Vtep(_) => "one of the declared file, as `shards --vteps` lists them".to_owned(),
        };
        return Reply::error(ErrorKind::NotFound, format!("there is no {office}; expected {expected}"));
    }
    if let Some(problem) = to.as_ref().and_then(|to| unable(view, &office, to)) {
        return Reply::error(ErrorKind::NotFound, problem);
    }
    let refusal = match cluster.move_office(&office, to.as_ref(), view).await {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{office} is not moved: somebody else moved it at the same time; look at `shards` and move it again"
        )),
        Err(error) if error.leaves_open() => {
            Some(format!("whether {office} was moved is not known, `shards` tells: {}", chain(&error)))
        }
        Err(error) => Some(format!("{office} is not moved: {}", chain(&error))),
    };
    if let Some(message) = refusal {
        return Reply::error(ErrorKind::Failed, message);
    }
    let done = match to {
        Some(to) => format!("{office} goes to {to}, for as long as it is there"),
        None => format!("{office} goes where the assignment says"),
    };
    Reply::rows([DoneRow { done }])
}

/// Why somebody cannot have an office.
fn unable(view: &View, office: &Office, to: &vtep_api::ControllerName) -> Option<String> {
    let needed = match office {
        Office::Shard(_) => "logical",
        Office::Vtep(_) => "physical",
    };
    match view.members.get(to) {
        Some(member) if office.is_for(member.role) => None,
        Some(member) => Some(format!(
            "the role of {to} is {}; expected for {office}: {needed} or both",
            member.role.as_str()
        )),
        None => Some(format!("{to} is no member; expected one that `members` lists")),
    }
}
