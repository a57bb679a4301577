//! One session: the socket that it sends from, and what the programs are told of it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use vtep_abi::{BfdHeard, BfdReceived, BfdSession};
use vtep_bfd::{
    Action, Adopted, Decay, Event, Inner, Packet, Parameters, SOURCE_PORTS, Session, Standing, State,
    Transport,
};

use super::task::Clock;
use super::{Known, Wish};
use crate::config::BfdTransport;

/// How many source ports are tried.
const PORTS_TRIED: usize = 32;
/// Class selector 6, for control traffic.
const TOS: u8 = 0xc0;
/// A handshake takes two or three slow intervals.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Inside a tunnel nobody else speaks; locally administered.
const INNER_SRC_MAC: [u8; 6] = [0x02, 0x76, 0x74, 0x65, 0x70, 0x64];

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wish: Wish,
    pub(super) session: Session,
    pub(super) standing: Standing,
    /// Since the session is Up, if it is to be spared packets.
    decay: Option<Decay>,
    /// While frames are all that keeps it in service: how many had come, and since when it is no more.
    frames: Option<(u64, Instant)>,
    /// Packets that go once the programs know what they say: the answer may be there before us.
    outbox: Vec<Packet>,
    socket: UdpSocket,
    source_port: u16,
    since: Instant,
    /// How often the programs had found it silent, as far as that was judged.
    expired: u64,
    /// What the programs found out before is of the session that was.
    pub(super) is_new: bool,
    /// What was told of packets up to then is known already.
    heard_until_ns: u64,
    pub(super) complaint: Option<String>,
}

/// What the maps hold of the session of an earlier agent; zeros, if there was none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) told: BfdSession,
    pub(super) heard: BfdHeard,
    pub(super) suspect: bool,
}

impl Left {
    /// That can be gone on with: up, and both sides mean the same one.
    fn session(&self, transport: BfdTransport, clock: &Clock) -> Option<Adopted> {
        if self.told.transport != code(transport) || self.told.flags & BfdSession::WATCHED == 0 {
            return None;
        }
        let sent = Packet::parse(&self.told.packet).ok()?;
        let heard = Packet::parse(&self.heard.packet).ok()?;
        if sent.state != State::Up {
            return None;
        }
        let ours = heard.your_discriminator == sent.my_discriminator;
        ours.then(|| Adopted { sent, heard, heard_at: clock.at(self.heard.heard_ns) })
    }

    /// The discriminator of a session that failed while frames came on.
    fn spared(&self, transport: BfdTransport) -> Option<u32> {
        let flags = BfdSession::WATCHED | BfdSession::IF_RX;
        let sent = Packet::parse(&self.told.packet).ok()?;
        let spared = self.told.transport == code(transport)
            && self.told.flags & flags == flags
            && sent.state != State::Up
            && !self.suspect;
        spared.then_some(sent.my_discriminator)
    }
}

impl Peer {
    pub(super) fn new(wish: Wish, left: &Left, clock: &Clock, now: Instant) -> io::Result<Self> {
        let (socket, source_port) = socket(&wish, u16::from_be_bytes(left.told.source_port))?;
        let seed = rand::random();
        let parameters = wish.settings.parameters;
        let suspect = left.suspect;
        let (session, standing) = if let Some(adopted) = left.session(wish.settings.transport, clock) {
            let session = Session::adopt(parameters, &adopted, seed, now);
            (session, Standing::adopted(suspect, &wish.settings.holding, now))
        } else {
            let mut standing = Standing::new();
            let spared = left.spared(wish.settings.transport).filter(|_| wish.settings.forwarding_if_rx);
            if spared.is_some() {
                standing.rise(&wish.settings.holding, now);
                standing.spare();
            }
            if suspect {
                standing.rise(&wish.settings.holding, now);
                standing.fail(&wish.settings.holding, now);
            }
            // The programs go on with one that they watch.
            let discriminator = spared.unwrap_or_else(|| rand::random::<u32>().max(1));
            (Session::new(parameters, discriminator, seed, now), standing)
        };
        Ok(Self {
            wish,
            session,
            standing,
            decay: None,
            frames: None,
            outbox: Vec::new(),
            socket,
            source_port,
            since: now,
            expired: left.heard.expired,
            is_new: false,
            heard_until_ns: 0,
            complaint: None,
        })
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let idleness = self.looks_for_idleness_from();
        [self.session.due(), self.standing.due(), idleness].into_iter().flatten().min()
    }

    pub(super) fn configure(&mut self, wish: Wish, now: Instant) {
        if wish.settings.decay_min_rx != self.wish.settings.decay_min_rx {
            self.decay = None;
        }
        self.wish = wish;
        self.step(Event::Configure(self.parameters()), now);
    }

    fn looks_for_idleness_from(&self) -> Option<Instant> {
        let wanted = !self.wish.settings.decay_min_rx.is_zero() && self.session.state() == State::Up;
        wanted.then(|| self.decay.as_ref().map_or(self.since, Decay::due))
    }

    pub(super) fn looks_for_idleness(&self, now: Instant) -> bool {
        self.looks_for_idleness_from().is_some_and(|from| now >= from)
    }

