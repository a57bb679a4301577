//! What is asked of the cluster: who is there, who has what, and the operator's word on that.

use vtep_api::daemon::chain;

use super::view::{DoneRow, MemberRow, ShardRow};
use super::{ErrorKind, Reply, Request};
use crate::cluster::{Cluster, Office, View, desired, shard_of};

pub(super) async fn answer(cluster: &Cluster, request: Request) -> Reply {
    let standing = cluster.standing().borrow().clone();
    let view = &standing.view;
    match request {
        Request::Members => {
            let row = |(name, member): (&vtep_api::ControllerName, &crate::cluster::MemberEntry)| MemberRow {
                name: name.clone(),
                role: member.role,
                address: member.address.clone(),
                version: member.version.clone(),
                term: view.term(member.created),
                shards: view.offices.values().filter(|holder| holder.name == *name).count(),
            };
            Reply::rows(view.members.iter().map(row).collect::<Vec<_>>())
        }
        Request::Shards => {
            let declared = standing.declared.as_ref().map(|declared| &declared.applied.declared);
            let row = |office: Office| {
                let switches = declared.iter().flat_map(|declared| declared.logical_switches.keys());
                let own = switches.filter(|name| shard_of(name, view.shards()) == office);
                let Office::Shard(shard) = office;
                let holder = view.offices.get(&office);
                ShardRow {
                    shard,
                    holder: holder.map(|holder| holder.name.clone()),
                    term: holder.map(|holder| view.term(holder.created)),
                    assigned: desired(view, &office).cloned(),
                    moved: view.moves.get(&office).cloned(),
                    logical_switches: own.cloned().collect(),
                }
            };
            Reply::rows(view.all_offices().map(row).collect::<Vec<_>>())
        }
        Request::Move { shard, to } => moved(cluster, view, shard, to).await,
        _ => Reply::error(ErrorKind::Failed, "the cluster cannot tell"),
    }
}

async fn moved(cluster: &Cluster, view: &View, shard: u16, to: Option<vtep_api::ControllerName>) -> Reply {
    if shard >= view.shards() {
        let message = format!("there is no shard {shard}; expected 0 to {}", view.shards().saturating_sub(1));
        return Reply::error(ErrorKind::NotFound, message);
    }
    if let Some(to) = &to {
        let able = |member: &crate::cluster::MemberEntry| member.role.is_logical();
        if !view.members.get(to).is_some_and(able) {
            let message = format!("{to} is no member that can have it; `members` lists them");
            return Reply::error(ErrorKind::NotFound, message);
        }
    }
    let office = Office::Shard(shard);
    if let Err(error) = cluster.move_office(&office, to.as_ref()).await {
        return Reply::error(ErrorKind::Failed, chain(&error));
    }
    let done = match to {
        Some(to) => format!("{office} goes to {to}, for as long as it is there"),
        None => format!("{office} goes where the assignment says"),
    };
    Reply::rows([DoneRow { done }])
}
