//! A session in asynchronous mode (RFC 5880 §6), both ends active.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::packet::{Diagnostic, Packet, State};
use crate::timing::{Parameters, Random, detection, jittered, slower};

/// While a session is not Up, nobody sends faster than this (RFC 5880 §6.8.3).
const SLOW_US: u32 = 1_000_000;
/// While a session is not Up, what a packet said is forgotten after this at the latest, whatever the packet said of its
/// sender's pace: a forged one must not keep two ends apart for hours.
const FORGET: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy)]
pub enum Event {
    Received(Packet),
    /// Somebody else watched meanwhile: packets came in time, of which this was the last, at that time.
    Sustained(Packet, Instant),
    /// [`Session::due`] has come.
    Tick,
    Configure(Parameters),
    /// The operator's word: no session, for no fault of the path.
    Disable,
    Enable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Send(Packet),
    /// Tells of [`Session::state`], which was another before.
    Changed {
        from: State,
        to: State,
        diagnostic: Diagnostic,
    },
    Refused(Refusal),
}

/// Why a well-formed packet changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("it is for session {found:#x}, ours is {ours:#x}")]
    OtherSession { found: u32, ours: u32 },
    #[error("the peer asks for demand mode, which we do not do")]
    Demand,
    #[error("our end is administratively down")]
    Disabled,
}

/// What is known of a session that goes on after the process that ran it was replaced.
#[derive(Debug, Clone, Copy)]
pub struct Adopted {
    /// What we last sent.
    pub sent: Packet,
    /// What the peer last sent, and when.
    pub heard: Packet,
    pub heard_at: Instant,
}

#[derive(Debug, Clone)]
pub struct Session {
    parameters: Parameters,
    state: State,
    diagnostic: Diagnostic,
    discriminator: u32,
    remote: Remote,
    /// Intervals in force, which follow `parameters` by the rules of RFC 5880 §6.8.3.
    tx_us: u32,
    rx_us: u32,
    poll: Poll,
    expires: Option<Instant>,
    sends: Option<Instant>,
    random: Random,
}

/// What the peer said last.
#[derive(Debug, Clone, Copy)]
struct Remote {
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    desired_min_tx_us: u32,
    required_min_rx_us: u32,
    detect_mult: u8,
}

impl Remote {
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        desired_min_tx_us: 0,
        required_min_rx_us: 1,
        detect_mult: 0,
    };
}

/// A poll sequence (RFC 5880 §6.5). One that has begun goes on until its answer comes; wishes that came meanwhile need
/// one of their own, for the answer may be to a packet from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    Idle,
    Asking,
    AskingAgainAfter,
}

impl Session {
    /// `discriminator`: not zero, unique among our sessions, and not to be guessed.
    pub fn new(parameters: Parameters, discriminator: u32, seed: u64, now: Instant) -> Self {
        let mut session = Self {
            parameters,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            discriminator,
            remote: Remote::UNKNOWN,
            tx_us: slower(SLOW_US, parameters.desired_min_tx_us()),
            rx_us: parameters.required_min_rx_us(),
            poll: Poll::Idle,
            expires: None,
            sends: None,
            random: Random::new(seed),
        };
        // Many sessions that start together do not send together.
        let soon = jittered(SLOW_US / 4, 3, session.random.next());
        session.sends = Some(now + soon / 4);
        session
    }

    /// A session that is Up, and went on while nobody here looked after it. Whether it still lives, the next tick says.
    pub fn adopt(parameters: Parameters, adopted: &Adopted, seed: u64, now: Instant) -> Self {
        let Adopted { sent, heard, heard_at } = *adopted;
        let mut session = Self::new(parameters, sent.my_discriminator, seed, now);
        session.state = State::Up;
        session.tx_us = sent.desired_min_tx_us;
        session.rx_us = sent.required_min_rx_us;
        session.hear(&heard);
        session.expect(heard_at);
        session.sends = Some(now);
        session.follow_parameters();
        session
    }

