//! The session's rules, by example and by two of them against each other over a link that loses, delays and forges.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use vtep_bfd::{Action, Adopted, Diagnostic, Event, Packet, Parameters, Refusal, Session, State};

const MS: Duration = Duration::from_millis(1);

fn parameters(tx_ms: u32, rx_ms: u32, mult: u8) -> Parameters {
    Parameters::new(MS * tx_ms, MS * rx_ms, mult).expect("they are in range")
}

/// The peer at its fastest, in a state.
fn peer(state: State, your_discriminator: u32) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 99,
        your_discriminator,
        desired_min_tx_us: 50_000,
        required_min_rx_us: 50_000,
        required_min_echo_rx_us: 0,
    }
}

fn sent(actions: &[Action]) -> Vec<Packet> {
    actions
        .iter()
        .filter_map(|action| if let Action::Send(packet) = action { Some(*packet) } else { None })
        .collect()
}

/// Up at 50 ms × 3 on both sides, and polled for its change from the slow start.
fn up(start: Instant) -> Session {
    let mut session = Session::new(parameters(50, 50, 3), 7, 1, start);
    session.step(Event::Received(peer(State::Down, 0)), start);
    session.step(Event::Received(peer(State::Init, 7)), start);
    session.step(Event::Received(Packet { is_final: true, ..peer(State::Up, 7) }), start);
    assert_eq!((session.state(), session.is_polling()), (State::Up, false));
    session
}

#[test]
fn a_handshake_goes_from_down_by_init_to_up() {
    let start = Instant::now();
    let mut session = Session::new(parameters(50, 50, 3), 7, 1, start);
    session.step(Event::Received(peer(State::Up, 7)), start);
    assert_eq!(session.state(), State::Down, "a peer that is Up must come down first");
    session.step(Event::Received(peer(State::Down, 0)), start);
    assert_eq!(session.state(), State::Init);
    session.step(Event::Received(peer(State::Down, 7)), start);
    assert_eq!(session.state(), State::Init, "the peer has not heard us in Init");
    let actions = session.step(Event::Received(peer(State::Init, 7)), start);
    assert_eq!(session.state(), State::Up);
    let first = sent(&actions)[0];
    assert!(first.poll && first.desired_min_tx_us == 50_000, "the fast interval is polled: {first:?}");
}

#[test]
fn the_detection_time_is_the_remote_multiplier_times_the_slower_interval() {
    let start = Instant::now();
    let mut session = up(start);
    assert_eq!(session.detection_time(), Some(MS * 150));
    session.step(
        Event::Received(Packet { detect_mult: 5, desired_min_tx_us: 80_000, ..peer(State::Up, 7) }),
        start,
    );
    assert_eq!(session.detection_time(), Some(MS * 400));
    assert!(
        session.step(Event::Tick, start + MS * 399).iter().all(|action| matches!(action, Action::Send(_)))
    );
    let actions = session.step(Event::Tick, start + MS * 400);
    let down = Action::Changed { from: State::Up, to: State::Down, diagnostic: Diagnostic::TIME_EXPIRED };
    assert!(actions.contains(&down), "{actions:?}");
    assert_eq!(session.remote_discriminator(), 0, "RFC 5880 §6.8.1");
    assert!(sent(&actions)[0].desired_min_tx_us >= 1_000_000, "slow while not Up");
}

#[test]
fn a_poll_is_answered_at_once_and_never_polls_itself() {
    let start = Instant::now();
    let mut session = up(start);
    let actions = session.step(Event::Received(Packet { poll: true, ..peer(State::Up, 7) }), start);
    let answer = sent(&actions).into_iter().find(|packet| packet.is_final).expect("an answer");
    assert!(!answer.poll);
}

