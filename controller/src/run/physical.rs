//! The task that owns the physical controller's core: events in, one at a time, actions out. It waits for nobody.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};
use vtep_api::{ControllerName, FromLogical, FromPhysical, FromVtep, Term, ToVtep, VtepName};

use super::clock::Clock;
use super::outbox::Outbox;
use super::sessions::Sessions;
use super::{Served, notice, tick};
use crate::cluster::{Heard, Late};
use crate::control::{Errand, PhysicalErrand};
use crate::physical::{Action, Event, Physical, Reigns, SessionId, Start};
use crate::record::Recorder;
use crate::tor::Masteries;

/// What the sessions of VTEPs and logical controllers bring.
#[derive(Debug)]
pub(crate) enum Input {
    /// Its `Hello` follows.
    Attached {
        vtep: VtepName,
        session: SessionId,
        outbox: Outbox<ToVtep>,
    },
    FromVtep {
        vtep: VtepName,
        session: SessionId,
        message: FromVtep,
    },
    VtepTaken {
        vtep: VtepName,
        session: SessionId,
        messages: u32,
    },
    VtepLeft {
        vtep: VtepName,
        session: SessionId,
    },
    Reigns(Reigns),
    /// By an election, the term of a logical controller that is about to join.
    Elected {
        peer: ControllerName,
        term: Term,
    },
    Joined {
        peer: ControllerName,
        session: SessionId,
        outbox: Outbox<FromPhysical>,
    },
    Message {
        peer: ControllerName,
        session: SessionId,
        message: FromLogical,
    },
    Taken {
        peer: ControllerName,
        session: SessionId,
        messages: u32,
    },
    Left {
        peer: ControllerName,
        session: SessionId,
    },
}

/// Where it is elected which VTEPs are served.
#[derive(Clone)]
pub(super) struct Elections {
    /// Whom we may speak to as a controller.
    pub(super) masteries: watch::Receiver<Masteries>,
    /// Terms that VTEPs obeyed.
    pub(super) heard: Heard,
    pub(super) late: Late,
}

pub(super) struct Task {
    core: Physical,
    clock: Clock,
    vteps: Sessions<VtepName, ToVtep>,
    peers: Sessions<ControllerName, FromPhysical>,
    served: watch::Sender<Served>,
    recorder: Option<Recorder>,
    elections: Option<Elections>,
    /// Sessions that ended in the present step, for what we say there may be another's to say.
    late: Vec<SessionId>,
    actions: Vec<Action>,
}

impl Task {
    pub(super) fn new(
        start: Start,
        clock: Clock,
        served: watch::Sender<Served>,
        recorder: Option<Recorder>,
        elections: Option<Elections>,
    ) -> Self {
        let now = clock.now();
        if let Some(recorder) = &recorder {
            recorder.physical_start(&start, now);
        }
        let core = Physical::new(start, now);
        let (vteps, peers) = (Sessions::new(), Sessions::new());
        let (late, actions) = (Vec::new(), Vec::new());
        Self { core, clock, vteps, peers, served, recorder, elections, late, actions }
    }

    /// Until no session can bring anything.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut errands: mpsc::Receiver<PhysicalErrand>,
    ) {
        let mut tick = tick();
        loop {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.input(input),
                    None => return,
                },
                _ = tick.tick() => self.step(Event::Tick),
                Some(errand) = errands.recv() => match errand {
                    Errand::Look(look) => look(&self.core),
                    Errand::Event(event) => self.step(event),
                },
            }
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Attached { vtep, session, outbox } => self.vteps.open(&vtep, session, outbox),
            Input::FromVtep { vtep, session, message } if self.vteps.is_open(&vtep, session) => {
                if let (Some(elections), FromVtep::Hello { term, tables, .. }) = (&self.elections, &message) {
                    let obeyed = tables.iter().map(|held| held.term).chain([*term]).max();
                    elections.heard.note(format!("VTEP {vtep}"), obeyed.unwrap_or_default());
                }
                self.step(Event::Vtep { vtep, session, message });
            }
            Input::VtepTaken { vtep, session, messages } if self.vteps.is_open(&vtep, session) => {
                self.step(Event::VtepTaken { vtep, session, messages });
            }
            Input::VtepLeft { vtep, session } if self.vteps.left(&vtep, session) => {
                self.step(Event::VtepDown { vtep, session });
            }
            Input::Reigns(reigns) => self.step(Event::Reigns(reigns)),
            Input::Elected { peer, term } => self.step(Event::Elected { peer, term }),
            Input::Joined { peer, session, outbox } => {
                self.peers.open(&peer, session, outbox);
                self.step(Event::Connected { peer });
            }
            Input::Message { peer, session, message } if self.peers.is_open(&peer, session) => {
                self.step(Event::Message { peer, message });
            }
            Input::Taken { peer, session, messages } if self.peers.is_open(&peer, session) => {
                self.step(Event::Taken { peer, messages });
            }
            Input::Left { peer, session } if self.peers.left(&peer, session) => {
                self.step(Event::Disconnected { peer });
            }
            // Of a session that was replaced or ended.
            _ => {}
        }
    }

    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.clock.now();
            if let Some(recorder) = &self.recorder {
                recorder.physical(&event, now);
            }
            let mut actions = std::mem::take(&mut self.actions);
            self.core.step(event, now, &mut actions);
            for action in actions.drain(..) {
                events.extend(self.carry_out(action));
            }
            self.actions = actions;
        }
        self.late.clear();
    }

    /// A process that was stopped for long may not have heard yet that its time is over.
    fn may_tell(&self, vtep: &VtepName, message: &ToVtep) -> bool {
        let told_by_term = |_: &&Elections| !matches!(message, ToVtep::Standby { .. });
        let Some(elections) = self.elections.as_ref().filter(told_by_term) else { return true };
        let may = elections.masteries.borrow().get(vtep).is_some_and(|mastery| mastery.tenure.holds());
        if !may {
            elections.late.withhold();
        }
        may
    }

    /// Returns what the core has to be told of it.
    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::ToVtep { vtep, session, message } => {
                if !self.vteps.is_open(&vtep, session) {
                    if self.late.contains(&session) {
                        self.may_tell(&vtep, &message);
                    }
                    return None;
                }
                if !self.may_tell(&vtep, &message) {
                    self.late.push(session);
                    self.vteps.end(&vtep, "another physical controller may serve it".to_owned());
                    return Some(Event::VtepDown { vtep, session });
                }
                (!self.vteps.send(&vtep, message)).then_some(Event::VtepDown { vtep, session })
            }
            Action::CloseVtep { vtep, session, reason } => {
                if !self.vteps.is_open(&vtep, session) {
                    return None;
                }
                self.vteps.end(&vtep, reason);
                Some(Event::VtepDown { vtep, session })
            }
            Action::Send { peer, message } => {
                (!self.peers.send(&peer, message)).then_some(Event::Disconnected { peer })
            }
            Action::Close { peer, reason } => {
                self.peers.end(&peer, reason);
                Some(Event::Disconnected { peer })
            }
            Action::Serve(served) => {
                self.served.send_replace(served);
                None
            }
            Action::Notice(notice) => {
                notice::log(&notice);
                None
            }
        }
    }
}
