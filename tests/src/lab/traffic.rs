//! Traffic between VMs that measures what becomes of it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::Vm;

const PORT: u16 = 7000;
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Numbered datagrams at a steady rate from one VM to another.
pub struct Stream {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    sender: JoinHandle<(u64, Instant)>,
    receiver: JoinHandle<Vec<(u64, Instant)>>,
    interval: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct StreamReport {
    pub sent: u64,
    pub received: u64,
    /// The longest time without an arrival while datagrams were sent, less the interval between them.
    pub gap: Duration,
}

impl Stream {
    pub fn start(from: &Vm, to: &Vm, interval: Duration) -> Result<Self> {
        let receiver = to.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
        // A receiver that is not scheduled for a while must not look like frames that were lost.
        setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        let sender = from.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        sender.connect((to.address, PORT))?;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (sending, receiving, counting) = (Arc::clone(&stop), Arc::clone(&stop), Arc::clone(&count));
        Ok(Self {
            stop,
            count,
            sender: thread::spawn(move || send(&sender, interval, &sending)),
            receiver: thread::spawn(move || receive(&receiver, &receiving, &counting)),
            interval,
        })
    }

    /// So far.
    pub fn received(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends the stream, and waits for what is under way.
    pub fn finish(self) -> Result<StreamReport> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, end) = self.sender.join().ok().context("the sender failed")?;
        let arrivals = self.receiver.join().ok().context("the receiver failed")?;
        let times = arrivals.iter().map(|(_, at)| *at);
        let next = times.clone().skip(1).chain([end]);
        let gap = times.zip(next).map(|(at, next)| next.saturating_duration_since(at)).max();
        let gap = gap.unwrap_or(Duration::MAX).saturating_sub(self.interval);
        Ok(StreamReport { sent, received: arrivals.len() as u64, gap })
    }
}

/// Beats of so long, of which none comes early because others came late: a burst overruns a queue and says nothing of who
/// forwards.
pub struct Pace {
    interval: Duration,
    due: Instant,
}

impl Pace {
    pub fn new(interval: Duration) -> Self {
        Self { interval, due: Instant::now() }
    }

    /// Until the next beat.
    pub fn wait(&mut self) {
        // As many as fit in a queue may follow at once, so that a sleep's inaccuracy does not add up.
        const BEHIND_MAX: u32 = 50;
        let now = Instant::now();
        self.due = (self.due + self.interval).max(now.checked_sub(self.interval * BEHIND_MAX).unwrap_or(now));
        thread::sleep(self.due.saturating_duration_since(now));
    }
}

/// Returns how many it sent, and when it ended.
fn send(socket: &UdpSocket, interval: Duration, stop: &AtomicBool) -> (u64, Instant) {
    let mut number = 0;
    let mut pace = Pace::new(interval);
    while !stop.load(Ordering::Relaxed) {
        // An error is a datagram lost, which the receiver's count shows.
        let _ = socket.send(&u64::to_be_bytes(number));
        number += 1;
        pace.wait();
    }
    (number, Instant::now())
}

/// Until the sender has stopped and nothing has come for a while.
fn receive(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicUsize) -> Vec<(u64, Instant)> {
    let mut arrivals = Vec::new();
    let mut bytes = [0; 8];
    loop {
        match socket.recv(&mut bytes) {
            Ok(8) => {
                arrivals.push((u64::from_be_bytes(bytes), Instant::now()));
                count.store(arrivals.len(), Ordering::Relaxed);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return arrivals,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Throughput of one TCP connection.
pub fn tcp_megabits(from: &Vm, to: &Vm, during: Duration) -> Result<f64> {
    let listener = to.netns.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    let receiver = thread::spawn(move || -> std::io::Result<(u64, Duration)> {
        let (mut connection, _) = listener.accept()?;
        let start = Instant::now();
        let mut buffer = vec![0; 1 << 18];
        let mut bytes = 0;
        loop {
            match connection.read(&mut buffer)? {
                0 => return Ok((bytes, start.elapsed())),
                count => bytes += count as u64,
            }
        }
    });
    let address = (to.address, PORT).into();
    let mut connection =
        from.netns.within(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))??;
    connection.set_write_timeout(Some(Duration::from_secs(5)))?;
    let start = Instant::now();
    let buffer = vec![0; 1 << 18];
    while start.elapsed() < during {
        connection.write_all(&buffer)?;
    }
    connection.shutdown(Shutdown::Write)?;
    let (bytes, took) = receiver.join().ok().context("the receiver failed")??;
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    Ok(bytes as f64 * 8.0 / 1e6 / took.as_secs_f64())
}

/// How long a datagram to another VM and its echo take, in microseconds, one after the other.
pub fn round_trips(from: &Vm, to: &Vm, count: u32) -> Result<f64> {
    let patience = Some(Duration::from_secs(2));
    let server = to.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    server.set_read_timeout(patience)?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let mut bytes = [0; 64];
        for _ in 0..count {
            let (length, asker) = server.recv_from(&mut bytes)?;
            server.send_to(&bytes[..length], asker)?;
        }
        Ok(())
    });
    let client = from.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    client.set_read_timeout(patience)?;
    client.connect((to.address, PORT))?;
    let mut bytes = [0; 64];
    let start = Instant::now();
    for _ in 0..count {
        client.send(&bytes[..32])?;
        client.recv(&mut bytes)?;
    }
    let took = start.elapsed();
    echo.join().ok().context("the echo failed")??;
    Ok(took.as_secs_f64() * 1e6 / f64::from(count))
}
