//! What is due next happens.

use vtep_api::FromVtep;
use vtep_controller::{Now, logical, physical};

use super::tor::Connection;
use super::world::{EPOCH_MS, KEEP_MS, LinkId, Node, TICK_MS, What, World};
use crate::link::End;
use crate::observer::Verdict;

impl World {
    pub(super) fn after(&mut self, delay: u64, what: What) {
        self.due.push(self.now + delay, what);
    }

    pub(super) fn run_until(&mut self, until: u64) -> Verdict {
        while let Some(due) = self.due.pop(until) {
            self.now = due.at;
            match Self::whose(&due.what).map(|physical| self.nodes[physical].stopped_until) {
                // A process that is stopped finds it when it goes on, in its old place among what comes just then.
                Some(goes_on) if goes_on > due.at => self.due.put_off(due, goes_on),
                _ => self.happens(due.what)?,
            }
        }
        self.now = until;
        Ok(())
    }

    /// The physical controller in whose process it happens.
    fn whose(what: &What) -> Option<usize> {
        match what {
            What::Tick { physical, .. }
            | What::Keep { physical, .. }
            | What::Look { physical, .. }
            | What::Hear { physical, .. }
            | What::Answer { connection: Connection { physical, .. }, .. }
            | What::AskForLock { connection: Connection { physical, .. }, .. } => Some(*physical),
            What::Arrives { link, to: end, .. }
            | What::Opens { link, end, .. }
            | What::Closes { link, end, .. }
            | What::Taken { link, end, .. } => match (link, end) {
                (LinkId::Peer { physical, .. }, End::Client)
                | (LinkId::Vtep { physical, .. }, End::Server) => Some(*physical),
                _ => None,
            },
            What::Connect(_)
            | What::Beat { .. }
            | What::LogicalTick { .. }
            | What::StartLogical(_)
            | What::EndFormer { .. }
            | What::Installed { .. }
            | What::Request { .. }
            | What::Start(_) => None,
        }
    }

    fn happens(&mut self, what: What) -> Verdict {
        let lives = |node: &Node, life: u64| node.life == life && node.core.is_some();
        match what {
            What::Arrives { link, generation, to, message } => self.arrives(link, generation, to, *message),
            What::Connect(link) => {
                self.link(link).opening = false;
                self.connects(link);
                Ok(())
            }
            What::Opens { link, generation, end } => self.opens(link, generation, end),
            What::Closes { link, generation, end } => self.closes(link, generation, end),
            What::Taken { link, generation, end } => self.taken(link, generation, end),
            What::StartLogical(shard) => {
                self.start_logical(shard);
                Ok(())
            }
            What::EndFormer { shard, term } => {
                self.end_former(shard, term);
                Ok(())
            }
            What::Installed { vtep, reached } => {
                self.installed(vtep, reached);
                Ok(())
            }
            What::Request { vtep, connection, request } => self.requested(vtep, connection, *request),
            What::Answer { vtep, connection, life, answer }
                if lives(&self.nodes[connection.physical], life) =>
            {
                self.answered(vtep, connection, &answer);
                Ok(())
            }
            What::AskForLock { vtep, connection, life } if lives(&self.nodes[connection.physical], life) => {
                self.asks_again(vtep, connection);
                Ok(())
            }
            What::Beat { vtep } => {
                self.after(1000, What::Beat { vtep });
                self.tell_all(vtep, &FromVtep::Heartbeat { wall_ms: EPOCH_MS + self.now.cast_signed() });
                Ok(())
            }
            What::LogicalTick { shard, term } if self.reigns(shard, term).is_some() => {
                self.after(TICK_MS, What::LogicalTick { shard, term });
                self.step_logical(shard, term, logical::Event::Tick)
            }
            What::Start(physical) => {
                self.start(physical);
                Ok(())
            }
            What::Tick { physical, life } if lives(&self.nodes[physical], life) => {
                self.after(TICK_MS, What::Tick { physical, life });
                self.mind_tenure(physical)?;
                self.step(physical, physical::Event::Tick)
            }
            What::Keep { physical, life } if lives(&self.nodes[physical], life) => {
                self.after(KEEP_MS, What::Keep { physical, life });
                self.keep(physical);
                Ok(())
            }
            What::Look { physical, life } if lives(&self.nodes[physical], life) => {
                let next = self.random.between(50, 1000);
                self.after(next, What::Look { physical, life });
                self.look(physical, life);
                Ok(())
            }
            What::Hear { physical, life, reigns, elected } if lives(&self.nodes[physical], life) => {
                self.hear(physical, reigns, &elected)
            }
            What::LogicalTick { .. }
            | What::Answer { .. }
            | What::AskForLock { .. }
            | What::Tick { .. }
            | What::Keep { .. }
            | What::Look { .. }
            | What::Hear { .. } => Ok(()),
        }
    }

    pub(super) fn now_since(&self, started: u64) -> Now {
        Now { mono_ms: self.now - started, wall_ms: EPOCH_MS + self.now.cast_signed() }
    }
}
