//! What the programs report: map `EVENTS`. The ring itself is the bound; what finds no room in it was never there.

use std::io;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use vtep_abi::Event;

/// The one reader of the ring.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// In a runtime, whose reactor wakes the reader.
    #[expect(
        deprecated,
        reason = "its successor asks for unsafe code; the ring keeps its one descriptor until it is dropped"
    )]
    pub(super) fn open(map: Map) -> io::Result<Self> {
        let ring = RingBuf::try_from(map).map_err(io::Error::other)?;
        Ok(Self { ring: AsyncFd::with_interest(ring, Interest::READABLE)? })
    }

    /// Waits for events and appends at least one, at most `limit`. Nothing is lost if the wait is given up.
    pub async fn read(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        let before = events.len();
        loop {
            let mut guard = self.ring.readable_mut().await?;
            let ring = guard.get_inner_mut();
            while events.len() - before < limit {
                let Some(item) = ring.next() else {
                    guard.clear_ready();
                    break;
                };
                // An event of another size is of a kind that this agent does not know.
                events.extend(bytemuck::try_pod_read_unaligned::<Event>(&item));
            }
            if events.len() > before {
                return Ok(());
            }
        }
    }
}
