//! TCP connections whose every byte is checked.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::netns::Netns;

/// What is written at once: enough for super-frames.
const BLOCK: usize = 1 << 16;
/// A connection that stands still for so long is lost.
const STANDSTILL: Duration = Duration::from_secs(30);

/// A stream of which no two parts are alike.
struct Pattern(Vec<u8>);

/// Sends that many bytes to a port of `address`, which is in `to`. Returns how long it took, from the first byte to the end.
pub fn transfer(from: &Netns, to: &Netns, address: IpAddr, bytes: usize) -> Result<Duration> {
    let any = if address.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { Ipv6Addr::UNSPECIFIED.into() };
    let listener = to.within(|| TcpListener::bind((any, 0)))??;
    let address = (address, listener.local_addr()?.port()).into();
    let pattern = Pattern::new();
    thread::scope(|scope| {
        let mut sender = from.within(|| TcpStream::connect_timeout(&address, STANDSTILL))??;
        let (receiver, _) = listener.accept()?;
        let reading = scope.spawn(|| receive(receiver, &pattern, bytes));
        sender.set_write_timeout(Some(STANDSTILL))?;
        let start = Instant::now();
        let sent = send(&mut sender, &pattern, bytes);
        let read = reading.join().ok().context("the receiver panicked")?;
        read.and(sent).map(|()| start.elapsed())
    })
}

fn send(connection: &mut TcpStream, pattern: &Pattern, bytes: usize) -> Result<()> {
    let mut sent = 0;
    while sent < bytes {
        let block = pattern.at(sent, BLOCK.min(bytes - sent));
        connection.write_all(block).with_context(|| format!("after {sent} of {bytes} bytes"))?;
        sent += block.len();
    }
    Ok(connection.shutdown(Shutdown::Write)?)
}

fn receive(mut connection: TcpStream, pattern: &Pattern, bytes: usize) -> Result<()> {
    connection.set_read_timeout(Some(STANDSTILL))?;
    let mut buffer = vec![0; 4 * BLOCK];
    let mut received = 0;
    loop {
        let count =
            connection.read(&mut buffer).with_context(|| format!("after {received} of {bytes} bytes"))?;
        if count == 0 {
            break;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            // As it was written.
            let (part, after) = rest.split_at(rest.len().min(BLOCK - received % BLOCK));
            ensure!(part == pattern.at(received, part.len()), "other bytes than were sent, after {received}");
            received += part.len();
            rest = after;
        }
    }
    ensure!(received == bytes, "of {bytes} bytes {received} came");
    Ok(())
}

impl Pattern {
    const LEN: usize = 1 << 20;

    fn new() -> Self {
        let mut bytes = vec![0; Self::LEN + BLOCK];
        SmallRng::seed_from_u64(0).fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Of one block.
    fn at(&self, position: usize, length: usize) -> &[u8] {
        // Prime to the length, so that a block comes back after very many.
        const STRIDE: usize = 7919;
        let start = position / BLOCK * STRIDE % Self::LEN + position % BLOCK;
        &self.0[start..start + length]
    }
}
