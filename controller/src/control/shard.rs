//! What the core of one logical controller is asked, or told to do.

use tokio::sync::{mpsc, oneshot};
use vtep_api::LogicalSwitchName;

use super::answer::{of_logical, refused};
use super::view::DoneRow;
use super::{Errand, ErrorKind, LogicalErrand, Order, Reply, Request};
use crate::Now;
use crate::declared::Pin;
use crate::logical::{Logical, OperateError, Operation};

pub(super) type Core = mpsc::Sender<LogicalErrand>;

/// `None`: the core is gone.
pub(super) async fn answer(core: &Core, request: &Request, now: Now) -> Option<Reply> {
    match request.clone() {
        Request::Alarms => look_at(core, Logical::alarms).await.map(Reply::stream),
        Request::Pin(pin) => {
            let pins = pins(core, pin.logical_switch.clone()).await?;
            let mut others = pins.iter().filter(|other| other.mac == pin.mac && other.vtep != pin.vtep);
            let too = others.next().map_or(String::new(), |other| {
                format!(", and at {} too: the lowest name has it until one is taken back", other.vtep)
            });
            let done = format!("{} in {} is pinned at {}{too}", pin.mac, pin.logical_switch, pin.vtep);
            operate(core, Operation::Pin(pin), done).await
        }
        Request::Unpin { logical_switch, mac } => {
            let pins = pins(core, logical_switch.clone()).await?;
            let Some(pin) = pins.into_iter().find(|pin| pin.mac == mac) else {
                let message = format!("{mac} in {logical_switch} is not pinned");
                return Some(Reply::error(ErrorKind::NotFound, message));
            };
            let done = format!("{mac} in {logical_switch} is not pinned at {} any more", pin.vtep);
            operate(core, Operation::Unpin(pin), done).await
        }
        Request::ClearDuplicate { logical_switch, mac } => {
            let done = format!("{mac} in {logical_switch} is followed again");
            operate(core, Operation::ClearDuplicate { logical_switch, mac }, done).await
        }
        Request::ReleaseStorm { vtep } => {
            let done = format!("what was set aside of {vtep} counts");
            operate(core, Operation::ReleaseStorm { vtep }, done).await
        }
        Request::ReleaseWithdrawals { logical_switch } => {
            let done = format!("what was kept in {logical_switch} is gone");
            operate(core, Operation::ReleaseWithdrawals { logical_switch }, done).await
        }
        query => {
            let reply = look_at(core, move |core: &Logical| of_logical(core, &query, now)).await?;
            Some(reply.unwrap_or_else(|| Reply::error(ErrorKind::Failed, "nobody here can tell")))
        }
    }
}

/// `None`: the core is gone.
pub(super) async fn look_at<C: 'static, E, T: Send + 'static>(
    core: &mpsc::Sender<Errand<C, E>>,
    look: impl FnOnce(&C) -> T + Send + 'static,
) -> Option<T> {
    let (found, seen) = oneshot::channel();
    let look = move |core: &C| {
        found.send(look(core)).ok();
    };
    core.send(Errand::Look(Box::new(look))).await.ok()?;
    seen.await.ok()
}

/// Of a logical switch, declared or made by hand.
async fn pins(core: &Core, logical_switch: LogicalSwitchName) -> Option<Vec<Pin>> {
    let pins = move |core: &Logical| {
        let all = core.pins_by_hand().iter().chain(&core.declared().pins);
        all.filter(|pin| pin.logical_switch == logical_switch).cloned().collect()
    };
    look_at(core, pins).await
}

async fn operate(core: &Core, operation: Operation, done: String) -> Option<Reply> {
    let (reply, answered) = oneshot::channel();
    core.send(Errand::Event(Order::Operate(operation, reply))).await.ok()?;
    let result: Result<(), OperateError> = answered.await.ok()?;
    Some(match result {
        Ok(()) => Reply::rows([DoneRow { done }]),
        Err(error) => refused(&error),
    })
}
