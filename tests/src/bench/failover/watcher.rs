//! What a peer's host runs: our own BFD, and a switch to be thrown when the session ends.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use vtep_bfd::{Action, Event, MULTI_HOP_PORT, Packet, Parameters, SOURCE_PORTS, Session, State, Transport};

use crate::lab::Machine;

/// Threads of ours, which end when this is dropped, and leave the kernel as it is then.
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    /// Whether the session is up, and the switch at the master.
    ready: Arc<AtomicBool>,
    moved: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Watcher {
    /// `switch`: to the slave, or back.
    pub(super) fn start(
        machine: &Machine,
        peer: Ipv4Addr,
        switch: impl FnMut(bool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let bind = |port| machine.netns.within(|| UdpSocket::bind((machine.address, port)));
        let hears = bind(MULTI_HOP_PORT)?.context("the port of BFD is taken")?;
        let sends = bind(*SOURCE_PORTS.start())?.context("a source port is taken")?;
        setsockopt(&sends, sockopt::Ipv4Ttl, &i32::from(Transport::TTL))?;
        let (throw, thrown) = channel();
        let (stop, ready, moved): (Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let talk = Talk { hears, sends, peer, throw, stop: Arc::clone(&stop) };
        let at = (Arc::clone(&ready), Arc::clone(&moved));
        let threads = vec![
            thread::spawn(move || talk.run()),
            thread::spawn(move || follow(&thrown, &at.0, &at.1, switch)),
        ];
        Ok(Self { stop, ready, moved, threads })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("the peer's process failed: {error:#}");
            }
        }
    }
}

/// A thread of its own: rewriting a million entries must not silence the session.
fn follow(
    thrown: &Receiver<bool>,
    ready: &AtomicBool,
    moved: &AtomicBool,
    mut switch: impl FnMut(bool) -> Result<()>,
) -> Result<()> {
    while let Ok(slave) = thrown.recv() {
        ready.store(false, Ordering::Release);
        switch(slave)?;
        moved.store(slave, Ordering::Release);
        ready.store(!slave, Ordering::Release);
    }
    Ok(())
}

struct Talk {
    hears: UdpSocket,
    sends: UdpSocket,
    peer: Ipv4Addr,
    throw: Sender<bool>,
    stop: Arc<AtomicBool>,
}

impl Talk {
    fn run(self) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(50);
        let parameters = Parameters::new(INTERVAL, INTERVAL, 3)?;
        let mut session =
            Session::new(parameters, rand::random::<u32>().max(1), rand::random(), Instant::now());
        let mut bytes = [0; 64];
        while !self.stop.load(Ordering::Relaxed) {
            let left = session.due().map(|due| due.saturating_duration_since(Instant::now()));
            // Zero would mean "for ever".
            let left = left.unwrap_or(INTERVAL).clamp(Duration::from_micros(1), INTERVAL);
            self.hears.set_read_timeout(Some(left))?;
            let event = match self.hears.recv_from(&mut bytes) {
                Ok((length, from)) if from.ip() == self.peer => match Packet::parse(&bytes[..length]) {
                    Ok(packet) => Event::Received(packet),
                    Err(_) => continue,
                },
                _ => Event::Tick,
            };
            for action in session.step(event, Instant::now()) {
                match action {
                    // A dead TOR's host may refuse it.
                    Action::Send(packet) => {
                        let _ = self.sends.send_to(&packet.bytes(), (self.peer, MULTI_HOP_PORT));
                    }
                    Action::Changed { to: State::Up, .. } => self.throw.send(false)?,
                    Action::Changed { from: State::Up, .. } => self.throw.send(true)?,
                    Action::Changed { .. } | Action::Refused(_) => {}
                }
            }
        }
        Ok(())
    }
}
