//! Answers out of a core, made in the task that owns it. They are turned into text elsewhere.

use vtep_api::LogicalSwitchName;

use super::view::{FdbRow, VtepDownRow};
use super::{ErrorKind, Reply, Request};
use crate::logical::OperateError;
use crate::{Logical, Now, Physical};

/// `None`: this core cannot tell.
pub(super) fn of_logical(core: &Logical, request: &Request, now: Now) -> Option<Reply> {
    let reply = match request {
        Request::Explain { logical_switch, mac } => match core.explain(logical_switch, *mac) {
            Ok(explanation) if explanation.claims.is_empty() => {
                Reply::error(ErrorKind::NotFound, format!("nobody claims {mac} in {logical_switch}"))
            }
            Ok(explanation) => Reply::stream([explanation]),
            Err(error) => refused(&error),
        },
        Request::History { logical_switch, mac } => match core.history(logical_switch, *mac) {
            Ok(entries) => Reply::stream(entries),
            Err(error) => refused(&error),
        },
        Request::Conflicts => Reply::stream(core.conflicts()),
        Request::Vteps => Reply::stream(core.vteps(now)),
        Request::LogicalSwitches => Reply::stream(core.networks()),
        Request::Fdb { logical_switch } => match fdb_of_logical(core, logical_switch.as_ref()) {
            Ok(rows) => Reply::stream(rows),
            Err(error) => refused(&error),
        },
        Request::WhatIfVtepDown { vtep } => match core.what_if_vtep_down(vtep) {
            Ok(effects) => {
                let row = |(logical_switch, effect)| VtepDownRow { logical_switch, effect };
                Reply::stream(effects.into_iter().map(row).collect::<Vec<_>>())
            }
            Err(error) => refused(&error),
        },
        Request::WhatIfPolicy { time } => Reply::stream(core.what_if_policy(*time)),
        Request::Sync => Reply::stream(core.sync()),
        _ => return None,
    };
    Some(reply)
}

/// `None`: this core cannot tell.
pub(super) fn of_physical(core: &Physical, request: &Request, now: Now) -> Option<Reply> {
    let reply = match request {
        Request::Vteps => Reply::stream(core.vteps()),
        Request::LogicalSwitches => Reply::stream(core.networks()),
        Request::Fdb { logical_switch } => match fdb_of_physical(core, logical_switch.as_ref()) {
            Some(rows) => Reply::stream(rows),
            None => Reply::error(ErrorKind::NotFound, "this physical controller has no such table"),
        },
        Request::Sync => Reply::stream(core.sync(now)),
        _ => return None,
    };
    Some(reply)
}

/// By logical switch and MAC.
pub fn fdb_of_logical(core: &Logical, only: Option<&LogicalSwitchName>) -> Result<Vec<FdbRow>, OperateError> {
    let names = match only {
        Some(name) => vec![name.clone()],
        None => core.networks().into_iter().map(|network| network.name).collect(),
    };
    let mut rows = Vec::new();
    for logical_switch in names {
        let table = core.table(&logical_switch)?;
        rows.extend(table.into_iter().map(|row| FdbRow {
            logical_switch: logical_switch.clone(),
            mac: row.mac,
            master: row.master,
            slaves: row.slaves,
            ips: row.ips,
        }));
    }
    Ok(rows)
}

/// By logical switch and MAC. `None`: there is no such table.
pub fn fdb_of_physical(core: &Physical, only: Option<&LogicalSwitchName>) -> Option<Vec<FdbRow>> {
    let names = match only {
        Some(name) => vec![name.clone()],
        None => core.networks().into_iter().map(|network| network.logical_switch).collect(),
    };
    let mut rows = Vec::new();
    for logical_switch in names {
        let Some(table) = core.table(&logical_switch) else {
            // Its table may not have come yet.
            only.is_none().then_some(())?;
            continue;
        };
        rows.extend(table.rows.into_iter().map(|(mac, row)| FdbRow {
            logical_switch: logical_switch.clone(),
            mac,
            master: row.placement.master.clone(),
            slaves: row.placement.slaves.clone(),
            ips: row.ips,
        }));
    }
    Some(rows)
}

pub(super) fn refused(error: &OperateError) -> Reply {
    let kind = match error {
        OperateError::PinDeclared { .. } | OperateError::Group { .. } => ErrorKind::Failed,
        _ => ErrorKind::NotFound,
    };
    Reply::error(kind, error.to_string())
}
