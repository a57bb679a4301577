//! What a core has said to one receiver and what was not handed on yet. A core never waits for a receiver: it keeps its
//! own count of what is not taken, so an outbox that is full belongs to a session that has gone wrong, which then ends.

use tokio::sync::{mpsc, oneshot};

/// Above both cores' windows, for what they send beside them.
const MESSAGES_MAX: usize = 32;

/// The core's end.
#[derive(Debug)]
pub(crate) struct Outbox<M> {
    messages: mpsc::Sender<M>,
    end: oneshot::Sender<String>,
}

/// The transport's end.
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    messages: mpsc::Receiver<M>,
    end: oneshot::Receiver<String>,
}

/// The receiver has not taken what it was sent, or is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<M> {
    Message(M),
    /// The core ended the session, with its reason if it had one.
    End(Option<String>),
}

pub(crate) fn outbox<M>() -> (Outbox<M>, Inbox<M>) {
    let (messages, queued) = mpsc::channel(MESSAGES_MAX);
    let (end, ended) = oneshot::channel();
    (Outbox { messages, end }, Inbox { messages: queued, end: ended })
}

impl<M> Outbox<M> {
    pub(crate) fn send(&self, message: M) -> Result<(), Overrun> {
        self.messages.try_send(message).map_err(|_| Overrun)
    }

    /// Before what was sent and not yet taken.
    pub(crate) fn end(self, reason: String) {
        // The transport may have ended by itself.
        let _ = self.end.send(reason);
    }
}

impl<M> Inbox<M> {
    /// May be dropped while pending without loss. Not to be called again after an end.
    pub(crate) async fn next(&mut self) -> Next<M> {
        tokio::select! {
            biased;
            ended = &mut self.end => Next::End(ended.ok()),
            message = self.messages.recv() => message.map_or(Next::End(None), Next::Message),
        }
    }

    /// The core ends the session, by the same rules.
    pub(crate) async fn ended(&mut self) -> Option<String> {
        (&mut self.end).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_overtakes_what_waits_and_names_its_reason() {
        let (outbox, mut inbox) = outbox();
        outbox.send(1).unwrap();
        assert_eq!(inbox.next().await, Next::Message(1));
        outbox.send(2).unwrap();
        outbox.end("it lied".to_owned());
        assert_eq!(inbox.next().await, Next::End(Some("it lied".to_owned())));
    }

    #[tokio::test]
    async fn a_full_outbox_is_told_and_loses_nothing() {
        let (outbox, mut inbox) = outbox();
        for message in 0..MESSAGES_MAX {
            assert_eq!(outbox.send(message), Ok(()));
        }
        assert_eq!(outbox.send(MESSAGES_MAX), Err(Overrun));
        for message in 0..MESSAGES_MAX {
            assert_eq!(inbox.next().await, Next::Message(message));
        }
    }

    #[tokio::test]
    async fn a_core_that_is_gone_ends_the_session_without_a_reason() {
        let (outbox, mut inbox) = outbox::<u8>();
        drop(outbox);
        assert_eq!(inbox.next().await, Next::End(None));
    }
}
