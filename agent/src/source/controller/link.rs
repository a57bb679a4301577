//! One connection with a controller, from its begin to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tonic::Streaming;
use tonic::metadata::MetadataMap;
use tracing::info;
use vtep_api::grpc::{self, CONTROLLER, Protection};
use vtep_api::{ControllerName, FromVtep, ToVtep};

use super::conversation::LinkId;
use super::links::Event;
use crate::config::ControllerSource;

const HEARTBEAT: Duration = Duration::from_secs(1);
/// A controller that sends heartbeats and then nothing for so long is gone. It says one every second.
const SILENCE: Duration = Duration::from_secs(5);
/// An answer to a request to attach.
const ATTACH: Duration = Duration::from_secs(5);
/// Messages that may wait in the transport.
const OUTBOUND_MAX: usize = 16;

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) settings: Arc<ControllerSource>,
    /// Of the settings' addresses.
    pub(super) address: usize,
    /// With whom there is a session already: another address may be his, too.
    pub(super) other: Option<ControllerName>,
    pub(super) events: mpsc::Sender<(LinkId, Event)>,
}

impl Link {
    pub(super) async fn run(self, batches: mpsc::Receiver<Vec<FromVtep>>) {
        let reason = match self.session(batches).await {
            Ok(reason) => reason,
            Err(error) => format!("{error:#}"),
        };
        self.events.send((self.id, Event::Down { reason })).await.ok();
    }

    /// Returns why it ended.
    async fn session(&self, mut batches: mpsc::Receiver<Vec<FromVtep>>) -> Result<String> {
        let address = self.settings.addresses[self.address].as_str();
        let protection = self.settings.protection(address)?;
        let encrypted = protection == Protection::Tls;
        let endpoint = grpc::endpoint(address, self.settings.tls.as_ref().filter(|_| encrypted))?;
        let channel = endpoint.connect().await.context("no connection")?;
        let (outbound, mut wire) = mpsc::channel(OUTBOUND_MAX);
        let outgoing = stream::poll_fn(move |context| wire.poll_recv(context));
        let mut client = grpc::vtep_client(channel);
        let attach = timeout(ATTACH, client.attach(outgoing));
        let attached = if self.other.is_some() {
            // A session of the same name would end the one that there is: who answers has to be known before.
            let attached = attach.await;
            if let Ok(Ok(answer)) = &attached {
                self.must_be_another(answer.metadata())?;
            }
            self.tell(Event::Up).await;
            attached
        } else {
            self.tell(Event::Up).await;
            // A server may wait for the first message before it answers.
            let Some(batch) = batches.recv().await else { bail!("it is not wanted any more") };
            for message in batch {
                outbound.try_send(message).map_err(|_| anyhow!("the session ended at once"))?;
            }
            self.tell(Event::Idle).await;
            attach.await
        };
        let inbound = attached
            .with_context(|| format!("no answer within {} s", ATTACH.as_secs()))?
            .map_err(|status| anyhow!("{}", status.message().to_owned()))?
            .into_inner();
        info!(address, "connected to a controller");
        Ok(tokio::select! {
            reason = self.hear(inbound) => reason,
            reason = say(self.id, &self.events, batches, outbound) => reason,
        })
    }

    async fn tell(&self, event: Event) {
        // Without the source there is nobody who wants to know, and this ends with it.
        self.events.send((self.id, event)).await.ok();
    }

    fn must_be_another(&self, answer: &MetadataMap) -> Result<()> {
        let name = answer.get_bin(CONTROLLER).and_then(|name| name.to_bytes().ok());
        let Some(other) = &self.other else { return Ok(()) };
        if name.is_some_and(|name| name.as_ref() == other.as_str().as_bytes()) {
            bail!("it is {other}, with whom there is a session already");
        }
        Ok(())
    }

    async fn hear(&self, mut inbound: Streaming<ToVtep>) -> String {
        let mut deadline = None;
        loop {
            let silence = deadline.unwrap_or_else(Instant::now);
            let message = tokio::select! {
                message = inbound.message() => message,
                () = tokio::time::sleep_until(silence), if deadline.is_some() => {
                    return format!("the controller was silent for {} s", SILENCE.as_secs());
                }
            };
            match message {
                Ok(Some(message)) => {
                    let beats = matches!(message, ToVtep::Heartbeat { .. }) || deadline.is_some();
                    self.tell(Event::Message(message)).await;
                    if beats {
                        deadline = Some(Instant::now() + SILENCE);
                    }
                }
                Ok(None) => return "the controller ended the session".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    }
}

/// What the source gives it, and heartbeats when that is nothing.
async fn say(
    id: LinkId,
    events: &mpsc::Sender<(LinkId, Event)>,
    mut batches: mpsc::Receiver<Vec<FromVtep>>,
    outbound: mpsc::Sender<FromVtep>,
) -> String {
    const CLOSED: &str = "the controller closed the session";
    let mut beat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            batch = batches.recv() => batch,
            _ = beat.tick() => {
                // Where there is no room, there is something to read.
                outbound.try_send(FromVtep::Heartbeat { wall_ms: wall_ms() }).ok();
                continue;
            }
        };
        let Some(batch) = batch else { return "it is not wanted any more".to_owned() };
        for message in batch {
            if outbound.send(message).await.is_err() {
                return CLOSED.to_owned();
            }
        }
        if events.send((id, Event::Idle)).await.is_err() {
            return CLOSED.to_owned();
        }
    }
}

fn wall_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
