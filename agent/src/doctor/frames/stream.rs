//! A stream of TCP and a datagram of UDP between two hosts, checked byte by byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::place::Place;
use super::spawn_result;

/// Where a stream begins or ends.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) place: &'a Place,
    pub(super) address: Ipv4Addr,
}

pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Of a whole stream, on a busy machine.
const STREAM_PATIENCE: Duration = Duration::from_secs(15);
pub(super) const STREAM_LEN: usize = 4 << 20;

/// So that what is lost, doubled or moved is noticed.
fn pattern(at: usize) -> u8 {
    let [low, middle, high, ..] = at.to_le_bytes();
    low ^ middle.wrapping_mul(31) ^ high.wrapping_mul(17)
}

/// `STREAM_LEN` bytes from one to the other.
pub(super) fn tcp(from: At<'_>, to: At<'_>) -> io::Result<()> {
    let listener = to.place.within(|| TcpListener::bind((to.address, 0)))?;
    let address = listener.local_addr()?;
    let mut stream = from.place.within(|| TcpStream::connect_timeout(&address, PATIENCE))?;
    let received = spawn_result(move || receive(&listener));
    stream.set_write_timeout(Some(PATIENCE))?;
    let bytes: Vec<u8> = (0..STREAM_LEN).map(pattern).collect();
    let sent = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the stream did not end in time");
    let received = received.recv_timeout(STREAM_PATIENCE).map_err(late)?;
    received.and(sent)
}

fn receive(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut buffer, mut total) = (vec![0; 1 << 16], 0);
    loop {
        let count = stream.read(&mut buffer).map_err(|error| {
            io::Error::new(error.kind(), format!("after {total} of {STREAM_LEN} bytes: {error}"))
        })?;
        if count == 0 {
            break;
        }
        if let Some(at) = (0..count).find(|at| buffer[*at] != pattern(total + at)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("byte {} is another", total + at),
            ));
        }
        total += count;
    }
    if total == STREAM_LEN {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{total} of {STREAM_LEN} bytes")))
}

/// A datagram of so many bytes, again and again until it has arrived.
pub(super) fn udp(from: At<'_>, to: At<'_>, length: usize) -> io::Result<()> {
    const AGAIN: Duration = Duration::from_millis(200);
    let receiver = to.place.within(|| UdpSocket::bind((to.address, 0)))?;
    let sender = from.place.within(|| UdpSocket::bind((from.address, 0)))?;
    receiver.set_read_timeout(Some(AGAIN))?;
    let sent: Vec<u8> = (0..length).map(pattern).collect();
    let mut buffer = vec![0; length + 1];
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        sender.send_to(&sent, receiver.local_addr()?)?;
        match receiver.recv(&mut buffer) {
            Ok(count) if buffer[..count] == sent => return Ok(()),
            Ok(count) => {
                let what = format!("{count} bytes that differ arrived, expected {length}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived"))
}