#[test]
fn slower_sending_and_stricter_listening_wait_for_the_polls_answer() {
    let start = Instant::now();
    let mut session = up(start);
    session.step(Event::Configure(parameters(200, 20, 3)), start);
    assert!(session.is_polling());
    assert_eq!(session.transmit_interval(), Some(MS * 50), "not slower yet");
    assert_eq!(session.required_min_rx_us(), 50_000, "not stricter yet");
    assert_eq!(session.packet().desired_min_tx_us, 200_000, "but told");
    session.step(Event::Received(Packet { is_final: true, ..peer(State::Up, 7) }), start);
    assert_eq!(session.transmit_interval(), Some(MS * 200));
    assert_eq!(session.required_min_rx_us(), 20_000);
    assert!(!session.is_polling());
}

#[test]
fn a_change_during_a_poll_gets_a_poll_of_its_own() {
    let start = Instant::now();
    let mut session = up(start);
    session.step(Event::Configure(parameters(200, 50, 3)), start);
    session.step(Event::Configure(parameters(300, 50, 3)), start);
    session.step(Event::Received(Packet { is_final: true, ..peer(State::Up, 7) }), start);
    assert!(session.is_polling(), "the answer may be to the first");
    assert_eq!(session.transmit_interval(), Some(MS * 50));
    session.step(Event::Received(Packet { is_final: true, ..peer(State::Up, 7) }), start);
    assert_eq!((session.is_polling(), session.transmit_interval()), (false, Some(MS * 300)));
}

#[test]
fn faster_sending_starts_at_once() {
    let start = Instant::now();
    let mut session = up(start);
    session.step(Event::Received(Packet { required_min_rx_us: 10_000, ..peer(State::Up, 7) }), start);
    session.step(Event::Configure(parameters(10, 50, 3)), start);
    assert_eq!(session.transmit_interval(), Some(MS * 10));
}

#[test]
fn admin_down_is_told_and_ends_the_session_on_both_sides() {
    let start = Instant::now();
    let mut session = up(start);
    let actions = session.step(Event::Disable, start);
    assert_eq!(sent(&actions)[0].state, State::AdminDown);
    let refused = session.step(Event::Received(peer(State::Down, 0)), start);
    assert_eq!(refused[0], Action::Refused(Refusal::Disabled));
    session.step(Event::Enable, start);
    assert_eq!(session.state(), State::Down);

    let mut other = up(start);
    other.step(Event::Received(peer(State::AdminDown, 7)), start);
    assert_eq!((other.state(), other.diagnostic()), (State::Down, Diagnostic::NEIGHBOUR_DOWN));
    assert_eq!(other.remote_state(), State::AdminDown, "why, its owner can see");
}

#[test]
fn what_is_not_for_us_or_asks_for_what_we_lack_is_refused_by_name() {
    let start = Instant::now();
    let mut session = up(start);
    let before = session.due();
    let actions = session.step(Event::Received(peer(State::Down, 8)), start);
    assert_eq!(actions[0], Action::Refused(Refusal::OtherSession { found: 8, ours: 7 }));
    let actions = session.step(Event::Received(Packet { demand: true, ..peer(State::Up, 7) }), start);
    assert_eq!(actions[0], Action::Refused(Refusal::Demand));
    assert_eq!((session.state(), session.due().map(|due| due >= start)), (State::Up, before.map(|_| true)));
}

#[test]
fn a_peer_that_wants_nothing_gets_nothing_periodic() {
    let start = Instant::now();
    let mut session = up(start);
    session.step(Event::Received(Packet { required_min_rx_us: 0, ..peer(State::Up, 7) }), start);
    assert!(sent(&session.step(Event::Tick, start + MS * 140)).is_empty());
    session.step(Event::Received(peer(State::Up, 7)), start + MS * 140);
    assert!(session.due().is_some_and(|due| due <= start + MS * 190), "and gets it again");
}

#[test]
fn an_adopted_session_is_up_and_expires_by_what_was_heard_before() {
    let start = Instant::now();
    let adopted = Adopted { sent: up(start).packet(), heard: peer(State::Up, 7), heard_at: start };
    let mut session = Session::adopt(parameters(50, 50, 3), &adopted, 5, start + MS * 100);
    assert_eq!((session.state(), session.discriminator()), (State::Up, 7));
    assert!(!session.is_polling(), "nothing has changed");
    session.step(Event::Tick, start + MS * 149);
    assert_eq!(session.state(), State::Up);
    session.step(Event::Tick, start + MS * 150);
    assert_eq!(session.state(), State::Down);

    let slower = Session::adopt(parameters(90, 50, 3), &adopted, 5, start);
    assert!(slower.is_polling(), "a new configuration is told");
    assert_eq!(slower.transmit_interval(), Some(MS * 50));
}