    /// `received`: frames from the VTEP so far, if that can be read. Whether the programs are to be told something.
    pub(super) fn look_for_idleness(&mut self, received: Option<u64>, now: Instant) -> bool {
        let min_rx = self.wish.settings.decay_min_rx;
        let decay = self.decay.get_or_insert_with(|| Decay::new(min_rx, received.unwrap_or_default(), now));
        match received {
            Some(received) if decay.due() <= now => {
                let changed = decay.look(received, now);
                if changed {
                    self.step(Event::Configure(self.parameters()), now);
                }
                changed
            }
            _ => {
                decay.postpone(now);
                false
            }
        }
    }

    /// Something has to come within `patience`. The programs say it earlier, unless their timer does not run: their maps are
    /// new, or the agent is.
    pub(super) fn look_for_frames(&mut self, received: u64, patience: Duration, now: Instant) {
        match self.frames {
            Some((last, since)) if last == received => {
                if now.saturating_duration_since(since) >= patience {
                    self.standing.fail(&self.wish.settings.holding, now);
                }
            }
            _ => self.frames = Some((received, now)),
        }
    }

    fn parameters(&self) -> Parameters {
        let wanted = self.wish.settings.parameters;
        let idle = self.decay.as_ref().and_then(Decay::min_rx);
        idle.map_or(wanted, |min_rx| wanted.receiving_no_faster_than(min_rx))
    }

    pub(super) fn known(&self, now: Instant) -> Known {
        Known {
            address: self.wish.address,
            state: self.session.state(),
            remote_state: self.session.remote_state(),
            diagnostic: self.session.diagnostic(),
            remote_diagnostic: self.session.remote_diagnostic(),
            standing: self.standing.name(),
            suspect: self.standing.is_suspect() || self.session.is_path_down(),
            receiving: self.standing.is_spared(),
            overdue: self.session.state() != State::Up
                && !self.standing.is_suspect()
                && now.saturating_duration_since(self.since) > HANDSHAKE,
            failures: self.standing.failures(),
            expired: self.expired,
            detection: self.session.detection_time(),
            interval: self.session.transmit_interval(),
            complaint: self.complaint.clone(),
            settings: self.wish.settings,
        }
    }

    /// What came, as it came. Whether the programs are to be told something.
    pub(super) fn receive(&mut self, received: &BfdReceived, at: Instant) -> bool {
        // After a pause the maps knew more than the ring.
        if received.at_ns <= self.heard_until_ns {
            return false;
        }
        let settings = &self.wish.settings;
        let transport = transport(settings.transport);
        // Any VM of the peer's host can send what looks like a control packet, into its own network.
        let any = settings.tunnel.any_vni;
        if settings.transport == BfdTransport::Vxlan && !any && received.vni != settings.vni {
            self.complaint =
                Some(format!("a control packet came in VNI {}, not {}", received.vni, settings.vni));
            return false;
        }
        let len = usize::from(received.len).min(received.packet.len());
        let packet = match transport.check(received.port, received.ttl) {
            Ok(()) => Packet::parse(&received.packet[..len]).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match packet {
            Ok(packet) => {
                let tells = self.step(Event::Received(packet), at);
                let left = packet.state == State::AdminDown && self.standing.is_spared();
                if left {
                    self.standing.pardon();
                }
                tells || left
            }
            Err(complaint) => {
                self.complaint = Some(complaint);
                false
            }
        }
    }

    /// Before silence is believed: whoever was stopped for a while has heard nothing, the programs may have.
    pub(super) fn sustain(&mut self, heard: &BfdHeard, clock: &Clock, now: Instant) {
        if heard.expired != self.expired {
            self.expired = heard.expired;
            if self.wish.settings.forwarding_if_rx {
                // No frames came either, which our own timer does not know.
                self.standing.fail(&self.wish.settings.holding, now);
            }
            return;
        }
        if let Ok(packet) = Packet::parse(&heard.packet)
            && packet.your_discriminator == self.session.discriminator()
        {
            self.heard_until_ns = heard.heard_ns;
            self.step(Event::Sustained(packet, clock.at(heard.heard_ns)), now);
        }
    }

    /// Whether the programs are to be told something.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> bool {
        let actions = self.session.step(event, now);
        self.standing.tick(now);
        let holding = self.wish.settings.holding;
        let (mut tells, mut slowed) = (false, false);
        for action in actions {
            match action {
                Action::Send(packet) => {
                    tells = true;
                    self.outbox.push(packet);
                }
                Action::Changed { from, to, diagnostic } => {
                    tells = true;
                    self.complaint = None;
                    slowed |= self.decay.take().is_some_and(|decay| decay.min_rx().is_some());
                    let vtep = self.wish.address;
                    tracing::info!(%vtep, from = from.name(), to = to.name(), %diagnostic, "a BFD session changed");
                    match to {
                        State::Up => {
                            self.is_new = true;
                            self.standing.rise(&holding, now);
                        }
                        State::Down | State::AdminDown if from == State::Up => {
                            if self.session.remote_state() == State::AdminDown || to == State::AdminDown {
                                self.standing.pardon();
                            } else if self.wish.settings.forwarding_if_rx && self.standing.spare() {
                                self.frames = None;
                            } else {
                                self.standing.fail(&holding, now);
                            }
                        }
                        _ => {}
                    }
                }
                Action::Refused(refusal) => self.complaint = Some(refusal.to_string()),
            }
        }
        if slowed {
            self.step(Event::Configure(self.parameters()), now);
        }
        tells
    }

