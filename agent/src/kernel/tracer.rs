//! A second instance of the programs for frames that are only asked about. It reads the live maps; what programs write
//! (counters, events, copies) it has of its own, so nothing live moves, and a flood's copies are recorded, not sent.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use aya::maps::{Array, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use vtep_abi::{CaptureHead, CaptureSettings, SNAPLEN_MAX, TRACING, global, map, program};

use super::MacTable;
use super::capture::Sample;
use super::error::KernelError;
use super::layout::Layout;
use super::programs::{self, Object, Program};

/// What became of a frame, and of the copies that a flood made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The TC action.
    pub action: u32,
    pub end: Sample,
    pub copies: Vec<Sample>,
}

/// All that a trace needs. To load programs takes long, so it is free of whoever owns the maps.
#[derive(Debug)]
pub struct Tracer {
    pub(super) object: Cow<'static, [u8]>,
    pub(super) mac_table: MacTable,
    pub(super) layouts: Vec<Layout>,
    pub(super) maps: PathBuf,
}

impl Tracer {
    /// What would become of a frame with its tags in its bytes that comes in at `ifindex`, an interface of the calling
    /// thread's network namespace. Reads the live maps, and moves nothing that is live.
    pub fn trace(&self, program: Program, frame: &[u8], ifindex: u32) -> Result<Traced, KernelError> {
        let object = Object { bytes: &self.object, mac_table: self.mac_table };
        run(load(&object, &self.layouts, &self.maps)?, program, frame, ifindex)
    }
}

fn run(mut ebpf: Ebpf, program: Program, frame: &[u8], ifindex: u32) -> Result<Traced, KernelError> {
    watch_everything(&mut ebpf)?;
    let name = match program {
        Program::PortIn | Program::PortXdp => program::TRACE_PORT,
        Program::UplinkIn | Program::UplinkXdp | Program::TunnelIn => program::TRACE_UPLINK,
    };
    let refused = |source| KernelError::Program { program, source: Box::new(source) };
    let loaded = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let classifier: &mut SchedClassifier = loaded.try_into().map_err(|_| missing(name))?;
    programs::load(|| classifier.load()).map_err(refused)?;
    let context = programs::skb_context(ifindex);
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.ctx_in = Some(&context);
    options.repeat = 1;
    let run = classifier
        .test_run(options)
        .map_err(|source| KernelError::TestRun { program, source: Box::new(source) })?;

    let ring = ebpf.map_mut(map::CAPTURE).ok_or_else(|| missing(map::CAPTURE))?;
    let mut ring = RingBuf::try_from(ring).map_err(events)?;
    let mut copies = Vec::new();
    while let Some(entry) = ring.next() {
        copies.extend(Sample::read(&entry));
    }
    let end = copies.pop().filter(|sample| sample.head.flags & CaptureHead::COPY == 0);
    let end = end.ok_or_else(|| KernelError::Object { what: format!("copy of the frame from {name}") })?;
    Ok(Traced { action: run.return_value, end, copies })
}

fn load(object: &Object<'_>, layouts: &[Layout], maps: &Path) -> Result<Ebpf, KernelError> {
    let mut loader = EbpfLoader::new();
    loader.override_global(TRACING, &1_u8, true);
    // The same programs are loaded already: a log would tell nothing, and takes its time.
    loader.verifier_log_level(VerifierLogLevel::DISABLE);
    loader.override_global(global::MAC_TABLE, object.mac_table(), true);
    for layout in layouts {
        if map::WRITTEN_BY_PROGRAMS.contains(&layout.name) {
            loader.map_max_entries(layout.name, layout.capacity);
            continue;
        }
        let pin = maps.join(layout.name);
        // The loader would pin a new one there.
        if let Err(source) = pin.metadata() {
            return Err(KernelError::Path { path: pin, source });
        }
        loader.map_pin_path(layout.name, pin);
    }
    loader.load(object.bytes).map_err(|error| KernelError::Load(Box::new(error)))
}

/// [`CaptureSettings`] in a form that the loader's library takes as a value.
type Words = [u64; size_of::<CaptureSettings>() / 8];

fn watch_everything(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let all = CaptureSettings {
        verdicts: u64::MAX,
        until_ns: u64::MAX,
        bd: CaptureSettings::ANY_BD,
        ifindex: 0,
        per_second: u32::MAX,
        one_in: 0,
        snaplen: u32::try_from(SNAPLEN_MAX).expect("a frame is small"),
        pad: 0,
    };
    let settings = ebpf.map_mut(map::CAPTURE_SET).ok_or_else(|| missing(map::CAPTURE_SET))?;
    let words: Words = bytemuck::cast(all);
    let mut settings = Array::<_, Words>::try_from(settings).map_err(events)?;
    settings.set(0, words, 0).map_err(events)
}

fn missing(what: &str) -> KernelError {
    KernelError::Object { what: what.to_owned() }
}

fn events(error: aya::maps::MapError) -> KernelError {
    KernelError::Events(std::io::Error::other(error))
}
