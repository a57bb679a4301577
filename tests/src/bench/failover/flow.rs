//! Ten thousand numbered frames a second, each to another MAC, and where and when they arrive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use vtep_api::MacAddr;

use super::{host::far_mac, pair::Pair};
use crate::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::Vm,
    link::Link,
    packet::PacketSocket,
};

const INTERVAL: Duration = Duration::from_micros(100);
/// Between two frames' MACs: the whole table in an order that is no table's.
const STRIDE: u64 = 7919;
/// Of frames in a row that show where they go.
const STEADY: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    /// At the master and at the slave.
    receivers: [JoinHandle<Result<Arrived>>; 2],
    counts: [Arc<AtomicU64>; 2],
}

struct Arrived {
    frames: u64,
    first: Option<Instant>,
}

pub(super) struct Flown {
    sent: u64,
    arrived: [Arrived; 2],
}

pub(super) struct Outage {
    /// From death to the first frame at the slave.
    first: Duration,
    lost: u64,
}

impl Flow {
    pub(super) fn start(vm: &Vm, pair: &Pair, macs: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: [Arc<AtomicU64>; 2] = Default::default();
        let receive = |tor: usize| {
            let socket = listen(&pair.tors[tor].far.eth0)?;
            let (stop, count, from) = (Arc::clone(&stop), Arc::clone(&counts[tor]), vm.mac);
            anyhow::Ok(thread::spawn(move || receive(&socket, from, &stop, &count)))
        };
        let receivers = [receive(0)?, receive(1)?];
        let socket = PacketSocket::bind(&vm.eth0)?;
        let (stopping, from) = (Arc::clone(&stop), vm.mac);
        let sender = thread::spawn(move || send(&socket, from, macs, &stopping));
        Ok(Self { stop, sender, receivers, counts })
    }

    /// Many frames arrived since, wherever.
    pub(super) fn wait_until_steady(&self) -> Result<()> {
        let arrived = || self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        let before = arrived();
        wait_for("a steady flow", PATIENCE, || (arrived() > before + STEADY).then_some(()))
    }

    pub(super) fn wait_until_moved(&self, within: Duration) -> bool {
        wait_for("a frame at the slave", within, || {
            (self.counts[1].load(Ordering::Relaxed) > 0).then_some(())
        })
        .is_ok()
    }

    pub(super) fn finish(self) -> Result<Flown> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().ok().context("the sender panicked")??;
        let [master, slave] =
            self.receivers.map(|receiver| receiver.join().ok().context("a receiver panicked"));
        Ok(Flown { sent, arrived: [master??, slave??] })
    }
}

impl Flown {
    pub(super) fn outage(&self, died: Instant) -> Outage {
        let first =
            self.arrived[1].first.map_or(Duration::MAX, |first| first.saturating_duration_since(died));
        let arrived: u64 = self.arrived.iter().map(|arrived| arrived.frames).sum();
        Outage { first, lost: self.sent.saturating_sub(arrived) }
    }
}

impl Outage {
    pub(super) fn first_ms(&self) -> f64 {
        self.first.as_secs_f64() * 1e3
    }

    #[expect(clippy::cast_precision_loss, reason = "no more than millions are sent")]
    pub(super) fn lost(&self) -> f64 {
        self.lost as f64
    }
}

/// Hears frames whatever MAC they are for.
pub(super) fn listen(link: &Link) -> Result<PacketSocket> {
    let socket = PacketSocket::bind(link)?;
    socket.set_patience(Duration::from_millis(100))?;
    Ok(socket)
}

/// For the MAC of that number.
pub(super) fn frame_to(from: MacAddr, number: u32) -> Vec<u8> {
    let end = |mac, host| Endpoint { mac, address: [10, 1, 0, host].into(), port: 7000 };
    frame::udp(end(from, 1), end(far_mac(number), 3), &[0; 18])
}

pub(super) fn is_from(frame: &[u8], from: MacAddr) -> bool {
    frame.get(6..12) == Some(&from.octets()[..])
}

fn send(socket: &PacketSocket, from: MacAddr, macs: u32, stop: &AtomicBool) -> Result<u64> {
    let mut frame = frame_to(from, 0);
    let start = Instant::now();
    let mut sent = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let number = u32::try_from(sent * STRIDE % u64::from(macs))?;
        frame[..6].copy_from_slice(&far_mac(number).octets());
        // One that finds no room in a queue is lost, which the receivers' count shows.
        let _ = socket.send(&frame);
        sent += 1;
        let due = INTERVAL * u32::try_from(sent)?;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(sent)
}

/// Until the sender has stopped and nothing has come for a while.
fn receive(socket: &PacketSocket, from: MacAddr, stop: &AtomicBool, count: &AtomicU64) -> Result<Arrived> {
    let mut arrived = Arrived { frames: 0, first: None };
    let mut bytes = [0; 128];
    loop {
        match socket.next(&mut bytes)? {
            Some(frame) if is_from(frame, from) => {
                arrived.first.get_or_insert_with(Instant::now);
                arrived.frames += 1;
                count.store(arrived.frames, Ordering::Relaxed);
            }
            None if stop.load(Ordering::Relaxed) => return Ok(arrived),
            Some(_) | None => {}
        }
    }
}