#[test]
fn packets_leave_between_three_quarters_and_the_whole_interval() {
    let start = Instant::now();
    let mut session = up(start);
    let (mut last, mut at) = (None::<Instant>, start);
    for _ in 0..400 {
        at = session.due().expect("it is due").max(at);
        session.step(Event::Received(peer(State::Up, 7)), at);
        if let Some(last) = last {
            let gap = at - last;
            assert!(gap >= Duration::from_micros(37_500) && gap <= MS * 50, "{gap:?}");
        }
        last = Some(at);
    }
}

/// A peer whose session ends by one lost packet must not wait a whole interval (RFC 5880 §6.8.7).
#[test]
fn with_a_multiplier_of_one_the_interval_is_always_shortened() {
    let start = Instant::now();
    let mut session = up(start);
    session.step(Event::Configure(parameters(50, 50, 1)), start);
    let (mut last, mut at) = (None::<Instant>, start);
    for _ in 0..400 {
        at = session.due().expect("it is due").max(at);
        session.step(Event::Received(peer(State::Up, 7)), at);
        if let Some(last) = last {
            assert!(at - last <= MS * 45, "{:?}", at - last);
        }
        last = Some(at);
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Time passes.
    Pass(u32),
    /// The link's next packet arrives, at A or at B; or it is lost.
    Deliver(bool),
    Lose(bool),
    /// Delivered, and kept to come again.
    Double(bool),
    Forge(bool, Packet),
    Configure(bool, u32, u32, u8),
    Disable(bool),
    Enable(bool),
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let small = prop_oneof![Just(0_u32), Just(1), Just(2), Just(99), any::<u32>()];
    (any::<[bool; 4]>(), 0_u8..4, any::<u8>(), [small.clone(), small.clone(), small.clone(), small])
        .prop_filter_map("a packet that parses", |(flags, state, mult, words)| {
            let mut bytes = [0; 24];
            bytes[0] = 0x20;
            bytes[1] =
                state << 6 | u8::from(flags[0]) << 5 | u8::from(flags[1]) << 4 | u8::from(flags[2]) << 1;
            (bytes[2], bytes[3]) = (mult, 24);
            for (bytes, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            Packet::parse(&bytes).ok()
        })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..2000).prop_map(Step::Pass),
        12 => any::<bool>().prop_map(Step::Deliver),
        2 => any::<bool>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Double),
        1 => (any::<bool>(), any_packet()).prop_map(|(to, packet)| Step::Forge(to, packet)),
        1 => (any::<bool>(), 10_u32..500, 10_u32..500, 1_u8..6).prop_map(|(at, tx, rx, mult)| Step::Configure(at, tx, rx, mult)),
        1 => any::<bool>().prop_map(Step::Disable),
        1 => any::<bool>().prop_map(Step::Enable),
    ]
}

struct Link {
    ends: [Session; 2],
    /// On their way to each end.
    queues: [std::collections::VecDeque<Packet>; 2],
    now: Instant,
}

impl Link {
    fn new() -> Self {
        let now = Instant::now();
        let session =
            |discriminator| Session::new(parameters(50, 50, 3), discriminator, discriminator.into(), now);
        Self { ends: [session(1), session(2)], queues: Default::default(), now }
    }

