//! Many datagrams by one call, which go as one packet as far as devices take it (`UDP_SEGMENT`, udp(7)).

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::Vm;

const SEGMENT: u16 = 1200;
const SEGMENTS: usize = 30;
/// Of a call the last datagram is shorter.
const LAST: usize = 333;
const CALLS: usize = 5;
const BUFFER_BYTES: usize = 16 << 20;

/// `bursts` times so many datagrams as no queue on the way is too short for, each with other bytes. All come, as they were.
pub fn udp_segments(from: &Vm, to: &Vm, bursts: usize) -> Result<()> {
    let receiver = to.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER_BYTES)?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let sender = from.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    sender.connect((to.address, receiver.local_addr()?.port()))?;
    setsockopt(&sender, sockopt::UdpGsoSegment, &i32::from(SEGMENT))?;
    let mut buffer = vec![0; 1 << 16];
    for burst in 0..bursts {
        let calls: Vec<Vec<u8>> = (0..CALLS).map(|call| bytes(burst * CALLS + call)).collect();
        for bytes in &calls {
            ensure!(sender.send(bytes)? == bytes.len(), "not all was taken");
        }
        // In any order: a sender that moves to another processor may overtake itself.
        let mut sent: Vec<&[u8]> =
            calls.iter().flat_map(|bytes| bytes.chunks(usize::from(SEGMENT))).collect();
        let mut came = Vec::with_capacity(sent.len());
        while came.len() < sent.len() {
            let length = receiver.recv(&mut buffer);
            let length = length.with_context(|| format!("{} in burst {burst}", came.len()))?;
            came.push(buffer[..length].to_vec());
        }
        sent.sort_unstable();
        came.sort_unstable();
        ensure!(sent == came, "other datagrams than were sent came in burst {burst}");
    }
    Ok(())
}

fn bytes(call: usize) -> Vec<u8> {
    let length = usize::from(SEGMENT) * (SEGMENTS - 1) + LAST;
    let number = |position: usize| call.wrapping_mul(7919).wrapping_add(position / 2).to_le_bytes();
    (0..length).map(|position| number(position)[position % 2]).collect()
}
