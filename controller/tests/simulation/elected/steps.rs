//! The cores, and what they want done.

use vtep_api::{ControllerName, FromLogical, Term, ToVtep, VtepName};
use vtep_controller::logical::{self, Durable};
use vtep_controller::physical;

use super::world::{LinkId, Message, Shard, World};
use crate::link::End;
use crate::observer::Verdict;

impl World {
    /// Since when.
    pub(super) fn reigns(&self, shard: usize, term: Term) -> Option<u64> {
        let Shard { reign, former, .. } = &self.shards[shard];
        let reign = [reign, former].into_iter().flatten().find(|reign| reign.term == term)?;
        Some(reign.started)
    }

    pub(super) fn step_logical(&mut self, shard: usize, term: Term, event: logical::Event) -> Verdict {
        let Some(started) = self.reigns(shard, term) else { return Ok(()) };
        let now = self.now_since(started);
        let Shard { name, reign, former, durable, .. } = &mut self.shards[shard];
        let is_former = reign.as_ref().is_none_or(|reign| reign.term != term);
        let Some(reign) = (if is_former { former } else { reign }) else { return Ok(()) };
        let mut actions = Vec::new();
        reign.core.step(event, now, &mut actions);
        for network in &self.networks {
            let Some(table) = reign.core.published(network) else { continue };
            let version = table.version();
            if is_former {
                self.observer.publishes_late(network, term, version, table.iter());
            } else {
                self.observer.publishes(network, term, version, table.iter(), self.now, None)?;
            }
        }
        let name = name.clone();
        let mut messages = Vec::new();
        for action in actions {
            match action {
                logical::Action::Send { peer, message } => {
                    if let FromLogical::Table(update) = &message
                        && update.complete
                        && update.from.is_none()
                    {
                        self.observer.complete_from(update);
                    }
                    messages.push((peer, message));
                }
                logical::Action::Close { peer, reason } => {
                    return Err(format!("{peer} is refused by {name}: {reason}"));
                }
                // etcd refuses what it writes.
                logical::Action::Persist(_) | logical::Action::Remember { .. } if is_former => {}
                logical::Action::Persist(news) => {
                    let masters = std::mem::take(&mut durable.masters);
                    *durable = Durable { masters, ..news };
                }
                logical::Action::Remember { logical_switch, masters } => {
                    let kept = durable.masters.entry(logical_switch).or_default();
                    for (mac, master) in masters {
                        match master {
                            Some(master) => drop(kept.insert(mac, master)),
                            None => drop(kept.remove(&mac)),
                        }
                    }
                }
                logical::Action::Notice(_) => {}
            }
        }
        for (peer, message) in messages {
            let physical = self.node_named(&peer);
            if self.nodes[physical].joined[shard] == term {
                let link = LinkId::Peer { physical, shard };
                self.transmit(link, End::Client, Message::FromLogical(message));
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, physical: usize, event: physical::Event) -> Verdict {
        let now = self.now_since(self.nodes[physical].started);
        let dull = matches!(
            event,
            physical::Event::Tick | physical::Event::Taken { .. } | physical::Event::VtepTaken { .. }
        );
        if !dull {
            self.trace.note(self.now, || format!("pc-{physical} ← {event:?}"));
        }
        let Some(core) = &mut self.nodes[physical].core else { return Ok(()) };
        let mut actions = Vec::new();
        core.step(event, now, &mut actions);
        for action in actions {
            self.act(physical, action)?;
        }
        Ok(())
    }

    fn act(&mut self, physical: usize, action: physical::Action) -> Verdict {
        match action {
            physical::Action::ToVtep { vtep, session, message } => {
                let link = LinkId::Vtep { vtep: self.station_named(&vtep), physical };
                if self.link(link).at(End::Server) != Some(session.0) {
                    return Ok(());
                }
                self.trace.note(self.now, || format!("pc-{physical} → {vtep}: {message:?}"));
                let may = self.nodes[physical].member.tenure > self.now
                    || matches!(message, ToVtep::Standby { .. });
                if !may {
                    // As the task that carries it out does: it looks at its clock first.
                    let now = self.now;
                    self.link(link).close(End::Server, now);
                    self.cut(link, Some(End::Server), 50);
                    return self.step(physical, physical::Event::VtepDown { vtep, session });
                }
                self.transmit(link, End::Client, Message::ToVtep(message));
            }
            physical::Action::CloseVtep { vtep, session, reason } => {
                let link = LinkId::Vtep { vtep: self.station_named(&vtep), physical };
                self.trace.note(self.now, || format!("pc-{physical} closes {vtep}: {reason}"));
                if self.link(link).at(End::Server) == Some(session.0) {
                    self.cut(link, None, 50);
                }
            }
            physical::Action::Send { peer, message } => {
                let link = LinkId::Peer { physical, shard: self.shard_named(&peer) };
                self.transmit(link, End::Server, Message::FromPhysical(message));
            }
            physical::Action::Close { peer, reason } => {
                self.trace.note(self.now, || format!("pc-{physical} closes {peer}: {reason}"));
                self.cut(LinkId::Peer { physical, shard: self.shard_named(&peer) }, None, 50);
            }
            physical::Action::Serve(_) | physical::Action::Notice(_) => {}
        }
        Ok(())
    }

    fn node_named(&self, name: &ControllerName) -> usize {
        self.nodes.iter().position(|node| node.name == *name).expect("there is no other")
    }

    fn shard_named(&self, name: &ControllerName) -> usize {
        self.shards.iter().position(|shard| shard.name == *name).expect("there is no other")
    }

    fn station_named(&self, name: &VtepName) -> usize {
        self.stations.iter().position(|station| station.name == *name).expect("there is no other")
    }
}
