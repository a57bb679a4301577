//! An answer of the whole cluster: what is here, and what other members say of what they have.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use vtep_api::control::{Broken, Relay};
use vtep_api::{ControllerName, ErrorKind, LogicalSwitchName, Refusal};

use super::Request;
use super::far::{End, Far, Missing, Peer, Reach, Unheard};
use super::merge::{Ended, Order, Source, merge};
use super::own::{Own, Parts};
use crate::cluster::{Office, View, shard_name, shard_of};
use crate::run::cores::Logicals;

/// Of what the answer to a request is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of what this process has, or the cluster's own state.
    Process,
    /// Of one shard.
    LogicalSwitch(LogicalSwitchName),
    Shards,
    /// And of what each member knows of itself.
    Members,
}

/// Who has which part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    pub(super) here: Vec<u16>,
    pub(super) peers: Vec<Peer>,
    pub(super) missing: Vec<Missing>,
}

/// The process that is asked.
pub(super) struct Here<'a> {
    pub(super) name: &'a ControllerName,
    pub(super) logicals: Option<&'a Logicals>,
    /// What keeps it from having anything.
    pub(super) waits: Option<String>,
    /// Why there may be members that it does not know.
    pub(super) doubt: Option<String>,
}

/// What is to be gathered, and what came already.
pub(super) struct Gather {
    request: Request,
    reach: Reach,
    sources: Vec<Source>,
    refused: Vec<Refused>,
    peers: Vec<Peer>,
    missing: Vec<Missing>,
}

/// A refusal, and by whom. If nobody has rows the first one is the answer.
struct Refused {
    controller: ControllerName,
    address: Option<String>,
    refusal: Refusal,
}

impl Request {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            Self::Status
            | Self::Apply { .. }
            | Self::Members
            | Self::Offices { .. }
            | Self::Move { .. }
            | Self::RaiseTerm { .. } => Scope::Process,
            Self::Explain { logical_switch, .. }
            | Self::History { logical_switch, .. }
            | Self::Fdb { logical_switch: Some(logical_switch) }
            | Self::Unpin { logical_switch, .. }
            | Self::ClearDuplicate { logical_switch, .. }
            | Self::ReleaseWithdrawals { logical_switch } => Scope::LogicalSwitch(logical_switch.clone()),
            Self::Pin(pin) => Scope::LogicalSwitch(pin.logical_switch.clone()),
            Self::Conflicts
            | Self::Vteps
            | Self::LogicalSwitches
            | Self::Fdb { logical_switch: None }
            | Self::WhatIfVtepDown { .. }
            | Self::WhatIfPolicy { .. }
            | Self::ReleaseStorm { .. }
            | Self::Sync => Scope::Shards,
            Self::Alarms => Scope::Members,
        }
    }

    /// Whether something is done, not looked at.
    fn does(&self) -> bool {
        matches!(
            self,
            Self::Pin(_)
                | Self::Unpin { .. }
                | Self::ClearDuplicate { .. }
                | Self::ReleaseStorm { .. }
                | Self::ReleaseWithdrawals { .. }
        )
    }
}

impl Whereabouts {
    /// As far as is known here.
    pub(super) fn of(scope: &Scope, view: &View, here: &Here<'_>) -> Self {
        let Here { name: own, logicals, waits, doubt } = here;
        let shards = match scope {
            Scope::LogicalSwitch(name) => {
                let shard = shard_of(name, view.shards());
                shard..shard + 1
            }
            _ => 0..view.shards(),
        };
        let mut found = Self::default();
        let mut elsewhere: BTreeMap<&ControllerName, Vec<u16>> = BTreeMap::new();
        let mut nobodys = Vec::new();
        for shard in shards {
            if logicals.is_some_and(|here| here.contains_key(&shard_name(shard))) {
                found.here.push(shard);
            } else if let Some(holder) = view.offices.get(&Office::Shard(shard)) {
                elsewhere.entry(&holder.name).or_default().push(shard);
            } else {
                nobodys.push(shard);
            }
        }
        if *scope == Scope::Members {
            for name in view.members.keys().filter(|name| name != own) {
                elsewhere.entry(name).or_default();
            }
        }
        for (name, shards) in elsewhere {
            let member = view.members.get(name);
            let address = member.map(|member| member.address.clone());
            let reason = match address {
                Some(address) if name != *own => {
                    found.peers.push(Peer { name: name.clone(), address, shards });
                    continue;
                }
                _ if name == *own => match waits {
                    Some(waits) => format!("it waits for {waits}"),
                    None => "it begins with them".to_owned(),
                },
                _ => "it is no member any more".to_owned(),
            };
            let controller = Some(name.clone());
            found.missing.push(Missing { shards, controller, address: None, reason });
        }
        let unknown = match doubt {
            Some(doubt) if *scope == Scope::Members => Some(format!("who they are is not known: {doubt}")),
            _ => view.settings.is_none().then(|| "nothing is known of the cluster yet".to_owned()),
        };
        if let Some(reason) = unknown {
            found.missing.push(Missing { shards: Vec::new(), controller: None, address: None, reason });
        }
        if !nobodys.is_empty() {
            let reason = "held by nobody at present".to_owned();
            found.missing.push(Missing { shards: nobodys, controller: None, address: None, reason });
        }
        found
    }
}