    fn step(&mut self, end: usize, event: Event) {
        let before = self.ends[end].state();
        let received = if let Event::Received(packet) = &event { Some(*packet) } else { None };
        let actions = self.ends[end].step(event, self.now);
        for action in &actions {
            if let Action::Changed { from, to: State::Up, .. } = action {
                // What the peer said shows that it has heard us: that is the third way of the handshake.
                let said = received.expect("only a packet takes a session up");
                assert!(matches!(
                    (from, said.state),
                    (State::Down | State::Init, State::Init) | (State::Init, State::Up)
                ));
                assert_eq!(said.your_discriminator, self.ends[end].discriminator());
            }
            if let Action::Send(packet) = action {
                assert!(!(packet.poll && packet.is_final));
                assert_eq!(Packet::parse(&packet.bytes()), Ok(*packet), "what we send is in order");
                if packet.state != State::Up {
                    assert!(packet.desired_min_tx_us >= 1_000_000);
                }
            }
        }
        let changes: Vec<_> =
            actions
                .iter()
                .filter_map(|action| {
                    if let Action::Changed { from, to, .. } = action { Some((*from, *to)) } else { None }
                })
                .collect();
        assert_eq!(changes.first().map_or(before, |(from, _)| *from), before);
        assert_eq!(changes.last().map_or(before, |(_, to)| *to), self.ends[end].state());
        for packet in sent(&actions) {
            if self.queues[1 - end].len() < 64 {
                self.queues[1 - end].push_back(packet);
            }
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => {
                self.now += MS * *ms;
                for end in 0..2 {
                    self.step(end, Event::Tick);
                    assert!(self.ends[end].due().is_none_or(|due| due > self.now), "nothing due is left");
                }
            }
            Step::Deliver(to) | Step::Double(to) => {
                let to = usize::from(*to);
                if let Some(packet) = self.queues[to].pop_front() {
                    if matches!(step, Step::Double(_)) {
                        self.queues[to].push_back(packet);
                    }
                    self.step(to, Event::Received(packet));
                }
            }
            Step::Lose(to) => {
                self.queues[usize::from(*to)].pop_front();
            }
            Step::Forge(to, packet) => self.step(usize::from(*to), Event::Received(*packet)),
            Step::Configure(at, tx, rx, mult) => {
                self.step(usize::from(*at), Event::Configure(parameters(*tx, *rx, *mult)));
            }
            Step::Disable(at) => self.step(usize::from(*at), Event::Disable),
            Step::Enable(at) => self.step(usize::from(*at), Event::Enable),
        }
    }

    /// The link is good from here on.
    fn heal(&mut self) {
        for end in 0..2 {
            self.step(end, Event::Enable);
        }
        for _ in 0..20_000 {
            let next = (0..2).filter_map(|end| self.ends[end].due()).min().expect("somebody sends");
            self.now = self.now.max(next);
            for end in 0..2 {
                self.step(end, Event::Tick);
                while let Some(packet) = self.queues[end].pop_front() {
                    self.step(end, Event::Received(packet));
                }
            }
            let settled = self.ends.iter().all(|end| end.state() == State::Up && !end.is_polling());
            if settled {
                return;
            }
        }
        panic!("the sessions do not come up: {:?}", self.ends);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No schedule, loss or forgery panics; Up comes by three ways only; and a good link brings both ends up in the end.
    #[test]
    fn two_ends_keep_the_rules_and_find_each_other(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut link = Link::new();
        for step in &steps {
            link.run(step);
        }
        link.heal();
    }

    /// Silence takes a session down when the time is up, neither before nor after.
    #[test]
    fn silence_is_noticed_in_time(
        tx in 10_u32..500, rx in 10_u32..500, mult in 1_u8..10,
    ) {
        let start = Instant::now();
        let mut session = up(start);
        let heard = Packet { desired_min_tx_us: tx * 1000, detect_mult: mult, ..peer(State::Up, 7) };
        session.step(Event::Configure(parameters(50, rx, 3)), start);
        session.step(Event::Received(Packet { is_final: true, ..heard }), start);
        session.step(Event::Received(heard), start);
        let time = MS * u32::from(mult) * tx.max(rx);
        session.step(Event::Tick, start + time.saturating_sub(MS / 1000));
        prop_assert_eq!(session.state(), State::Up);
        session.step(Event::Tick, start + time);
        prop_assert_eq!((session.state(), session.diagnostic()), (State::Down, Diagnostic::TIME_EXPIRED));
    }
}
