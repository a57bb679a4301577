//! A second instance of the programs for frames that are only asked about. It reads the live maps; what programs write
//! (counters, events, copies) it has of its own, so nothing live moves, and a flood's copies are recorded, not sent.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use aya::maps::{Array, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use vtep_abi::{
    AddrBytes, CaptureHead, CaptureSettings, SNAPLEN_MAX, TRACING, Verdict, VerdictSet, global, map, program,
};

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
    /// What became of it behind the tunnel device, if it was left to that.
    pub behind: Option<Box<Traced>>,
}

/// A frame that comes in, its tags in its bytes, at an interface of the calling thread's network namespace.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub program: Program,
    pub frame: &'a [u8],
    pub ifindex: u32,
    /// The same frame as the tunnel device would hand it on.
    pub behind: Option<Behind<'a>>,
}

/// A frame that left its tunnel, by the tunnel device.
#[derive(Debug, Clone, Copy)]
pub struct Behind<'a> {
    pub frame: &'a [u8],
    pub ifindex: u32,
    pub vni: u32,
    pub sender: AddrBytes,
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
    /// What would become of a frame. Reads the live maps, and moves nothing that is live.
    pub fn trace(&self, entry: &Entry<'_>) -> Result<Traced, KernelError> {
        let object = Object { bytes: &self.object, mac_table: self.mac_table };
        let mut ebpf = load(&object, &self.layouts, &self.maps)?;
        watch_everything(&mut ebpf)?;
        let name = match entry.program {
            Program::PortIn | Program::PortXdp => program::TRACE_PORT,
            Program::UplinkIn | Program::UplinkXdp | Program::TunnelIn => program::TRACE_UPLINK,
        };
        let context = programs::skb_context(entry.ifindex);
        let traced = run(&mut ebpf, entry.program, name, entry.frame, &context)?;
        let Some(behind) = entry.behind.filter(|_| traced.end.head.verdict == Verdict::Admitted as u32)
        else {
            return Ok(traced);
        };
        let context = programs::tunnel_context(behind.ifindex, behind.vni, behind.sender);
        let behind = run(&mut ebpf, Program::TunnelIn, program::TRACE_TUNNEL, behind.frame, &context)?;
        Ok(Traced { behind: Some(Box::new(behind)), ..traced })
    }
}

fn run(
    ebpf: &mut Ebpf,
    program: Program,
    name: &'static str,
    frame: &[u8],
    context: &[u8],
) -> Result<Traced, KernelError> {
    let refused = |source| KernelError::Program { program, source: Box::new(source) };
    let loaded = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let classifier: &mut SchedClassifier = loaded.try_into().map_err(|_| missing(name))?;
    programs::load(|| classifier.load()).map_err(refused)?;
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.ctx_in = Some(context);
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
    Ok(Traced { action: run.return_value, end, copies, behind: None })
}

fn load(object: &Object<'_>, layouts: &[Layout], maps: &Path) -> Result<Ebpf, KernelError> {
    let mut loader = EbpfLoader::new();
    loader.override_global(TRACING, &1_u8, true);
    // The same programs are loaded already: a log would tell nothing, and takes its time. Without any level the library's next
    // attempt, which has a buffer for the log, is invalid, and hides why the first one failed.
    loader.verifier_log_level(VerifierLogLevel::STATS);
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
        verdicts: VerdictSet::ALL,
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
