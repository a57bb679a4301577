use std::time::Duration;

use tracing::{debug, warn};
use vtep_abi::{Event, EventKind, FdbKey, FdbValue, NeighbourKey, PortValue, Target, VtepByIpKey};
use vtep_api::{MacAddr, PortName, Sighting};

use super::host::{Host, Said, said};
use crate::announced::Announcement;
use crate::claims::Claims;
use crate::config::Port;
use crate::dataplane::{FdbTarget, PortId};
use crate::desired::Desired;
use crate::kernel::now_secs;
use crate::learnt::{Learnt, Lesson, Sight, Tally};
use crate::overheard::Heard;
use crate::plan::{Plan, Step};
use crate::table::LogicalSwitch;

/// So many MACs that may be back are looked at each second; more of them wait until all are, as they age.
const LOOKED_AT_MAX: usize = 4096;

/// What a batch of events came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Learning {
    /// Something is claimed that was not.
    pub(super) news: bool,
    /// Otherwise a comparison has to follow.
    pub(super) done: bool,
    /// To be told upstream.
    pub(super) sightings: Vec<Sighting>,
}

/// What is written at once.
#[derive(Default)]
struct Batch {
    seen: Vec<(FdbKey, Target)>,
    fdb: Vec<(FdbKey, FdbTarget)>,
}

impl Batch {
    fn plan(self) -> Plan {
        let seen = (!self.seen.is_empty()).then_some(Step::PutSeen(self.seen));
        let fdb = (!self.fdb.is_empty()).then_some(Step::PutFdb(self.fdb));
        Plan { steps: seen.into_iter().chain(fdb).collect() }
    }
}

impl Host {
    /// Claims the MACs that were seen on learning ports, and writes the entries of those that the table does not name.
    pub(super) fn learn(&mut self, events: &[Event]) -> Learning {
        let (sightings, witnessed) = self.witness(events);
        self.watch_events(events, &witnessed);
        let mut learning = Learning { news: false, done: true, sightings };
        let mut batch = Batch::default();
        for event in events {
            match event.kind {
                kind if kind == EventKind::MacSeen as u32 => self.see(event, &mut batch, &mut learning),
                kind if kind == EventKind::MacBehind as u32 => {
                    self.overhear(event, &mut batch, &mut learning);
                }
                _ => {}
            }
        }
        for event in events {
            learning.done &= !self.note(event);
        }
        if learning.news {
            self.revise_claims();
        }
        let room = self.installed.fdb.len() + batch.fdb.len() <= self.config.dataplane.macs_max.as_usize();
        learning.done &= room;
        if room {
            learning.done &= self.carry_out(batch.plan());
        }
        learning
    }

    fn see(&mut self, event: &Event, batch: &mut Batch, learning: &mut Learning) {
        let key = FdbKey::new(event.vni, event.mac);
        let port = PortId { ifindex: event.ifindex, vlan: event.vlan };
        let Some(bound) = self.learning(&key, port) else { return self.contest(&key, port) };
        let switch = self.switch_of(key.vni);
        // Where it cannot be told whether the table has the MAC, the next comparison tells.
        let is_named = match said(switch, &key) {
            Said::Nothing => false,
            Said::Unknown => switch.is_none() || self.installed.fdb.contains_key(&key),
            Said::Elsewhere => true,
        };
        let sight = Sight {
            now_secs: now_secs(),
            port_max: self.learn_max(port.ifindex),
            vni_max: self.config.networks.of(key.vni).learn_max.as_u32(),
        };
        let from = match self.learnt.observe(key, port, sight) {
            Lesson::New => None,
            Lesson::Moved { from } => Some(from),
            Lesson::Damped { new } => {
                learning.done &= !new;
                return;
            }
            Lesson::Known | Lesson::Full => return,
        };
        let here = Target::LocalPort(bound.local_port);
        batch.seen.push((key, here));
        // It is seen where it was not when the table got it.
        if is_named && from.is_some() {
            self.claims.renew(key.vni, MacAddr::new(key.mac));
        }
        self.watch_seen(&key, from, port, is_named);
        if !is_named {
            let target = FdbTarget { master: here, slave: Target::None, flags: FdbValue::LEARNT };
            batch.fdb.push((key, target));
        }
        let Desired { names, local_macs, .. } = &mut self.outcome;
        if let Some(name) = names.networks.get(&key.vni) {
            local_macs.entry(name.clone()).or_default().insert(MacAddr::new(key.mac), port);
        }
        learning.news = true;
        // For the alarms.
        learning.done &= self.learnt.count(port.ifindex) < sight.port_max;
        learning.done &= self.learnt.count_in(key.vni) < sight.vni_max;
    }