impl Gather {
    pub(super) fn new(request: Request, reach: Reach, peers: Vec<Peer>, missing: Vec<Missing>) -> Self {
        let (sources, refused) = (Vec::new(), Vec::new());
        let mut gather = Self { request, reach, sources, refused, peers, missing: Vec::new() };
        for missing in missing {
            gather.miss(missing, true);
        }
        gather
    }

    /// What this process itself has; of these shards it was asked.
    pub(super) fn add(&mut self, had: Own, mut shards: Vec<u16>, own: &ControllerName) {
        let known: Vec<u16> = had.shards().collect();
        shards.retain(|shard| !known.contains(shard));
        let Parts { sources, refusals } = had.into_parts();
        self.sources.extend(sources);
        let by = |refusal| Refused { controller: own.clone(), address: None, refusal };
        self.refused.extend(refusals.into_vec().into_iter().map(by));
        if !shards.is_empty() {
            let (controller, reason) = (Some(own.clone()), "it does not have them any more".to_owned());
            self.miss(Missing { shards, controller, address: None, reason }, false);
        }
    }

    /// Until the end, or the client goes away.
    pub(super) async fn run(mut self, mut relay: Relay) -> Result<(), Broken> {
        let asked = match serde_json::to_vec(&self.request) {
            Ok(asked) => asked,
            Err(error) => return relay.refuse(ErrorKind::Failed, error.to_string()).await,
        };
        let peers = std::mem::take(&mut self.peers);
        for heard in join_all(peers.into_iter().map(|peer| self.reach.ask(peer, &asked))).await {
            match heard {
                Ok(far) => self.sources.push(Source::there(far)),
                Err((peer, unheard)) => {
                    let Unheard { reason, reached } = unheard;
                    self.miss(peer.missing(reason), !reached);
                }
            }
        }
        let order = Order::of(&self.request);
        merge(&mut self.sources, order, &mut relay).await?;
        let mut with_rows = false;
        for source in std::mem::take(&mut self.sources) {
            with_rows |= match source.end() {
                Ended::Here { failed: None, .. } => true,
                Ended::Here { shard, failed: Some(reason) } => {
                    let (shards, controller) = (Vec::from_iter(shard), Some(self.reach.own.clone()));
                    self.miss(Missing { shards, controller, address: None, reason }, false);
                    true
                }
                Ended::There { far, failed } => self.came_of(*far, failed),
            };
        }
        let refusal = self.refusal(with_rows);
        match (self.missing.is_empty(), refusal) {
            (true, None) => relay.end().await,
            (true, Some((kind, message))) => relay.refuse(kind, message).await,
            (false, refusal) => {
                let message = self.what_is_missing(refusal.map(|(_, message)| message));
                relay.end_incomplete(message, &self.missing).await
            }
        }
    }

    /// Returns whether it had rows to give, if only none.
    fn came_of(&mut self, far: Far, failed: Option<String>) -> bool {
        let mut peer = far.peer;
        let (None, Some(End { shards, refusals })) = (&failed, far.end) else {
            self.miss(peer.missing(failed.unwrap_or_else(|| "it broke off".to_owned())), false);
            return false;
        };
        let of_itself = peer.shards.is_empty() && refusals.is_empty();
        let with_rows = of_itself || peer.shards.iter().any(|shard| shards.contains(shard));
        peer.shards.retain(|shard| !shards.contains(shard));
        for mut refusal in refusals {
            let of_itself = refusal.shards.is_empty();
            refusal.shards.retain(|shard| peer.shards.contains(shard));
            peer.shards.retain(|shard| !refusal.shards.contains(shard));
            if of_itself || !refusal.shards.is_empty() {
                let (controller, address) = (peer.name.clone(), Some(peer.address.clone()));
                self.refused.push(Refused { controller, address, refusal });
            }
        }
        if !peer.shards.is_empty() {
            self.miss(peer.missing("it begins or ends with them".to_owned()), false);
        }
        with_rows
    }

    /// That of the whole answer; where others have rows, those who refuse are missing.
    fn refusal(&mut self, with_rows: bool) -> Option<(ErrorKind, String)> {
        let refused = std::mem::take(&mut self.refused);
        if !with_rows {
            return refused.into_iter().next().map(|Refused { refusal, .. }| (refusal.kind, refusal.message));
        }
        for Refused { controller, address, refusal } in refused {
            // What is to be done was there to be done elsewhere.
            if self.request.does() && refusal.kind == ErrorKind::NotFound {
                continue;
            }
            let Refusal { shards, message, .. } = refusal;
            let reason = format!("it refuses: {message}");
            self.miss(Missing { shards, controller: Some(controller), address, reason }, true);
        }
        None
    }

    fn miss(&mut self, mut missing: Missing, known_not_done: bool) {
        if self.request.does() {
            missing.reason += if known_not_done {
                "; nothing is changed there"
            } else {
                "; whether it was done there is not known"
            };
        }
        self.missing.push(missing);
    }

    fn what_is_missing(&self, refusal: Option<String>) -> String {
        let parts: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        let parts = parts.join("; ");
        match (self.request.scope(), refusal) {
            (Scope::LogicalSwitch(name), _) => format!("logical switch {name} is out of reach: {parts}"),
            (_, Some(refusal)) => format!("{refusal}, as far as is known without {parts}"),
            (_, None) => format!("this is not all; missing: {parts}"),
        }
    }
}
