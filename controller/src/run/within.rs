//! The session of both controllers within one process: the messages that gRPC would carry, by bounded channels.

use std::time::Duration;

use tokio::sync::mpsc;
use vtep_api::{ControllerName, FromLogical, FromPhysical};

use super::channel::{Channel, OfLogical, OfPhysical};
use super::outbox::{Inbox, Next};
use super::{Gone, logical, physical};

/// Before a session that a core ended is begun again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Within {
    /// Of both.
    pub(super) name: ControllerName,
    pub(super) logical: mpsc::Sender<logical::Input>,
    pub(super) physical: mpsc::Sender<physical::Input>,
}

impl Within {
    /// Until one of them is gone.
    pub(super) async fn run(self) {
        while self.session().await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn session(&self) -> Result<(), Gone> {
        let (logical, from_logical) = Channel::open(self.name.clone(), self.logical.clone()).await?;
        let (physical, from_physical) = Channel::open(self.name.clone(), self.physical.clone()).await?;
        carry((&logical, from_logical), (&physical, from_physical)).await?;
        logical.leave().await?;
        physical.leave().await
    }
}

/// Until a core ends the session.
async fn carry(
    (logical, mut from_logical): (&Channel<OfPhysical>, Inbox<FromLogical>),
    (physical, mut from_physical): (&Channel<OfLogical>, Inbox<FromPhysical>),
) -> Result<(), Gone> {
    loop {
        tokio::select! {
            next = from_logical.next() => {
                let Next::Message(message) = next else { return Ok(()) };
                physical.hand_on(message).await?;
                logical.taken().await?;
            }
            next = from_physical.next() => {
                let Next::Message(message) = next else { return Ok(()) };
                logical.hand_on(message).await?;
                physical.taken().await?;
            }
        }
    }
}