    /// A MAC that is configured for a port stays there. That another sends from it is told.
    fn contest(&mut self, key: &FdbKey, at: PortId) {
        let Some(bound) = self.installed.ports.get(&at).filter(|bound| bound.vni == key.vni) else { return };
        let (here, holder) = (Target::LocalPort(bound.local_port), self.installed.fdb.get(key));
        let Some(holder) = holder.map(|entry| entry.master).filter(|master| *master != here) else { return };
        if MacAddr::new(key.mac).is_station() && self.contested.is_news(key, at.ifindex, now_secs()) {
            self.moves.contested += 1;
            self.watch_contest(key, here, holder);
        }
    }

    /// What the table holds of a network.
    fn switch_of(&self, vni: u32) -> Option<&LogicalSwitch> {
        self.table.as_ref()?.logical_switches.get(self.outcome.names.networks.get(&vni)?)
    }

    /// Takes a MAC from the underlay where neither the table nor a port has it.
    fn overhear(&mut self, event: &Event, batch: &mut Batch, learning: &mut Learning) {
        let key = FdbKey::new(event.vni, event.mac);
        let settings = self.config.networks.of(key.vni);
        let sender = self.installed.senders.get(&VtepByIpKey { vni: key.vni, address: event.address });
        let (Some(&index), true) = (sender, settings.learn_underlay) else { return };
        let is_free = self.installed.fdb.get(&key).is_none_or(FdbTarget::is_learnt);
        if said(self.switch_of(key.vni), &key) != Said::Nothing
            || !is_free
            || !MacAddr::new(key.mac).is_station()
        {
            return;
        }
        let max = settings.learn_underlay_max.as_u32();
        if self.overheard.observe(key, event.address, now_secs(), max) != Heard::News {
            return;
        }
        // The programs report no MAC that speaks at a port of ours.
        if self.learnt.contains(&key) {
            self.learnt.forget(&key);
            self.announced.forget(&key);
            let Desired { names, local_macs, .. } = &mut self.outcome;
            if let Some(macs) = names.networks.get(&key.vni).and_then(|name| local_macs.get_mut(name)) {
                macs.remove(&MacAddr::new(key.mac));
            }
            learning.news = true;
        }
        let master = Target::Vtep(index);
        batch.seen.push((key, master));
        batch.fdb.push((key, FdbTarget { master, slave: Target::None, flags: FdbValue::LEARNT }));
        learning.done &= self.overheard.count(key.vni, event.address) < max;
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.learnt.tally;
        tally.aged += self.overheard.aged;
        tally.refused_by_vtep = self.overheard.refused;
        tally
    }

