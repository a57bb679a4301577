//! Copies of frames: maps `CAPTURE`, `CAPTURE_SET` and `CAPTURE_CPU`. The ring is the bound; what finds no room in it is
//! counted.

use std::io;
use std::path::Path;

use aya::maps::Map as AyaMap;
use bytemuck::Zeroable;
use vtep_abi::{CaptureCpu, CaptureHead, CaptureSettings, OUTER_MAX, map};

use super::bpf::{Map, PerCpu};
use super::error::{ApplyError, failed};
use super::ring::Ring;

/// A frame that a program copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub head: CaptureHead,
    /// Headers that the program removed.
    pub outer: Vec<u8>,
    pub frame: Vec<u8>,
}

/// What all CPUs counted since the maps were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub matched: u64,
    pub left_out: u64,
    pub lost: u64,
}

#[derive(Debug)]
pub(super) struct Capture {
    settings: Map<u32, CaptureSettings>,
    cpu: PerCpu<CaptureCpu>,
}

impl Capture {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        let capture = Self {
            settings: Map::open(&maps.join(map::CAPTURE_SET)).map_err(failed("opening", map::CAPTURE_SET))?,
            cpu: PerCpu::open(&maps.join(map::CAPTURE_CPU)).map_err(failed("opening", map::CAPTURE_CPU))?,
        };
        // An agent that was killed while it captured.
        capture.set(&CaptureSettings::zeroed())?;
        Ok(capture)
    }

    pub(super) fn set(&self, settings: &CaptureSettings) -> Result<(), ApplyError> {
        self.settings.update(&0, settings).map_err(failed("update", map::CAPTURE_SET))
    }

    pub(super) fn tally(&self) -> Result<Tally, ApplyError> {
        let cpus = self.cpu.lookup(0).map_err(failed("lookup", map::CAPTURE_CPU))?.unwrap_or_default();
        Ok(cpus.iter().fold(Tally::default(), |sum, cpu| Tally {
            matched: sum.matched + cpu.matched,
            left_out: sum.left_out + cpu.left_out,
            lost: sum.lost + cpu.lost,
        }))
    }
}

impl Sample {
    /// TPID and TCI of the tag beside the frame.
    pub fn tag(&self) -> Option<(u16, u16)> {
        let tagged = self.head.tag & CaptureHead::TAGGED != 0;
        let tpid = if self.head.tag & CaptureHead::PROVIDER == 0 { 0x8100 } else { 0x88a8 };
        tagged.then(|| (tpid, u16::try_from(self.head.tag & 0xffff).expect("masked")))
    }

    /// Of the tag beside the frame.
    pub fn vlan(&self) -> Option<u16> {
        self.tag().map(|(_, tci)| tci & 0x0fff)
    }

    /// None: an entry of a form that this agent does not know.
    pub(super) fn read(entry: &[u8]) -> Option<Self> {
        let (head, bytes) = entry.split_at_checked(size_of::<CaptureHead>())?;
        let head: CaptureHead = bytemuck::try_pod_read_unaligned(head).ok()?;
        let (outer, frame) = bytes.split_at_checked(OUTER_MAX)?;
        let outer = outer.get(..head.outer_len as usize)?.to_vec();
        Some(Self { outer, frame: frame.get(..head.copied as usize)?.to_vec(), head })
    }
}

/// The one reader of the ring.
pub struct Samples {
    ring: Ring,
}

impl Samples {
    /// As [`Ring::open`].
    pub(super) fn open(map: AyaMap) -> io::Result<Self> {
        Ok(Self { ring: Ring::open(map)? })
    }

    /// As [`Ring::read`].
    pub async fn read(&mut self, samples: &mut Vec<Sample>, limit: usize) -> io::Result<()> {
        self.ring.read(samples, limit, Sample::read).await
    }
}
