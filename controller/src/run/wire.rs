//! One session over gRPC, either side of it: what comes in goes to the core, what the core says goes out. A message
//! counts as taken when the transport has asked for the one before it, so a receiver that reads slowly is known by it.
//! Both directions run at once; neither waits for the other.

mod end;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

pub(super) use self::end::End;

use super::channel::{Channel, Kind};
use super::clock::wall_ms;
use super::outbox::{Inbox, Next};

/// Said when there is nothing else to say.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A peer that says nothing for so long is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Messages that wait for the transport beside the one that it sends.
const HANDED_ON_MAX: usize = 1;

/// The server's side of a stream carries results, the client's messages.
pub(super) trait Carried<M>: Send {
    fn carried(message: M) -> Self;
}

impl<M: Send> Carried<M> for Result<M, Status> {
    fn carried(message: M) -> Self {
        Ok(message)
    }
}

impl<M: Send> Carried<M> for M {
    fn carried(message: M) -> Self {
        message
    }
}

pub(super) fn handed_on<T>() -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(HANDED_ON_MAX)
}

/// Until the session is over.
pub(super) async fn carry<K: Kind, T: Carried<K::Out>>(
    channel: &Channel<K>,
    stream: &mut Streaming<K::In>,
    inbox: &mut Inbox<K::Out>,
    wire: &mpsc::Sender<T>,
) -> End {
    tokio::select! {
        end = read(channel, stream) => end,
        end = write(channel, inbox, wire) => end,
    }
}

/// The next message, or why there is none.
pub(super) async fn next<M>(stream: &mut Streaming<M>) -> Result<M, End> {
    match timeout(SILENCE_MAX, stream.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(End::Closed),
        Ok(Err(status)) => Err(End::Failed(status)),
        Err(_) => Err(End::Silent),
    }
}

async fn read<K: Kind>(channel: &Channel<K>, stream: &mut Streaming<K::In>) -> End {
    loop {
        let handed_on = match next(stream).await {
            Ok(message) => channel.hand_on(message).await,
            Err(end) => return end,
        };
        if let Err(gone) = handed_on {
            return gone.into();
        }
    }
}

/// What the core says, and a heartbeat when it says nothing.
async fn write<K: Kind, T: Carried<K::Out>>(
    channel: &Channel<K>,
    inbox: &mut Inbox<K::Out>,
    wire: &mpsc::Sender<T>,
) -> End {
    let mut due = Instant::now() + HEARTBEAT;
    loop {
        let next = tokio::select! {
            next = inbox.next() => Some(next),
            () = tokio::time::sleep_until(due) => None,
        };
        due = Instant::now() + HEARTBEAT;
        match next {
            Some(Next::Message(message)) => {
                // A peer that does not read cannot keep the core from ending the session.
                let sent = tokio::select! {
                    reason = inbox.ended() => return End::Ended(reason),
                    sent = wire.send(T::carried(message)) => sent,
                };
                if sent.is_err() {
                    return End::Closed;
                }
                if let Err(gone) = channel.taken().await {
                    return gone.into();
                }
            }
            Some(Next::End(reason)) => return End::Ended(reason),
            // Where there is no room, there is something to read.
            None => drop(wire.try_send(T::carried(K::heartbeat(wall_ms())))),
        }
    }
}