    /// Forgets learnt MACs that were not seen for long. Whether a comparison has to follow.
    pub(super) fn age(&mut self) -> bool {
        if self.learnt.is_empty() && self.overheard.is_empty() {
            return false;
        }
        let times = match self.kernel.seen_times() {
            Ok(times) => times,
            Err(error) => {
                if self.complaints.is_news("ageing", &error) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "nothing ages: it is not known what was seen"
                    );
                }
                return false;
            }
        };
        let Self { learnt, overheard, announced, claims, config, .. } = self;
        let age = |vni| config.networks.of(vni).mac_age_secs.as_u32();
        let (now, seen) = (now_secs(), |key: &FdbKey| times.get(key).copied());
        let mut aged = Vec::new();
        let changed = learnt.age(now, seen, age, &mut aged) | overheard.age(now, seen, age);
        for key in &aged {
            announced.forget(key);
        }
        changed | renew(learnt, claims, seen)
    }

    /// Whether MACs are looked at more often than they age, for they may be back.
    pub(super) fn awaits_returns(&self) -> bool {
        (1..=LOOKED_AT_MAX).contains(&self.learnt.waiting())
    }

    /// Claims MACs anew that are back. Whether there are any.
    pub(super) fn look_for_returns(&mut self) -> bool {
        let Self { learnt, claims, kernel, .. } = self;
        renew(learnt, claims, |key| kernel.seen_time(key).ok().flatten())
    }

    /// How often MACs are looked at, which adds at most a tenth to the time of each, or 1 s.
    pub(super) fn ageing_pace(&self) -> Duration {
        let ages = self.config.networks.iter().map(|network| network.mac_age_secs.as_u32());
        let shortest = ages.filter(|secs| *secs > 0).min().unwrap_or(u32::MAX);
        Duration::from_secs(u64::from(shortest / 10).clamp(1, 15))
    }

    /// Takes what stations say of themselves, and which frames were refused. Whether a comparison has to follow.
    fn note(&mut self, event: &Event) -> bool {
        let ip = || crate::desired::ip(event.address);
        let refused = match event.kind {
            kind if kind == EventKind::MacRefused as u32 => MacAddr::new(event.mac).to_string(),
            kind if kind == EventKind::IpRefused as u32 => format!("{} of {}", ip(), MacAddr::new(event.mac)),
            kind if [EventKind::Announced as u32, EventKind::AddressHeard as u32].contains(&kind) => {
                let key = NeighbourKey { vni: event.vni, address: event.address };
                let announcement = Announcement { mac: event.mac, here: event.ifindex != 0 };
                let before = self.announced.of(&key);
                let says_something = event.address != [0; 16] && !ip().is_unspecified();
                if !says_something || !self.announced.hear(key, announcement) {
                    return false;
                }
                let mac = MacAddr::new(event.mac);
                let from = before.map(|before| MacAddr::new(before.mac).to_string());
                debug!(vni = event.vni, address = %ip(), %mac, from, "a station said which address it has");
                return true;
            }
            _ => return false,
        };
        self.refused_sources.insert(event.ifindex, refused);
        false
    }

    /// The binding of a port that learns and that this MAC is not configured for already.
    fn learning(&self, key: &FdbKey, port: PortId) -> Option<PortValue> {
        let bound = self.installed.ports.get(&port).filter(|bound| bound.vni == key.vni)?;
        let configured = self
            .installed
            .fdb
            .get(key)
            .is_some_and(|target| matches!(target.master, Target::LocalPort(_)) && !target.is_learnt());
        let learns = bound.flags & PortValue::LEARN != 0 && MacAddr::new(key.mac).is_station();
        (learns && !configured).then_some(*bound)
    }

    fn learn_max(&self, ifindex: u32) -> u32 {
        let name = self.links.by_index(ifindex).and_then(|(name, _)| PortName::try_from(name).ok());
        let port = name.and_then(|name| self.config.ports.named(&name));
        port.map_or(Port::LEARN_MAX, |port| port.learn_max.as_u32())
    }
}

fn renew(learnt: &mut Learnt, claims: &mut Claims, seen: impl Fn(&FdbKey) -> Option<u32>) -> bool {
    let damped = learnt.tally.damped;
    let returned = learnt.returned(now_secs(), seen);
    for key in &returned {
        debug!(vni = key.vni, mac = %MacAddr::new(key.mac), "back, and claimed anew");
        claims.renew(key.vni, MacAddr::new(key.mac));
    }
    !returned.is_empty() || learnt.tally.damped != damped
}
