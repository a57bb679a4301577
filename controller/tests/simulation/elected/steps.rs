//! The cores, and what they want done.

use vtep_api::{ControllerName, FromLogical, ToVtep, VtepName};
use vtep_controller::logical::{self, Durable};
use vtep_controller::physical;

use super::world::{LinkId, Message, World};
use crate::link::End;
use crate::observer::Verdict;

impl World {
    pub(super) fn step_logical(&mut self, event: logical::Event) -> Verdict {
        let now = self.now_since(self.logical_started);
        let Some(core) = &mut self.logical else { return Ok(()) };
        let mut actions = Vec::new();
        core.step(event, now, &mut actions);
        if let Some(table) = core.published(&self.network) {
            let (term, version) = (self.logical_term, table.version());
            self.observer.publishes(&self.network, term, version, table.iter(), self.now, None)?;
        }
        for action in actions {
            match action {
                logical::Action::Send { peer, message } => {
                    let link = LinkId::Peer(self.node_named(&peer));
                    if let FromLogical::Table(update) = &message
                        && update.complete
                        && update.from.is_none()
                    {
                        self.observer.complete_from(update);
                    }
                    self.transmit(link, End::Client, Message::FromLogical(message));
                }
                logical::Action::Close { peer, reason } => {
                    return Err(format!("{peer} is refused: {reason}"));
                }
                logical::Action::Persist(durable) => {
                    let masters = std::mem::take(&mut self.durable.masters);
                    self.durable = Durable { masters, ..durable };
                }
                logical::Action::Remember { logical_switch, masters } => {
                    let kept = self.durable.masters.entry(logical_switch).or_default();
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
            physical::Action::Send { message, .. } => {
                if self.link(LinkId::Peer(physical)).at(End::Client).is_some() {
                    self.transmit(LinkId::Peer(physical), End::Server, Message::FromPhysical(message));
                }
            }
            physical::Action::Close { peer, reason } => {
                self.trace.note(self.now, || format!("pc-{physical} closes {peer}: {reason}"));
                self.cut(LinkId::Peer(physical), None, 50);
            }
            physical::Action::Serve(_) | physical::Action::Notice(_) => {}
        }
        Ok(())
    }

    fn node_named(&self, name: &ControllerName) -> usize {
        self.nodes.iter().position(|node| node.name == *name).expect("there is no other")
    }

    fn station_named(&self, name: &VtepName) -> usize {
        self.stations.iter().position(|station| station.name == *name).expect("there is no other")
    }
}
