//! A physical controller's sessions with logical controllers of other processes. Each begins anew, with jitter, for as
//! long as the configuration names it.

use std::time::Duration;

use anyhow::Result as Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Response, Status, Streaming};
use tracing::{info, warn};
use vtep_api::grpc::{Protection, controller_client, endpoint, require_tls};
use vtep_api::{ControllerName, FromLogical, FromPhysical};

use super::channel::{Channel, Kind, OfLogical};
use super::wire::{self, End};
use super::{Gone, physical, serve};
use crate::config::{Config, LogicalPeer};

/// Full jitter below a ceiling that doubles.
const CEILING_MIN: Duration = Duration::from_millis(250);
const CEILING_MAX: Duration = Duration::from_secs(8);
/// After a session that lasted so long the ceiling is low again.
const OF_USE: Duration = Duration::from_secs(10);

/// A session with each logical controller that the configuration names.
pub(super) struct Joins {
    core: Option<mpsc::Sender<physical::Input>>,
    /// They end with this.
    running: Vec<(LogicalPeer, oneshot::Sender<()>)>,
}

impl Joins {
    /// Without a physical controller there is nobody to join.
    pub(super) fn start(config: &Config, core: Option<&mpsc::Sender<physical::Input>>) -> Outcome<Self> {
        let mut joins = Self { core: core.cloned(), running: Vec::new() };
        joins.follow(config)?;
        Ok(joins)
    }

    /// Those that are no longer named end, and new ones begin. Where one cannot be, nothing changes.
    pub(super) fn follow(&mut self, config: &Config) -> Outcome<()> {
        let Some(core) = &self.core else { return Ok(()) };
        let is_new = |peer: &&LogicalPeer| !self.running.iter().any(|(running, _)| running == *peer);
        let new = config.logical.iter().filter(is_new);
        let new: Vec<_> = new.map(|peer| Join::new(peer, config, core)).collect::<Outcome<_>>()?;
        self.running.retain(|(peer, _)| config.logical.contains(peer));
        for (peer, join) in new {
            let (stop, stopped) = oneshot::channel();
            tokio::spawn(join.run(stopped));
            self.running.push((peer, stop));
        }
        Ok(())
    }
}

struct Join {
    address: String,
    /// Who must answer there.
    name: Option<ControllerName>,
    endpoint: Endpoint,
    core: mpsc::Sender<physical::Input>,
}

impl Join {
    fn new(
        peer: &LogicalPeer,
        config: &Config,
        core: &mpsc::Sender<physical::Input>,
    ) -> Outcome<(LogicalPeer, Self)> {
        let (tls, address) = (config.tls.as_ref(), &peer.address);
        if require_tls(address.host(), tls.is_some(), config.controller.allow_plaintext)?
            == Protection::Nothing
        {
            warn!(%address, "a logical controller is joined without TLS: anybody may be it");
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = endpoint(&format!("{scheme}://{address}"), tls)?;
        let (address, name) = (address.to_string(), peer.name.clone());
        Ok((peer.clone(), Self { address, name, endpoint, core: core.clone() }))
    }

    /// Until the core is gone, or the other end of `stop`.
    async fn run(self, mut stop: oneshot::Receiver<()>) {
        let mut failures: u32 = 0;
        let mut logged = None;
        loop {
            let start = Instant::now();
            let reached = tokio::select! {
                reached = self.reach() => reached,
                _ = &mut stop => return,
            };
            let end = match reached {
                Ok(reached) => {
                    logged = None;
                    match self.session(reached, &mut stop).await {
                        Ok(End::Gone) | Err(Gone) => return,
                        Ok(end) => end,
                    }
                }
                Err(end) => end,
            };
            failures = if start.elapsed() >= OF_USE { 0 } else { failures.saturating_add(1) };
            // One line for each reason, however often it comes.
            let reason = end.to_string();
            if logged.as_ref() != Some(&reason) {
                end.log(OfLogical::PEER, &self.address);
                logged = Some(reason);
            }
            tokio::select! {
                () = tokio::time::sleep(delay(failures)) => {}
                _ = &mut stop => return,
            }
        }
    }

    async fn reach(&self) -> Result<Reached, End> {
        let connection = self.endpoint.connect().await.map_err(|error| {
            let reason = vtep_api::daemon::chain(&error);
            End::Failed(Status::unavailable(reason))
        })?;
        let (wire, messages) = wire::handed_on();
        let mut client = controller_client(connection);
        let answer = timeout(wire::SILENCE_MAX, client.join(ReceiverStream::new(messages))).await;
        let answer: Response<_> = answer.map_err(|_| End::Silent)?.map_err(End::Failed)?;
        let name = self.name(answer.metadata())?;
        Ok(Reached { name, stream: answer.into_inner(), wire })
    }

    async fn session(&self, reached: Reached, stop: &mut oneshot::Receiver<()>) -> Result<End, Gone> {
        let Reached { name, mut stream, wire } = reached;
        info!(%name, address = self.address, "joined a logical controller");
        let (channel, mut inbox) = Channel::<OfLogical>::open(name, self.core.clone()).await?;
        let end = tokio::select! {
            end = wire::carry(&channel, &mut stream, &mut inbox, &wire) => end,
            _ = stop => End::Gone,
        };
        channel.leave().await?;
        Ok(end)
    }

    /// Who answered.
    fn name(&self, answer: &MetadataMap) -> Result<ControllerName, End> {
        let refused = |reason: String| End::Failed(Status::failed_precondition(reason));
        let told = answer.get_bin(serve::NAME).and_then(|name| name.to_bytes().ok());
        let told = told.and_then(|name| String::from_utf8(name.to_vec()).ok());
        let told = told.ok_or_else(|| refused("what answers is no logical controller".to_owned()))?;
        let name = ControllerName::try_from(told).map_err(|error| refused(error.to_string()))?;
        match &self.name {
            Some(expected) if *expected != name => {
                Err(refused(format!("{name} answers; expected {expected}")))
            }
            _ => Ok(name),
        }
    }
}

/// A logical controller that has answered.
struct Reached {
    name: ControllerName,
    stream: Streaming<FromLogical>,
    wire: mpsc::Sender<FromPhysical>,
}

fn delay(failures: u32) -> Duration {
    let ceiling = CEILING_MIN.saturating_mul(1 << failures.min(8)).min(CEILING_MAX);
    ceiling.mul_f64(rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_of_the_delay_doubles_up_to_its_limit() {
        for (failures, ceiling_ms) in [(0, 250), (1, 500), (5, 8000), (u32::MAX, 8000)] {
            let longest = (0..500).map(|_| delay(failures)).max().unwrap();
            assert!(longest <= Duration::from_millis(ceiling_ms), "{failures}: {longest:?}");
            assert!(longest > Duration::from_millis(ceiling_ms / 2), "{failures}: {longest:?}");
        }
    }
}