    /// The programs' word, where our own timer has not run out.
    pub(super) fn doubt(&mut self, heard: &BfdHeard, now: Instant) {
        let is_news = heard.expired != self.expired;
        self.expired = heard.expired;
        let holding = self.wish.settings.holding;
        if self.is_new {
            self.is_new = false;
        } else if is_news && self.standing.is_spared() {
            self.standing.fail(&holding, now);
        } else if is_news && self.session.state() == State::Up && !self.standing.is_suspect() {
            self.standing.fail(&holding, now);
            self.standing.rise(&holding, now);
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(super) fn send_waiting(&mut self) {
        for packet in std::mem::take(&mut self.outbox) {
            if let Err(error) = self.send(&packet) {
                self.complaint = Some(format!("a packet was not sent: {error}"));
            }
        }
    }

    fn send(&self, packet: &Packet) -> io::Result<()> {
        let Wish { address, udp_port, settings, .. } = &self.wish;
        let sent = match settings.transport {
            BfdTransport::SingleHop | BfdTransport::MultiHop => {
                let to = SocketAddr::new(*address, transport(settings.transport).port());
                self.socket.send_to(&packet.bytes(), to)
            }
            BfdTransport::Vxlan => {
                let inner = Inner {
                    dst_mac: settings.tunnel.dst_mac.octets(),
                    src_mac: INNER_SRC_MAC,
                    dst_ip: settings.tunnel.dst_ip,
                    src_ip: Inner::REMOTE_IP,
                    src_port: self.source_port,
                };
                let mut bytes = vec![0x08, 0, 0, 0];
                bytes.extend((settings.vni << 8).to_be_bytes());
                bytes.extend(inner.wrap(packet));
                self.socket.send_to(&bytes, SocketAddr::new(*address, *udp_port))
            }
        };
        match sent {
            // What an earlier packet met: the peer's host has nobody at the port yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(drop),
        }
    }

    /// What the programs are to know.
    pub(super) fn told(&self, clock: &Clock) -> BfdSession {
        let packet = Packet { poll: false, is_final: false, ..self.session.packet() };
        // A little later than we would send at the latest.
        let silence = self.session.transmit_interval().unwrap_or_default() * 11 / 10;
        BfdSession {
            sent_ns: clock.now_ns(),
            silence_ns: u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX),
            packet: packet.bytes(),
            required_min_rx_us: self.session.required_min_rx_us(),
            source_port: self.source_port.to_be_bytes(),
            transport: code(self.wish.settings.transport),
            flags: self.flags(),
        }
    }

    fn flags(&self) -> u8 {
        let is_watched = self.session.state() == State::Up || self.standing.is_spared();
        let if_rx = if self.wish.settings.forwarding_if_rx { BfdSession::IF_RX } else { 0 };
        if is_watched { BfdSession::WATCHED | if_rx } else { 0 }
    }
}

/// At our tunnel address, at a port that a session keeps (RFC 5881 §4): that of an earlier agent, if it had one.
fn socket(wish: &Wish, port: u16) -> io::Result<(UdpSocket, u16)> {
    let drawn = std::iter::repeat_with(|| rand::random_range(SOURCE_PORTS));
    let mut refused = None;
    let kept = Some(port).filter(|port| SOURCE_PORTS.contains(port));
    for port in kept.into_iter().chain(drawn.take(PORTS_TRIED)) {
        match UdpSocket::bind(SocketAddr::new(wish.local, port)) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                let ttl = i32::from(Transport::TTL);
                match wish.local {
                    IpAddr::V4(_) => {
                        setsockopt(&socket, sockopt::Ipv4Ttl, &ttl)?;
                        setsockopt(&socket, sockopt::Ipv4Tos, &i32::from(TOS))?;
                    }
                    IpAddr::V6(_) => {
                        setsockopt(&socket, sockopt::Ipv6Ttl, &ttl)?;
                        setsockopt(&socket, sockopt::Ipv6TClass, &i32::from(TOS))?;
                    }
                }
                return Ok((socket, port));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

const fn transport(transport: BfdTransport) -> Transport {
    match transport {
        BfdTransport::SingleHop => Transport::SingleHop,
        BfdTransport::MultiHop => Transport::MultiHop,
        BfdTransport::Vxlan => Transport::Vxlan,
    }
}

const fn code(transport: BfdTransport) -> u8 {
    match transport {
        BfdTransport::SingleHop => BfdSession::SINGLE_HOP,
        BfdTransport::MultiHop => BfdSession::MULTI_HOP,
        BfdTransport::Vxlan => BfdSession::VXLAN,
    }
}
