//! What the mass-withdrawal guard of this process's own physical controller keeps, beside that of whoever rules the logical
//! switch.

use vtep_api::{ControllerName, LogicalSwitchName};

use super::desk::{Desk, stopping};
use super::view::DoneRow;
use super::{Errand, ErrorKind, Reply};
use crate::physical;

/// An error: it keeps nothing of that, and who rules there as far as it knows.
pub(super) async fn here(
    desk: &Desk,
    logical_switch: &LogicalSwitchName,
) -> Result<Reply, Option<ControllerName>> {
    let name = logical_switch.clone();
    let network = desk
        .look_physical(move |core| core.networks().into_iter().find(|known| known.logical_switch == name))
        .await
        .flatten();
    let (Some(core), Some(network)) = (desk.physical(), network) else { return Err(None) };
    if network.kept == 0 {
        return Err(Some(network.owner));
    }
    let done = format!("what {} itself kept in {logical_switch} is gone", desk.identity.name);
    let operation = physical::Operation::ReleaseWithdrawals { logical_switch: logical_switch.clone() };
    let sent = core.send(Errand::Event(physical::Event::Operate(operation))).await;
    Ok(sent.map_or_else(|_| stopping(), |()| Reply::rows([DoneRow { done }])))
}

/// For who asked a process that cannot ask others.
pub(super) fn refusal(
    desk: &Desk,
    logical_switch: &LogicalSwitchName,
    owner: Option<ControllerName>,
) -> Reply {
    let name = &desk.identity.name;
    let message = match owner {
        Some(owner) => format!(
            "{name} itself keeps nothing in {logical_switch}; what its logical controller keeps is released at {owner}"
        ),
        None => format!("{name} is a physical controller only, and knows no logical switch {logical_switch}"),
    };
    Reply::error(ErrorKind::NotFound, message)
}
