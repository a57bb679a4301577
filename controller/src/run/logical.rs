//! The task that owns the logical controller's core: events in, one at a time, actions out. It waits for nobody.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use vtep_api::{ControllerName, FromLogical, FromPhysical};

use super::clock::Clock;
use super::durable::Keeper;
use super::outbox::Outbox;
use super::sessions::Sessions;
use super::{notice, tick};
use crate::Now;
use crate::cluster::{Heard, Late, Tenure};
use crate::control::{Errand, LogicalErrand, Order};
use crate::logical::{Action, Event, Logical, OperateError, Operation, Start};
use crate::physical::SessionId;
use crate::record::Recorder;

/// What the sessions of physical controllers bring.
#[derive(Debug)]
pub(crate) enum Input {
    Joined { peer: ControllerName, session: SessionId, outbox: Outbox<FromLogical> },
    Message { peer: ControllerName, session: SessionId, message: Box<FromPhysical> },
    Taken { peer: ControllerName, session: SessionId, messages: u32 },
    Left { peer: ControllerName, session: SessionId },
}

enum Next {
    Input(Input),
    Tick,
    Errand(LogicalErrand),
}

/// Where it is by election that we are the logical controller.
pub(super) struct Reign {
    /// Beyond it the office may be another's.
    pub(super) tenure: Tenure,
    /// Terms of tables that physical controllers obeyed.
    pub(super) heard: Heard,
    pub(super) late: Late,
}

pub(super) struct Task {
    core: Logical,
    clock: Clock,
    peers: Sessions<ControllerName, FromLogical>,
    durable: Keeper,
    recorder: Option<Recorder>,
    reign: Option<Reign>,
    /// The reign is over: what would have gone out is counted.
    is_over: bool,
    actions: Vec<Action>,
}

impl Task {
    pub(super) fn new(
        start: Start,
        clock: Clock,
        durable: Keeper,
        recorder: Option<Recorder>,
        reign: Option<Reign>,
    ) -> Self {
        let now = clock.now();
        if let Some(recorder) = &recorder {
            recorder.logical_start(&start, now);
        }
        let core = Logical::new(start, now);
        let (peers, actions) = (Sessions::new(), Vec::new());
        Self { core, clock, peers, durable, recorder, reign, is_over: false, actions }
    }

    /// Until no session can bring anything, or its reign is over.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut errands: mpsc::Receiver<LogicalErrand>,
    ) {
        let mut tick = tick();
        loop {
            let next = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => Next::Input(input),
                    None => return,
                },
                _ = tick.tick() => Next::Tick,
                Some(errand) = errands.recv() => Next::Errand(errand),
            };
            self.is_over = self.reign.as_ref().is_some_and(|reign| !reign.tenure.holds());
            self.take(next);
            if self.is_over {
                return self.take_what_waits(inputs, errands);
            }
        }
    }

    /// What came before the reign was seen to be over.
    fn take_what_waits(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut errands: mpsc::Receiver<LogicalErrand>,
    ) {
        inputs.close();
        errands.close();
        while let Ok(input) = inputs.try_recv() {
            self.take(Next::Input(input));
        }
        while let Ok(errand) = errands.try_recv() {
            self.take(Next::Errand(errand));
        }
    }

    fn take(&mut self, next: Next) {
        match next {
            Next::Input(input) => self.input(input),
            Next::Tick => self.step(Event::Tick),
            // Who asks hears that the reign is over, and asks whoever is elected.
            Next::Errand(Errand::Look(_)) if self.is_over => {}
            Next::Errand(errand) => self.errand(errand),
        }
    }

    fn errand(&mut self, errand: LogicalErrand) {
        match errand {
            Errand::Look(look) => look(&self.core),
            Errand::Event(Order::Declare(declared)) => {
                self.step(Event::Declared(declared));
                // Whoever asks next may rely on it.
                if !self.is_over {
                    self.durable.flush();
                }
            }
            Errand::Event(Order::Operate(operation, reply)) => {
                let result = self.operate(operation);
                if self.is_over {
                    return;
                }
                self.durable.flush();
                // Who asked may have gone.
                reply.send(result).ok();
            }
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Joined { peer, session, outbox } => {
                self.peers.open(&peer, session, outbox);
                self.step(Event::Connected { peer });
            }
            Input::Message { peer, session, message } if self.peers.is_open(&peer, session) => {
                if let (Some(reign), FromPhysical::Hello { tables, .. }) = (&self.reign, &*message) {
                    let obeyed = tables.iter().map(|held| held.term).max();
                    reign.heard.note(format!("physical controller {peer}"), obeyed.unwrap_or_default());
                }
                self.step(Event::Message { peer, message: *message });
            }
            Input::Taken { peer, session, messages } if self.peers.is_open(&peer, session) => {
                self.step(Event::Taken { peer, messages });
            }
            Input::Left { peer, session } if self.peers.left(&peer, session) => {
                self.step(Event::Disconnected { peer });
            }
            // Of a session that was replaced or ended.
            Input::Message { .. } | Input::Taken { .. } | Input::Left { .. } => {}
        }
    }

    fn step(&mut self, event: Event) {
        let now = self.record(&event);
        let mut actions = std::mem::take(&mut self.actions);
        self.core.step(event, now, &mut actions);
        self.carry_all_out(actions);
    }

    fn operate(&mut self, operation: Operation) -> Result<(), OperateError> {
        let now = self.record(&Event::Operate(operation.clone()));
        let mut actions = std::mem::take(&mut self.actions);
        let result = self.core.operate(operation, now, &mut actions);
        self.carry_all_out(actions);
        result
    }

    fn record(&self, event: &Event) -> Now {
        let now = self.clock.now();
        if let Some(recorder) = &self.recorder {
            recorder.logical(event, now);
        }
        now
    }

    /// And what comes of it.
    fn carry_all_out(&mut self, mut actions: Vec<Action>) {
        let mut events = VecDeque::new();
        loop {
            for action in actions.drain(..) {
                events.extend(self.carry_out(action));
            }
            let Some(event) = events.pop_front() else { break };
            let now = self.record(&event);
            self.core.step(event, now, &mut actions);
        }
        self.actions = actions;
    }

    /// Returns what the core has to be told of it.
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        if let Some(reign) = self.reign.as_ref().filter(|_| self.is_over) {
            let goes_out = match &action {
                Action::Send { peer, .. } => self.peers.has(peer),
                Action::Persist(_) | Action::Remember { .. } => true,
                Action::Close { .. } | Action::Notice(_) => false,
            };
            if goes_out {
                reign.late.withhold();
            }
            return None;
        }
        match action {
            Action::Send { peer, message } => {
                (!self.peers.send(&peer, message)).then_some(Event::Disconnected { peer })
            }
            Action::Close { peer, reason } => {
                self.peers.end(&peer, reason);
                Some(Event::Disconnected { peer })
            }
            Action::Persist(durable) => {
                self.durable.keep(durable);
                None
            }
            Action::Remember { logical_switch, masters } => {
                self.durable.remember(&logical_switch, masters);
                None
            }
            Action::Notice(notice) => {
                notice::log(&notice);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
