//! The task that owns all sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{error, warn};
use vtep_abi::BfdReceived;
use vtep_bfd::{Event, State};

use super::peer::{Left, Peer};
use super::{Findings, Order, Wishes};
use crate::kernel::{self, Bfd, BfdPackets};

/// Packets taken at once, so that timers get their turn.
const PACKETS_MAX: usize = 1024;
/// Between attempts to open a session that could not be.
const RETRY: Duration = Duration::from_secs(1);
/// How often the programs' word is looked up, for news of it may be lost.
const SWEEP: Duration = Duration::from_secs(1);

/// The programs' time beside ours; both are the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    instant: Instant,
    ns: u64,
}

impl Clock {
    fn new() -> Self {
        let ns = u64::try_from(kernel::now().as_nanos()).unwrap_or(u64::MAX);
        Self { instant: Instant::now(), ns }
    }

    pub(super) fn at(&self, ns: u64) -> Instant {
        let since = Duration::from_nanos(ns.saturating_sub(self.ns));
        let before = Duration::from_nanos(self.ns.saturating_sub(ns));
        self.instant.checked_sub(before).unwrap_or(self.instant) + since
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.ns.saturating_add(u64::try_from(self.instant.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

pub(super) struct Task {
    maps: Bfd,
    packets: BfdPackets,
    /// VTEPs that were out of service when we came.
    suspects: BTreeSet<u32>,
    /// Of an earlier agent: until the first wishes, and then what is not wanted is cleared.
    cleared: bool,
    peers: BTreeMap<u32, Peer>,
    /// Wishes that could not be fulfilled.
    retry: Option<Instant>,
    swept: Instant,
    found: watch::Sender<Arc<Findings>>,
    clock: Clock,
}

impl Task {
    pub(super) fn new(
        maps: Bfd,
        packets: BfdPackets,
        suspects: Vec<u32>,
        found: watch::Sender<Arc<Findings>>,
    ) -> Self {
        Self {
            maps,
            packets,
            suspects: suspects.into_iter().collect(),
            cleared: false,
            peers: BTreeMap::new(),
            retry: None,
            swept: Instant::now(),
            found,
            clock: Clock::new(),
        }
    }

    /// Until the other end of a channel is gone; an error if the programs' packets cannot be read.
    pub(super) async fn run(
        mut self,
        mut wishes: watch::Receiver<Wishes>,
        mut orders: mpsc::Receiver<Order>,
    ) -> io::Result<()> {
        let mut batch = Vec::with_capacity(PACKETS_MAX);
        loop {
            let looks = (!self.peers.is_empty()).then(|| self.swept + SWEEP);
            let due = self.peers.values().filter_map(Peer::due).chain(self.retry).chain(looks).min();
            let sleep = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into());
            tokio::select! {
                result = self.packets.wait() => result?,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return Ok(()),
                },
                changed = wishes.changed() => match changed {
                    Ok(()) => self.follow(&wishes.borrow_and_update().clone()),
                    Err(_) => return Ok(()),
                },
                () = sleep, if due.is_some() => {}
            }
            // Whatever woke us: what was heard counts before silence does.
            self.hear(&mut batch);
            self.tick();
            if self.swept + SWEEP <= Instant::now() {
                self.sweep(|_| true);
                self.look_for_frames();
                self.swept = Instant::now();
            }
            if self.retry.is_some_and(|retry| Instant::now() >= retry) {
                let wishes = wishes.borrow().clone();
                self.follow(&wishes);
            }
            self.publish();
        }
    }

    fn hear(&mut self, batch: &mut Vec<BfdReceived>) {
        self.packets.take(batch, PACKETS_MAX);
        for received in batch.drain(..) {
            let Some(peer) = self.peers.get_mut(&received.vtep) else { continue };
            if peer.receive(&received, self.clock.at(received.at_ns)) {
                if peer.is_new {
                    judge(&self.maps, received.vtep, peer);
                }
                tell(&self.maps, received.vtep, peer, &self.clock);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for (&index, peer) in &mut self.peers {
            if peer.due().is_none_or(|due| now < due) {
                continue;
            }
            let ends = peer.session.expires().is_some_and(|expires| now >= expires);
            if ends && peer.session.state() == State::Up {
                match self.maps.heard(index) {
                    Ok(heard) => peer.sustain(&heard, &self.clock, now),
                    Err(error) => warn!(%error, "what was heard of a VTEP cannot be read"),
                }
            }
            let mut tells = peer.step(Event::Tick, now);
            if peer.looks_for_idleness(now) {
                tells |= peer.look_for_idleness(received(&self.maps, index, peer), now);
            }
            if tells || peer.has_waiting() {
                tell(&self.maps, index, peer, &self.clock);
            }
        }
    }

    /// What the programs found out of these.
    fn sweep(&mut self, of: impl Fn(&Peer) -> bool) {
        for (&index, peer) in self.peers.iter_mut().filter(|(_, peer)| of(peer)) {
            judge(&self.maps, index, peer);
        }
    }

    /// Those that frames alone keep in service.
    fn look_for_frames(&mut self) {
        let now = Instant::now();
        for (&index, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.standing.is_spared()) {
            let (Some(received), Ok(heard)) = (received(&self.maps, index, peer), self.maps.heard(index))
            else {
                continue;
            };
            let detection =
                Some(heard.detect_ns).filter(|ns| *ns != u64::MAX).map_or(SWEEP, Duration::from_nanos);
            peer.look_for_frames(received, (detection * 2).max(SWEEP * 2), now);
            if !peer.standing.is_spared() {
                tell(&self.maps, index, peer, &self.clock);
            }
        }
    }

    fn follow(&mut self, wishes: &Wishes) {
        self.retry = None;
        let now = Instant::now();
        let gone: Vec<u32> = self.peers.keys().filter(|index| !wishes.contains_key(index)).copied().collect();
        for index in gone {
            self.end(index, now);
        }
        let mut left = BTreeMap::new();
        if !self.cleared {
            match self.maps.sessions() {
                Ok(sessions) => left.extend(sessions),
                Err(error) => error!(%error, "the sessions of an earlier agent cannot be read"),
            }
            for index in left.keys().filter(|index| !wishes.contains_key(index)) {
                self.forget(*index);
            }
            self.cleared = true;
        }
        for (&index, wish) in wishes {
            match self.peers.get_mut(&index) {
                Some(peer) if peer.wish == *wish => continue,
                Some(peer)
                    if (peer.wish.address, peer.wish.local, peer.wish.settings.transport)
                        == (wish.address, wish.local, wish.settings.transport) =>
                {
                    peer.configure(wish.clone(), now);
                    tell(&self.maps, index, peer, &self.clock);
                    continue;
                }
                Some(_) => self.end(index, now),
                None => {}
            }
            let suspect = self.suspects.remove(&index);
            let heard = self.maps.heard(index).unwrap_or_else(|_| bytemuck::Zeroable::zeroed());
            let told = left.get(&index).copied().unwrap_or_else(bytemuck::Zeroable::zeroed);
            match Peer::new(wish.clone(), &Left { told, heard, suspect }, &self.clock, now) {
                Ok(mut peer) => {
                    tell(&self.maps, index, &mut peer, &self.clock);
                    self.peers.insert(index, peer);
                }
                Err(error) => {
                    warn!(vtep = %wish.address, %error, "a BFD session has no socket; trying again");
                    self.retry = Some(now + RETRY);
                }
            }
        }
        self.suspects.clear();
    }

    fn end(&mut self, index: u32, now: Instant) {
        if let Some(mut peer) = self.peers.remove(&index) {
            peer.step(Event::Disable, now);
            peer.send_waiting();
        }
        self.forget(index);
    }

    fn forget(&self, index: u32) {
        if let Err(error) = self.maps.remove(index) {
            error!(%error, index, "a BFD session stays in the kernel");
        }
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Silent(address) => self.sweep(|peer| peer.wish.address == address),
            // Whoever no longer waits for the answer needs none; so below.
            Order::Restore(index, reply) => {
                let back = self.peers.get_mut(&index).is_some_and(|peer| peer.standing.restore());
                let _ = reply.send(back);
            }
            Order::Leave(reply) => {
                let all: Vec<u32> = self.peers.keys().copied().collect();
                for index in all {
                    self.end(index, now);
                }
                let _ = reply.send(());
            }
        }
    }

    fn publish(&self) {
        let now = Instant::now();
        let findings: Findings = self.peers.iter().map(|(index, peer)| (*index, peer.known(now))).collect();
        self.found.send_if_modified(|last| {
            let changed = **last != findings;
            if changed {
                *last = Arc::new(findings);
            }
            changed
        });
    }
}

/// Whatever is to be sent goes then.
fn tell(maps: &Bfd, index: u32, peer: &mut Peer, clock: &Clock) {
    if let Err(error) = maps.set(index, &peer.told(clock)) {
        error!(%error, vtep = %peer.wish.address, "the programs are not told of a BFD session");
    }
    peer.send_waiting();
}

fn judge(maps: &Bfd, index: u32, peer: &mut Peer) {
    match maps.heard(index) {
        Ok(heard) => peer.doubt(&heard, Instant::now()),
        Err(error) => warn!(%error, vtep = %peer.wish.address, "what was heard of a VTEP cannot be read"),
    }
}

/// Frames from the VTEP so far.
fn received(maps: &Bfd, index: u32, peer: &Peer) -> Option<u64> {
    let received = maps.received(index);
    received
        .inspect_err(|error| {
            warn!(%error, vtep = %peer.wish.address, "how many frames came from a VTEP cannot be read");
        })
        .ok()
}
