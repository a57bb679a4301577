//! A physical controller's sessions with logical controllers of other processes. Each begins anew, with jitter, for as
//! long as the configuration names it.

use std::time::Duration;

use anyhow::Result as Outcome;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use vtep_api::grpc::{CONTROLLER, Protection, controller_client, endpoint, require_tls};
use vtep_api::{ControllerName, FromLogical, FromPhysical, Term};

use super::channel::{Channel, Kind, OfLogical};
use super::wire::{self, End};
use super::{Gone, physical, serve};
use crate::cluster::{Holder, Office, Standing, View};
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
    running: Vec<(Target, oneshot::Sender<()>)>,
}

/// A logical controller, and by an election its term.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    peer: LogicalPeer,
    term: Option<Term>,
}

impl Joins {
    /// Without a physical controller there is nobody to join.
    pub(super) fn start(config: &Config, core: Option<&mpsc::Sender<physical::Input>>) -> Outcome<Self> {
        let mut joins = Self { core: core.cloned(), running: Vec::new() };
        joins.follow(config)?;
        Ok(joins)
    }

    /// Those whom the configuration does not name any longer end, and new ones begin. Where one cannot be, nothing
    /// changes.
    pub(super) fn follow(&mut self, config: &Config) -> Outcome<()> {
        let targets = config.logical.iter().map(|peer| Target { peer: peer.clone(), term: None });
        self.join(&targets.collect::<Vec<_>>(), config)
    }

    /// With whoever holds the shards, until the cluster is left.
    pub(super) async fn follow_cluster(
        config: Config,
        core: mpsc::Sender<physical::Input>,
        mut standings: watch::Receiver<Standing>,
    ) {
        let mut joins = Self { core: Some(core), running: Vec::new() };
        let mut known = Vec::new();
        loop {
            let targets = holders(&standings.borrow_and_update().view);
            let refused = joins.join_those_that_can_be(&targets, &config);
            // One line for each, however often the cluster is looked at.
            for reason in refused.iter().filter(|reason| !known.contains(*reason)) {
                warn!(reason, "a shard's logical controller cannot be joined");
            }
            known = refused;
            if standings.changed().await.is_err() {
                return;
            }
        }
    }

    fn join(&mut self, targets: &[Target], config: &Config) -> Outcome<()> {
        let new = self.new_ones(targets, config).into_iter().map(|(target, join)| Ok((target, join?)));
        let new = new.collect::<Outcome<Vec<_>>>()?;
        self.replace(targets, new);
        Ok(())
    }

    /// What one member says of itself keeps nobody from the others. Returns who cannot be joined, and why.
    fn join_those_that_can_be(&mut self, targets: &[Target], config: &Config) -> Vec<String> {
        let (mut joins, mut refused) = (Vec::new(), Vec::new());
        for (target, join) in self.new_ones(targets, config) {
            match join {
                Ok(join) => joins.push((target, join)),
                Err(error) => refused.push(format!("{}: {error:#}", target.peer.address)),
            }
        }
        self.replace(targets, joins);
        refused
    }

    fn new_ones(&self, targets: &[Target], config: &Config) -> Vec<(Target, Outcome<Join>)> {
        let Some(core) = &self.core else { return Vec::new() };
        let is_new = |target: &&Target| !self.running.iter().any(|(running, _)| running == *target);
        let new = targets.iter().filter(is_new);
        new.map(|target| (target.clone(), Join::new(target, config, core))).collect()
    }

    fn replace(&mut self, targets: &[Target], new: Vec<(Target, Join)>) {
        self.running.retain(|(target, _)| targets.contains(target));
        for (target, join) in new {
            let (stop, stopped) = oneshot::channel();
            tokio::spawn(join.run(stopped));
            self.running.push((target, stop));
        }
    }
}

/// Of each shard that somebody has: who, where, and by which term.
fn holders(view: &View) -> Vec<Target> {
    let target = |(office, holder): (&Office, &Holder)| {
        let name = Some(office.controller()?);
        let address = view.members.get(&holder.name)?.address.parse().ok()?;
        let peer = LogicalPeer { name, address };
        Some(Target { peer, term: Some(view.term(holder.created)) })
    };
    view.offices.iter().filter_map(target).collect()
}

struct Join {
    address: String,
    /// Who must answer there.
    name: Option<ControllerName>,
    term: Option<Term>,
    endpoint: Endpoint,
    core: mpsc::Sender<physical::Input>,
}

impl Join {
    fn new(
        Target { peer, term }: &Target,
        config: &Config,
        core: &mpsc::Sender<physical::Input>,
    ) -> Outcome<Self> {
        let (tls, address) = (config.tls.as_ref(), &peer.address);
        if require_tls(address.host(), tls.is_some(), config.controller.allow_plaintext)?
            == Protection::Nothing
        {
            warn!(%address, "a logical controller is joined without TLS: anybody may be it");
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = endpoint(&format!("{scheme}://{address}"), tls)?;
        let (address, name) = (address.to_string(), peer.name.clone());
        Ok(Self { address, name, term: *term, endpoint, core: core.clone() })
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
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(name) = &self.name {
            let name = MetadataValue::from_bytes(name.as_str().as_bytes());
            request.metadata_mut().insert_bin(serve::WANTED, name);
        }
        let answer = timeout(wire::SILENCE_MAX, client.join(request)).await;
        let answer: Response<_> = answer.map_err(|_| End::Silent)?.map_err(End::Failed)?;
        let name = self.name(answer.metadata())?;
        Ok(Reached { name, stream: answer.into_inner(), wire })
    }

    async fn session(&self, reached: Reached, stop: &mut oneshot::Receiver<()>) -> Result<End, Gone> {
        let Reached { name, mut stream, wire } = reached;
        info!(%name, address = self.address, "joined a logical controller");
        if let Some(term) = self.term {
            self.core.send(physical::Input::Elected { peer: name.clone(), term }).await?;
        }
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
        let told = answer.get_bin(CONTROLLER).and_then(|name| name.to_bytes().ok());
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
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_member_that_cannot_be_joined_keeps_nobody_from_the_others() {
        let config = Config::parse("", Path::new("controller.toml"), &[]).unwrap();
        let (core, _inputs) = mpsc::channel(1);
        let mut joins = Joins { core: Some(core), running: Vec::new() };
        let target = |shard: u16, address: &str| Target {
            peer: LogicalPeer {
                name: Some(crate::cluster::shard_name(shard)),
                address: address.parse().unwrap(),
            },
            term: Some(Term(1)),
        };
        // Off this host nothing goes without TLS.
        let targets = [target(0, "192.0.2.1:9480"), target(1, "127.0.0.1:1")];
        let refused = joins.join_those_that_can_be(&targets, &config);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].contains("192.0.2.1:9480"), "{refused:?}");
        let running: Vec<_> = joins.running.iter().map(|(target, _)| target).collect();
        assert_eq!(running, [&targets[1]]);
        assert!(joins.join(&targets, &config).is_err(), "what is configured is joined as a whole");
    }

    #[test]
    fn the_ceiling_of_the_delay_doubles_up_to_its_limit() {
        for (failures, ceiling_ms) in [(0, 250), (1, 500), (5, 8000), (u32::MAX, 8000)] {
            let longest = (0..500).map(|_| delay(failures)).max().unwrap();
            assert!(longest <= Duration::from_millis(ceiling_ms), "{failures}: {longest:?}");
            assert!(longest > Duration::from_millis(ceiling_ms / 2), "{failures}: {longest:?}");
        }
    }
}
