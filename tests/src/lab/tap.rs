//! A VM on a tap, as a hypervisor runs it: the VM's own interface is a second tap, and what goes into one comes out of the
//! other as it is, virtio's headers included.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Result;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::Vm;
use crate::{link::Link, netns::Netns};

/// Of virtio (virtio 1.2 §5.1.3): unfinished checksums, and several segments of TCP or UDP in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offloads {
    On,
    Off,
}

pub struct TapVm {
    pub vm: Vm,
    pub port: Link,
    refused: Arc<AtomicU64>,
}

impl TapVm {
    /// As [`Vm::new`].
    pub fn new(host: &Netns, port: &str, number: u8, offloads: Offloads) -> Result<Self> {
        let netns = Netns::new(&format!("vm{number}"))?;
        let (outside, inside) = (open(host, port, offloads)?, open(&netns, "eth0", offloads)?);
        let refused = Arc::default();
        for (from, to) in [(&outside, &inside), (&inside, &outside)] {
            let (from, to, refused) = (Arc::clone(from), Arc::clone(to), Arc::clone(&refused));
            thread::spawn(move || pump(&from, &to, &refused));
        }
        let vm = Vm::with(netns.clone(), Link::named(&netns, "eth0"), number)?;
        Ok(Self { vm, port: Link::named(host, port), refused })
    }

    /// Frames that one side would not take from the other.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for TapVm {
    /// Without its link a tap's file reads an error, which ends a thread.
    fn drop(&mut self) {
        for link in [&self.port, &self.vm.eth0] {
            if let Err(error) = link.delete() {
                eprintln!("{link} was left behind: {error:#}");
            }
        }
    }
}

fn open(netns: &Netns, name: &str, offloads: Offloads) -> Result<Arc<SyncDevice>> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L2).offload(offloads == Offloads::On);
    Ok(Arc::new(netns.within(|| device.build_sync())??))
}

fn pump(from: &SyncDevice, to: &SyncDevice, refused: &AtomicU64) {
    // A packet of IP, its Ethernet and its virtio header.
    let mut frame = vec![0; (1 << 16) + 64];
    while let Ok(length) = from.recv(&mut frame) {
        if to.send(&frame[..length]).is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}
