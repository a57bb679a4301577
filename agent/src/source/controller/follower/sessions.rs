//! Whom we speak with: who serves us, and who stands by.

use std::time::Instant;

use vtep_api::{ControllerName, FromVtep, Held, PROTOCOL, Term, ToVtep};

use super::super::conversation::{Conversation, LinkId, Stage};
use super::super::links::LINKS_MAX;
use super::super::received::Received;
use super::{Follower, Output};
use crate::source::SourceEvent;

impl Follower {
    pub(super) fn greet(&mut self, link: LinkId) {
        // One that may lack MACs has to come again.
        let held = self.tables.iter().filter(|(_, table)| table.whole).map(|(name, table)| Held {
            logical_switch: name.clone(),
            term: table.term,
            version: table.version,
        });
        let (name, term) = (self.device.name.clone(), self.obeyed);
        let hello = FromVtep::Hello { protocol: PROTOCOL, name, term, tables: held.collect() };
        self.conversations.insert(link, Conversation::new(hello));
    }

    pub(super) fn disconnected(&mut self, link: LinkId, reason: String, output: &mut Output) {
        let gone = self.conversations.remove(&link);
        if gone.is_some_and(|gone| gone.stage == Stage::Serving) {
            self.tables.values_mut().for_each(Received::interrupt);
        }
        if !self.is_open() {
            self.emit(SourceEvent::Lost { reason }, output);
        }
    }

    pub(super) fn message(&mut self, link: LinkId, message: ToVtep, now: Instant, output: &mut Output) {
        let Some(stage) = self.conversations.get(&link).map(|one| one.stage) else { return };
        match (stage, message) {
            (_, ToVtep::Heartbeat { .. }) | (Stage::Serving, ToVtep::NoChange { .. }) => {}
            (_, ToVtep::Welcome { protocol, name, term, elected }) => {
                if stage == Stage::Serving && term <= self.obeyed {
                    output.end(link, "the controller said welcome twice");
                } else if let Some(refused) = self.refuses(protocol, &name, term) {
                    self.refused += u64::from(term < self.obeyed);
                    output.end(link, refused);
                } else {
                    self.elected = elected;
                    self.welcome(link, name, term, output);
                }
            }
            (_, ToVtep::Standby { protocol, name, .. }) if protocol != PROTOCOL => {
                output
                    .end(link, format!("controller {name} speaks protocol {protocol}; expected {PROTOCOL}"));
            }
            (_, ToVtep::Standby { name, server, .. }) => self.stand_by(link, &name, server, output),
            (Stage::Serving, ToVtep::Outline(outline)) => self.outline(outline, output),
            (Stage::Serving, ToVtep::Table(update)) => self.table(link, update, now, output),
            (Stage::Greeted, _) => output.end(link, "the controller's first message is no welcome"),
            // Said before it knew that another one serves us.
            (Stage::Standby, ToVtep::Outline(_) | ToVtep::Table(_)) => self.refused += 1,
            (Stage::Standby, _) => {}
        }
    }

    fn refuses(&self, protocol: u32, name: &ControllerName, term: Term) -> Option<String> {
        if protocol != PROTOCOL {
            return Some(format!("controller {name} speaks protocol {protocol}; expected {PROTOCOL}"));
        }
        let obeyed = self.obeyed;
        let (found, expected) = (term.0, obeyed.0);
        (term < obeyed).then(|| {
            format!("controller {name} has term {found}; expected at least {expected}, which was obeyed")
        })
    }

    fn welcome(&mut self, link: LinkId, name: ControllerName, term: Term, output: &mut Output) {
        // Whoever served us until now was told nothing of it yet.
        for other in self.conversations.values_mut().filter(|other| other.stage == Stage::Serving) {
            other.stage = Stage::Standby;
        }
        self.tables.values_mut().for_each(Received::interrupt);
        let Some(conversation) = self.conversations.get_mut(&link) else { return };
        conversation.stage = Stage::Serving;
        conversation.name = Some(name.clone());
        conversation.obeys(term);
        conversation.applied(self.applied.keys().cloned());
        self.sessions += 1;
        self.obeyed = term;
        self.controller = Some(name.clone());
        self.emit(SourceEvent::Obeys { controller: name, term }, output);
    }

    fn stand_by(
        &mut self,
        link: LinkId,
        name: &ControllerName,
        server: Option<(ControllerName, Term)>,
        output: &mut Output,
    ) {
        let whole = self.tables.iter().filter(|(_, table)| table.whole).map(|(name, _)| name.clone());
        let whole: Vec<_> = whole.collect();
        let Some(conversation) = self.conversations.get_mut(&link) else { return };
        let was_serving = std::mem::replace(&mut conversation.stage, Stage::Standby) == Stage::Serving;
        conversation.name = Some(name.clone());
        conversation.applied(whole);
        if was_serving {
            self.tables.values_mut().for_each(Received::interrupt);
            self.emit(SourceEvent::Lost { reason: format!("controller {name} serves us no more") }, output);
        }
        let Some((server, term)) = server else { return };
        let is_there = self.controllers().any(|name| *name == server);
        let sought = (!is_there).then(|| (server.clone(), term));
        output.seek = !is_there && self.sought != sought;
        self.sought = sought;
        match self.serving() {
            // It does not know that its time is over, or cannot say so.
            Some(serving) if term > self.obeyed && !is_there => {
                output.end(serving, format!("controller {server} serves us by term {}", term.0));
            }
            None if !is_there && self.conversations.len() >= LINKS_MAX => {
                output.end(link, format!("controller {server} serves us, which is looked for"));
            }
            _ => {}
        }
    }
}