    pub const fn state(&self) -> State {
        self.state
    }

    pub const fn remote_state(&self) -> State {
        self.remote.state
    }

    pub const fn remote_diagnostic(&self) -> Diagnostic {
        self.remote.diagnostic
    }

    /// The session is up, and the peer asks to be spared all the same.
    pub fn is_path_down(&self) -> bool {
        let path = [Diagnostic::CONCATENATED_PATH_DOWN, Diagnostic::REVERSE_CONCATENATED_PATH_DOWN];
        self.state == State::Up && path.contains(&self.remote.diagnostic)
    }

    pub const fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    pub const fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// 0: not known, or not heard for a detection time.
    pub const fn remote_discriminator(&self) -> u32 {
        self.remote.discriminator
    }

    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What the peer is held to now, which a poll sequence may be about to lower.
    pub const fn required_min_rx_us(&self) -> u32 {
        self.rx_us
    }

    /// At which we send, before jitter. `None`: the peer wants nothing.
    pub fn transmit_interval(&self) -> Option<Duration> {
        (self.remote.required_min_rx_us != 0).then(|| Duration::from_micros(u64::from(self.interval_us())))
    }

    /// How long nothing may be heard. `None`: the peer is not known.
    pub fn detection_time(&self) -> Option<Duration> {
        (self.remote.detect_mult != 0)
            .then(|| detection(self.remote.detect_mult, slower(self.rx_us, self.remote.desired_min_tx_us)))
    }

    pub const fn is_polling(&self) -> bool {
        !matches!(self.poll, Poll::Idle)
    }

    /// When the next [`Event::Tick`] is wanted.
    pub fn due(&self) -> Option<Instant> {
        match (self.sends, self.expires) {
            (Some(sends), Some(expires)) => Some(sends.min(expires)),
            (sends, expires) => sends.or(expires),
        }
    }

