use tracing::debug;
use vtep_abi::{Event, EventKind, FdbKey, FdbValue, NeighbourKey, PortValue, Target};
use vtep_api::{MacAddr, PortName};

use super::host::Host;
use crate::announced::Announcement;
use crate::config::Port;
use crate::dataplane::{FdbTarget, PortId};
use crate::learnt::Lesson;
use crate::plan::{Plan, Step};

/// What a batch of events came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Learning {
    /// Something is claimed that was not.
    pub(super) news: bool,
    /// Otherwise a comparison has to follow: a port that has become full wants its flag cleared.
    pub(super) done: bool,
}

impl Host {
    /// Claims the MACs that were seen on learning ports, and writes the entries of those that the table does not name.
    pub(super) fn learn(&mut self, events: &[Event]) -> Learning {
        let (mut news, mut done) = (false, true);
        let mut rows = Vec::new();
        for event in events.iter().filter(|event| event.kind == EventKind::MacSeen as u32) {
            let key = FdbKey::new(event.vni, event.mac);
            let port = PortId { ifindex: event.ifindex, vlan: event.vlan };
            let Some(bound) = self.learning(&key, port) else { continue };
            let learn_max = self.learn_max(port.ifindex);
            match self.learnt.observe(key, port, learn_max) {
                lesson @ (Lesson::New | Lesson::Moved { .. }) => {
                    let from = if let Lesson::Moved { from } = lesson { Some(from) } else { None };
                    self.watch_seen(&key, from, port);
                    if !self.is_named(&key) {
                        let master = Target::LocalPort(bound.local_port);
                        rows.push((key, FdbTarget { master, slave: Target::None, flags: FdbValue::LEARNT }));
                    }
                    self.note_local(&key, port);
                    news = true;
                    done &= self.learnt.count(port.ifindex) < learn_max;
                }
                Lesson::Known => {}
                Lesson::Full => done = false,
            }
        }
        for event in events {
            done &= !self.note(event);
        }
        if news {
            self.revise_claims();
        }
        let room = self.installed.fdb.len() + rows.len() <= self.config.dataplane.macs_max.as_usize();
        if !rows.is_empty() && room {
            done &= self.carry_out(Plan { steps: vec![Step::PutFdb(rows)] });
        }
        Learning { news, done: done && room }
    }

    /// Takes what stations say of themselves, and which frames were refused. Whether a comparison has to follow.
    fn note(&mut self, event: &Event) -> bool {
        let ip = || crate::desired::ip(event.address);
        let refused = match event.kind {
            kind if kind == EventKind::MacRefused as u32 => MacAddr::new(event.mac).to_string(),
            kind if kind == EventKind::IpRefused as u32 => format!("{} of {}", ip(), MacAddr::new(event.mac)),
            kind if kind == EventKind::Announced as u32 => {
                let key = NeighbourKey { vni: event.vni, address: event.address };
                let announcement = Announcement { mac: event.mac, here: event.ifindex != 0 };
                let before = self.announced.of(&key);
                let says_something = event.address != [0; 16] && !ip().is_unspecified();
                if !says_something || !self.announced.hear(key, announcement) {
                    return false;
                }
                let mac = MacAddr::new(event.mac);
                let from = before.map(|before| MacAddr::new(before.mac).to_string());
                debug!(vni = event.vni, address = %ip(), %mac, from, "a station announced itself");
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
        let configured = self.installed.fdb.get(key).is_some_and(|target| {
            matches!(target.master, Target::LocalPort(_)) && target.flags & FdbValue::LEARNT == 0
        });
        let learns = bound.flags & PortValue::LEARN != 0 && MacAddr::new(key.mac).is_station();
        (learns && !configured).then_some(*bound)
    }

    fn learn_max(&self, ifindex: u32) -> u32 {
        let name = self.links.by_index(ifindex).and_then(|(name, _)| PortName::try_from(name).ok());
        let port = name.and_then(|name| self.config.ports.named(&name));
        port.map_or(Port::LEARN_MAX, |port| port.learn_max.as_u32())
    }

    /// Whether the table says where a MAC lives; where that cannot be told, the next comparison tells.
    fn is_named(&self, key: &FdbKey) -> bool {
        let name = self.outcome.names.networks.get(&key.vni);
        let table = self.table.as_ref();
        let switch = name.zip(table).and_then(|(name, table)| table.logical_switches.get(name));
        let kept = |partial: bool| partial && self.installed.fdb.contains_key(key);
        switch.is_none_or(|switch| switch.macs.contains_key(&MacAddr::new(key.mac)) || kept(switch.partial))
    }

    fn note_local(&mut self, key: &FdbKey, port: PortId) {
        if let Some(name) = self.outcome.names.networks.get(&key.vni) {
            self.outcome.local_macs.entry(name.clone()).or_default().insert(MacAddr::new(key.mac), port);
        }
    }
}
