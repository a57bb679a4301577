//! What a hypervisor is to its VM's frames: what goes into one tap comes out of the other as it is, virtio's headers
//! included, so that unfinished checksums and super-frames stay what they are.

use std::io;
use std::sync::Arc;
use std::thread;

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::place::Place;

/// Two taps, down, and threads between them that last as long as both.
pub(super) fn lay(one: (&Place, &str), other: (&Place, &str)) -> io::Result<()> {
    let (one, other) = (tap(one)?, tap(other)?);
    for (from, to) in [(&one, &other), (&other, &one)] {
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        thread::spawn(move || carry(&from, &to));
    }
    Ok(())
}

fn tap((place, name): (&Place, &str)) -> io::Result<Arc<SyncDevice>> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L2).offload(true).enable(false);
    place.within(|| device.build_sync()).map(Arc::new)
}

/// A frame that one side does not take is lost, as it is in a hypervisor.
fn carry(from: &SyncDevice, to: &SyncDevice) {
    /// A packet of IP, its Ethernet header and that of virtio.
    const FRAME_MAX: usize = (1 << 16) + 64;
    let mut frame = vec![0; FRAME_MAX];
    while let Ok(length) = from.recv(&mut frame) {
        drop(to.send(&frame[..length]));
    }
}