    /// When the peer's silence ends the session.
    pub const fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// What we would send now.
    pub fn packet(&self) -> Packet {
        let path_down = self.state == State::Up && self.parameters.is_concatenated_path_down();
        Packet {
            diagnostic: if path_down { Diagnostic::CONCATENATED_PATH_DOWN } else { self.diagnostic },
            state: self.state,
            poll: self.is_polling(),
            is_final: false,
            control_plane_independent: self.parameters.is_control_plane_independent(),
            demand: false,
            detect_mult: self.parameters.detect_mult(),
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: self.desired_min_tx_us(),
            required_min_rx_us: self.parameters.required_min_rx_us(),
            required_min_echo_rx_us: 0,
        }
    }

    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Sustained(packet, at) if self.state == State::Up => {
                self.hear(&packet);
                self.expect(at);
            }
            Event::Sustained(..) => {}
            _ => self.expire(now, &mut actions),
        }
        match event {
            Event::Received(packet) => self.receive(&packet, now, &mut actions),
            Event::Configure(parameters) => {
                self.parameters = parameters;
                self.follow_parameters();
            }
            Event::Disable => {
                self.forget();
                self.enter(State::AdminDown, Diagnostic::ADMIN_DOWN, now, &mut actions);
            }
            Event::Enable if self.state == State::AdminDown => {
                self.enter(State::Down, Diagnostic::NONE, now, &mut actions);
            }
            Event::Tick | Event::Enable | Event::Sustained(..) => {}
        }
        self.transmit(now, &mut actions);
        actions
    }

    /// RFC 5880 §6.8.6, from where a session was found.
    fn receive(&mut self, packet: &Packet, now: Instant, actions: &mut Vec<Action>) {
        let refusal = if packet.your_discriminator != 0 && packet.your_discriminator != self.discriminator {
            Some(Refusal::OtherSession { found: packet.your_discriminator, ours: self.discriminator })
        } else if packet.demand {
            Some(Refusal::Demand)
        } else if self.state == State::AdminDown {
            Some(Refusal::Disabled)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            actions.push(Action::Refused(refusal));
            return;
        }
        if packet.is_final {
            self.end_poll();
        }
        self.hear(packet);
        match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.enter(State::Down, Diagnostic::NEIGHBOUR_DOWN, now, actions);
            }
            (State::Down, State::Down) => self.enter(State::Init, self.diagnostic, now, actions),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, Diagnostic::NONE, now, actions);
            }
            _ => {}
        }
        self.expect(now);
        self.hasten(now);
        if packet.poll {
            actions.push(Action::Send(Packet { poll: false, is_final: true, ..self.packet() }));
        }
    }

    fn hear(&mut self, packet: &Packet) {
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            desired_min_tx_us: packet.desired_min_tx_us,
            required_min_rx_us: packet.required_min_rx_us,
            detect_mult: packet.detect_mult,
        };
    }

    fn expect(&mut self, heard_at: Instant) {
        let most = if self.state == State::Up { Duration::MAX } else { FORGET };
        self.expires = self.detection_time().map(|time| heard_at + time.min(most));
    }

    fn enter(&mut self, to: State, diagnostic: Diagnostic, now: Instant, actions: &mut Vec<Action>) {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        if from == to {
            return;
        }
        if to == State::Up || from == State::Up {
            self.follow_parameters();
        }
        // A change is told at once: it is in no detection time's interest to wait.
        self.sends = Some(now);
        actions.push(Action::Changed { from, to, diagnostic });
    }

    fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.expires.is_none_or(|expires| now < expires) {
            return;
        }
        self.forget();
        if matches!(self.state, State::Init | State::Up) {
            self.enter(State::Down, Diagnostic::TIME_EXPIRED, now, actions);
        }
    }

    fn forget(&mut self) {
        self.expires = None;
        self.remote = Remote::UNKNOWN;
        self.poll = Poll::Idle;
    }

    fn transmit(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.remote.required_min_rx_us == 0 {
            self.sends = None;
            return;
        }
        if self.sends.is_some_and(|sends| now < sends) {
            return;
        }
        actions.push(Action::Send(self.packet()));
        self.sends = Some(now + self.jitter());
    }

    /// The interval may have become shorter than the wait that was begun with the old one.
    fn hasten(&mut self, now: Instant) {
        let latest = now + Duration::from_micros(u64::from(self.interval_us()));
        self.sends = Some(self.sends.map_or(latest, |sends| sends.min(latest)));
    }

    fn jitter(&mut self) -> Duration {
        jittered(self.interval_us(), self.parameters.detect_mult(), self.random.next())
    }

    fn interval_us(&self) -> u32 {
        slower(self.tx_us, self.remote.required_min_rx_us)
    }

    fn desired_min_tx_us(&self) -> u32 {
        let wanted = self.parameters.desired_min_tx_us();
        if self.state == State::Up { wanted } else { slower(SLOW_US, wanted) }
    }

    /// RFC 5880 §6.8.3: every change is polled; while Up, sending slower and listening more strictly wait for the answer.
    fn follow_parameters(&mut self) {
        let (tx, rx) = (self.desired_min_tx_us(), self.parameters.required_min_rx_us());
        if self.state != State::Up {
            (self.tx_us, self.rx_us) = (tx, rx);
            self.poll = Poll::Idle;
            return;
        }
        let changed = tx != self.tx_us || rx != self.rx_us;
        self.tx_us = self.tx_us.min(tx);
        self.rx_us = self.rx_us.max(rx);
        if changed {
            self.poll = if self.is_polling() { Poll::AskingAgainAfter } else { Poll::Asking };
        }
    }

    fn end_poll(&mut self) {
        match self.poll {
            Poll::Idle => {}
            Poll::AskingAgainAfter => self.poll = Poll::Asking,
            Poll::Asking => {
                self.poll = Poll::Idle;
                (self.tx_us, self.rx_us) = (self.desired_min_tx_us(), self.parameters.required_min_rx_us());
            }
        }
    }
}
