//! What a session is to the core that it belongs to: opened, messages in, messages taken, left.

use std::fmt::Display;

use tokio::sync::mpsc;
use vtep_api::{ControllerName, FromLogical, FromPhysical, FromVtep, ToVtep, VtepName};

use super::outbox::{Inbox, Outbox, outbox};
use super::sessions::new_session;
use super::{Gone, logical, physical};
use crate::physical::SessionId;

/// A kind of session, by whom the core speaks with.
pub(crate) trait Kind: 'static {
    /// As the log calls the peer.
    const PEER: &'static str;
    type Name: Clone + Display + Send + Sync;
    type In: Send + 'static;
    type Out: Send + 'static;
    type Input: Send;

    /// Whom a first message names, if it is a hello.
    fn hello(message: &Self::In) -> Option<Self::Name>;
    fn heartbeat(wall_ms: i64) -> Self::Out;

    fn opened(name: Self::Name, session: SessionId, outbox: Outbox<Self::Out>) -> Self::Input;
    fn message(name: Self::Name, session: SessionId, message: Self::In) -> Self::Input;
    fn taken(name: Self::Name, session: SessionId) -> Self::Input;
    fn left(name: Self::Name, session: SessionId) -> Self::Input;
}

/// One session, to its core.
#[derive(Debug)]
pub(crate) struct Channel<K: Kind> {
    name: K::Name,
    session: SessionId,
    core: mpsc::Sender<K::Input>,
}

impl<K: Kind> Channel<K> {
    pub(crate) async fn open(
        name: K::Name,
        core: mpsc::Sender<K::Input>,
    ) -> Result<(Self, Inbox<K::Out>), Gone> {
        let (outbox, inbox) = outbox();
        let session = new_session();
        core.send(K::opened(name.clone(), session, outbox)).await?;
        Ok((Self { name, session, core }, inbox))
    }

    pub(crate) async fn hand_on(&self, message: K::In) -> Result<(), Gone> {
        Ok(self.core.send(K::message(self.name.clone(), self.session, message)).await?)
    }

    /// One message more went on its way.
    pub(crate) async fn taken(&self) -> Result<(), Gone> {
        Ok(self.core.send(K::taken(self.name.clone(), self.session)).await?)
    }

    pub(crate) async fn leave(self) -> Result<(), Gone> {
        Ok(self.core.send(K::left(self.name, self.session)).await?)
    }
}

/// The physical controller's, with a VTEP.
#[derive(Debug)]
pub(crate) struct OfVtep;

/// The physical controller's, with a logical one.
#[derive(Debug)]
pub(crate) struct OfLogical;

/// The logical controller's, with a physical one.
#[derive(Debug)]
pub(crate) struct OfPhysical;

impl Kind for OfVtep {
    const PEER: &'static str = "VTEP";
    type Name = VtepName;
    type In = FromVtep;
    type Out = ToVtep;
    type Input = physical::Input;

    fn hello(message: &FromVtep) -> Option<VtepName> {
        match message {
            FromVtep::Hello { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    fn heartbeat(wall_ms: i64) -> ToVtep {
        ToVtep::Heartbeat { wall_ms }
    }

    fn opened(vtep: VtepName, session: SessionId, outbox: Outbox<ToVtep>) -> physical::Input {
        physical::Input::Attached { vtep, session, outbox }
    }

    fn message(vtep: VtepName, session: SessionId, message: FromVtep) -> physical::Input {
        physical::Input::FromVtep { vtep, session, message }
    }

    fn taken(vtep: VtepName, session: SessionId) -> physical::Input {
        physical::Input::VtepTaken { vtep, session, messages: 1 }
    }

    fn left(vtep: VtepName, session: SessionId) -> physical::Input {
        physical::Input::VtepLeft { vtep, session }
    }
}

impl Kind for OfLogical {
    const PEER: &'static str = "logical controller";
    type Name = ControllerName;
    type In = FromLogical;
    type Out = FromPhysical;
    type Input = physical::Input;

    fn hello(message: &FromLogical) -> Option<ControllerName> {
        match message {
            FromLogical::Welcome { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    fn heartbeat(wall_ms: i64) -> FromPhysical {
        FromPhysical::Heartbeat { wall_ms }
    }

    fn opened(peer: ControllerName, session: SessionId, outbox: Outbox<FromPhysical>) -> physical::Input {
        physical::Input::Joined { peer, session, outbox }
    }

    fn message(peer: ControllerName, session: SessionId, message: FromLogical) -> physical::Input {
        physical::Input::Message { peer, session, message }
    }

    fn taken(peer: ControllerName, session: SessionId) -> physical::Input {
        physical::Input::Taken { peer, session, messages: 1 }
    }

    fn left(peer: ControllerName, session: SessionId) -> physical::Input {
        physical::Input::Left { peer, session }
    }
}

impl Kind for OfPhysical {
    const PEER: &'static str = "physical controller";
    type Name = ControllerName;
    type In = FromPhysical;
    type Out = FromLogical;
    type Input = logical::Input;

    fn hello(message: &FromPhysical) -> Option<ControllerName> {
        match message {
            FromPhysical::Hello { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    fn heartbeat(wall_ms: i64) -> FromLogical {
        FromLogical::Heartbeat { wall_ms }
    }

    fn opened(peer: ControllerName, session: SessionId, outbox: Outbox<FromLogical>) -> logical::Input {
        logical::Input::Joined { peer, session, outbox }
    }

    fn message(peer: ControllerName, session: SessionId, message: FromPhysical) -> logical::Input {
        logical::Input::Message { peer, session, message: Box::new(message) }
    }

    fn taken(peer: ControllerName, session: SessionId) -> logical::Input {
        logical::Input::Taken { peer, session, messages: 1 }
    }

    fn left(peer: ControllerName, session: SessionId) -> logical::Input {
        logical::Input::Left { peer, session }
    }
}
