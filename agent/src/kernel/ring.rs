//! A ring buffer that programs fill, and its one reader. The ring itself is the bound; what finds no room in it was never
//! there.

use std::io;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// In a runtime, whose reactor wakes the reader.
    #[expect(
        deprecated,
        reason = "its successor asks for unsafe code; the ring keeps its one descriptor until it is dropped"
    )]
    pub(super) fn open(map: Map) -> io::Result<Self> {
        let ring = RingBuf::try_from(map).map_err(io::Error::other)?;
        Ok(Self(AsyncFd::with_interest(ring, Interest::READABLE)?))
    }

    /// Waits for entries and appends at least one, at most `limit`; what `parse` does not know is skipped. Nothing is lost
    /// if the wait is given up.
    pub(super) async fn read<T>(
        &mut self,
        entries: &mut Vec<T>,
        limit: usize,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<()> {
        let before = entries.len();
        loop {
            let mut guard = self.0.readable_mut().await?;
            let ring = guard.get_inner_mut();
            while entries.len() - before < limit {
                let Some(item) = ring.next() else {
                    guard.clear_ready();
                    break;
                };
                entries.extend(parse(&item));
            }
            if entries.len() > before {
                return Ok(());
            }
        }
    }

    /// Waits for entries. Nothing is lost if the wait is given up.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        self.0.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Without a wait: what is there, at most `limit`.
    pub(super) fn take<T>(&mut self, entries: &mut Vec<T>, limit: usize, parse: impl Fn(&[u8]) -> Option<T>) {
        let ring = self.0.get_mut();
        while entries.len() < limit
            && let Some(item) = ring.next()
        {
            entries.extend(parse(&item));
        }
    }
}

/// A value as it lies in memory; one of another size is of a kind that this agent does not know.
pub(super) fn pod<T: bytemuck::Pod>(entry: &[u8]) -> Option<T> {
    bytemuck::try_pod_read_unaligned(entry).ok()
}
