//! The programs and where they stand: loaded once, attached by pinned links that outlive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use aya::programs::{ProgramError, ProgramFd, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use vtep_abi::{AddrBytes, global, map, program};

use super::MacTable;
use super::bpf::{self, Direction, Hook, HookLink};
use super::error::{AttachError, KernelError};
use super::layout::Layout;
use super::pins::{self, Pins};

/// One of the programs, each for one kind of hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// At the ingress of a VM port.
    PortIn,
    /// At the ingress of the collect-metadata VXLAN device.
    TunnelIn,
    /// At the ingress of an uplink.
    UplinkIn,
    /// At the XDP hook of a VM port in packet-rate mode.
    PortXdp,
    /// At the XDP hook of an uplink in packet-rate mode.
    UplinkXdp,
}

impl Program {
    pub const ALL: [Self; 5] = [Self::PortIn, Self::TunnelIn, Self::UplinkIn, Self::PortXdp, Self::UplinkXdp];

    pub const fn hook(self) -> Hook {
        match self {
            Self::PortIn | Self::TunnelIn | Self::UplinkIn => Hook::Tcx,
            Self::PortXdp | Self::UplinkXdp => Hook::Xdp,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::PortIn => program::PORT_IN,
            Self::TunnelIn => program::TUNNEL_IN,
            Self::UplinkIn => program::UPLINK_IN,
            Self::PortXdp => program::PORT_XDP,
            Self::UplinkXdp => program::UPLINK_XDP,
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Program {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|program| program.name() == name).ok_or(())
    }
}

/// A program at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub ifindex: u32,
    pub program: Program,
    /// Kernel identifiers of other programs at the same hook, which are not ours and never touched.
    pub foreign: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The link is new.
    New,
    /// It stood there already, with the present program.
    Kept,
}

/// What became of a built frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// Of TC or XDP, as the program's hook has them.
    pub action: u32,
    pub frame: Vec<u8>,
    /// Of one run, on average.
    pub duration: Duration,
}

/// The programs' object, and what its read-only variables are to be.
pub(super) struct Object<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) mac_table: MacTable,
}

impl Object<'_> {
    pub(super) fn mac_table(&self) -> &'static u32 {
        match self.mac_table {
            MacTable::Bucketed => &global::MAC_TABLE_BUCKETED,
            MacTable::Hash => &global::MAC_TABLE_HASH,
        }
    }
}

pub(super) struct Programs {
    ebpf: Ebpf,
    /// Kept open beside their pins: either keeps the program attached.
    links: BTreeMap<(u32, Program), HookLink>,
}

impl Programs {
    /// Loads all of them onto the maps that are pinned in `maps`, after creating those that are missing there.
    pub(super) fn load(object: &Object<'_>, layouts: &[Layout], maps: &Path) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        // The log of a refused program is worth more than the time it takes; the default also asks for statistics.
        loader.verifier_log_level(VerifierLogLevel::DEBUG);
        loader.override_global(global::MAC_TABLE, object.mac_table(), true);
        for layout in layouts {
            loader
                .map_max_entries(layout.name, layout.capacity)
                .map_pin_path(layout.name, maps.join(layout.name));
        }
        let mut ebpf = loader.load(object.bytes).map_err(|error| KernelError::Load(Box::new(error)))?;
        for program in Program::ALL {
            load_one(&mut ebpf, program)?;
        }
        Ok(Self { ebpf, links: BTreeMap::new() })
    }

    pub(super) fn take_events(&mut self) -> Option<aya::maps::Map> {
        self.ebpf.take_map(map::EVENTS)
    }

    pub(super) fn take_bfd(&mut self) -> Option<aya::maps::Map> {
        self.ebpf.take_map(map::BFD_RECEIVED)
    }

    pub(super) fn take_samples(&mut self) -> Option<aya::maps::Map> {
        self.ebpf.take_map(map::CAPTURE)
    }

    /// Has no maps to hand over that those before it have handed over: they are the same maps, with one reader.
    pub(super) fn follow(&mut self, former: &Self) {
        for name in [map::EVENTS, map::CAPTURE, map::BFD_RECEIVED] {
            if former.ebpf.map(name).is_none() {
                drop(self.ebpf.take_map(name));
            }
        }
    }

    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Puts the loaded programs in the place of those on the pinned links. Returns how many links live.
    pub(super) fn adopt(&mut self, pins: &Pins) -> Result<usize, KernelError> {
        for (ifindex, program) in pins.pinned_links()? {
            let pin = pins.link(ifindex, program);
            let failed = |source| KernelError::Link { ifindex, source };
            let link = HookLink::open(&pin).map_err(failed)?;
            match link.update(self.fd(program).map_err(failed)?) {
                Ok(()) => drop(self.links.insert((ifindex, program), link)),
                // The interface is gone.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
                    fs::remove_file(&pin).map_err(|source| pins::failed(&pin, source))?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(self.links.len())
    }

    pub(super) fn attach(
        &mut self,
        pins: &Pins,
        ifindex: u32,
        program: Program,
    ) -> Result<Attached, AttachError> {
        let failed = |call| move |source| AttachError::Bpf { call, program, ifindex, source };
        if let Some(link) = self.links.get(&(ifindex, program)) {
            if is_live(link).map_err(failed("inspection"))? {
                return Ok(Attached::Kept);
            }
            self.detach(pins, ifindex, program)?;
        }
        let fd = self.fd(program).map_err(failed("loading"))?;
        let link =
            HookLink::create(fd, ifindex, program.hook()).map_err(|source| match source.raw_os_error() {
                Some(libc::ENODEV) => AttachError::Gone { ifindex },
                Some(libc::EBUSY) => AttachError::Taken { program, ifindex },
                _ => failed("attachment")(source),
            })?;
        link.pin(&pins.link(ifindex, program)).map_err(failed("pinning"))?;
        self.links.insert((ifindex, program), link);
        Ok(Attached::New)
    }

    /// Whether it was there.
    pub(super) fn detach(
        &mut self,
        pins: &Pins,
        ifindex: u32,
        program: Program,
    ) -> Result<bool, AttachError> {
        let Some(link) = self.links.remove(&(ifindex, program)) else { return Ok(false) };
        let failed = |source| AttachError::Bpf { call: "detachment", program, ifindex, source };
        link.detach().map_err(failed)?;
        match fs::remove_file(pins.link(ifindex, program)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(AttachError::Bpf { call: "unpinning", program, ifindex, source })
            }
            _ => Ok(true),
        }
    }

    /// Pins what is held but pinned no more. Returns how many that were.
    pub(super) fn pin_again(&self, pins: &Pins) -> Result<usize, KernelError> {
        let mut made = 0;
        for (&(ifindex, program), link) in &self.links {
            let pin = pins.link(ifindex, program);
            if !pin.exists() {
                link.pin(&pin).map_err(|source| pins::failed(&pin, source))?;
                made += 1;
            }
        }
        Ok(made)
    }

    /// Forgets the links whose interfaces are gone.
    pub(super) fn drop_severed(&mut self, pins: &Pins) -> Result<Vec<(u32, Program)>, AttachError> {
        let mut severed = Vec::new();
        for (&(ifindex, program), link) in &self.links {
            let failed = |source| AttachError::Bpf { call: "inspection", program, ifindex, source };
            if !is_live(link).map_err(failed)? {
                severed.push((ifindex, program));
            }
        }
        for &(ifindex, program) in &severed {
            self.detach(pins, ifindex, program)?;
        }
        Ok(severed)
    }

    /// Those whose interfaces are there.
    pub(super) fn attached(&self) -> Result<Vec<Attachment>, AttachError> {
        let mut attached = Vec::new();
        for (&(ifindex, program), link) in &self.links {
            let failed = |source| AttachError::Bpf { call: "inspection", program, ifindex, source };
            if !is_live(link).map_err(failed)? {
                continue;
            }
            let mut foreign = match program.hook() {
                Hook::Tcx => bpf::tcx_programs(ifindex, Direction::Ingress).map_err(failed)?,
                Hook::Xdp => Vec::new(),
            };
            let ours = link.program_id().map_err(failed)?;
            foreign.retain(|id| *id != ours);
            attached.push(Attachment { ifindex, program, foreign });
        }
        Ok(attached)
    }

    pub(super) fn test_run(
        &mut self,
        program: Program,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<TestRun, KernelError> {
        let context = match program.hook() {
            Hook::Tcx => skb_context(ifindex).to_vec(),
            Hook::Xdp => xdp_context(0, frame.len(), ifindex).to_vec(),
        };
        self.test_run_in(program, &context, frame, repeat)
    }

    /// Metadata in front of a frame takes of its headroom (`xdp_set_data_meta_invalid` and `bpf_prog_test_run_xdp` in the
    /// kernel's `net/bpf/test_run.c`).
    pub(super) fn test_run_behind(
        &mut self,
        program: Program,
        metadata: &[u8],
        frame: &[u8],
        ifindex: u32,
    ) -> Result<TestRun, KernelError> {
        let bytes = [metadata, frame].concat();
        let context = xdp_context(metadata.len(), bytes.len(), ifindex);
        let mut run = self.test_run_in(program, &context, &bytes, 1)?;
        run.frame.drain(..metadata.len().min(run.frame.len()));
        Ok(run)
    }

    fn test_run_in(
        &mut self,
        program: Program,
        context: &[u8],
        bytes: &[u8],
        repeat: u32,
    ) -> Result<TestRun, KernelError> {
        // Room for what encapsulation adds.
        let mut out = vec![0; bytes.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(context);
        options.repeat = repeat;
        let loaded = loaded(&mut self.ebpf, program)?;
        let run = match (program.hook(), loaded) {
            (Hook::Tcx, aya::programs::Program::SchedClassifier(loaded)) => loaded.test_run(options),
            (Hook::Xdp, aya::programs::Program::Xdp(loaded)) => loaded.test_run(options),
            _ => return Err(missing(program)),
        };
        let run = run.map_err(|error| KernelError::TestRun { program, source: Box::new(error) })?;
        out.truncate(run.data_size_out as usize);
        Ok(TestRun { action: run.return_value, frame: out, duration: run.duration })
    }

    /// How many instructions the verifier walked to admit a program: what is left of its million.
    pub(super) fn verified_instructions(&self, program: Program) -> Result<u32, KernelError> {
        let loaded = self.ebpf.program(program.name()).ok_or_else(|| missing(program))?;
        let of = |error| KernelError::Program { program, source: Box::new(error) };
        let verified = loaded.info().map_err(of)?.verified_instruction_count();
        verified.ok_or(KernelError::TooOld { feature: "the count of verified instructions", since: "5.16" })
    }

    pub(super) fn program(&self, program: Program) -> Result<&ProgramFd, KernelError> {
        let loaded = self.ebpf.program(program.name()).ok_or_else(|| missing(program))?;
        loaded.fd().map_err(|error| KernelError::Program { program, source: Box::new(error) })
    }

    fn fd(&self, program: Program) -> io::Result<BorrowedFd<'_>> {
        let loaded = self.ebpf.program(program.name()).ok_or(io::ErrorKind::NotFound)?;
        Ok(loaded.fd().map_err(io::Error::other)?.as_fd())
    }
}

/// Detaches by the pins alone.
pub(super) fn detach_pinned(pins: &Pins) -> Result<(), KernelError> {
    for (ifindex, program) in pins.pinned_links()? {
        let link = HookLink::open(&pins.link(ifindex, program));
        link.and_then(|link| link.detach()).map_err(|source| KernelError::Link { ifindex, source })?;
    }
    Ok(())
}

fn missing(program: Program) -> KernelError {
    let kind = match program.hook() {
        Hook::Tcx => "classifier",
        Hook::Xdp => "XDP program",
    };
    KernelError::Object { what: format!("{kind} {program}") }
}

fn loaded(ebpf: &mut Ebpf, program: Program) -> Result<&mut aya::programs::Program, KernelError> {
    ebpf.program_mut(program.name()).ok_or_else(|| missing(program))
}

fn load_one(ebpf: &mut Ebpf, program: Program) -> Result<(), KernelError> {
    let done = match (program.hook(), loaded(ebpf, program)?) {
        (Hook::Tcx, aya::programs::Program::SchedClassifier(loaded)) => load(|| loaded.load()),
        (Hook::Xdp, aya::programs::Program::Xdp(loaded)) => load(|| loaded.load()),
        _ => return Err(missing(program)),
    };
    done.map_err(|error| KernelError::Program { program, source: Box::new(error) })
}

/// The verifier gives up with EAGAIN when a signal waits for the thread (`do_check` in the kernel's
/// `kernel/bpf/verifier.c`).
pub(super) fn load(mut attempt: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const ATTEMPTS_MAX: u32 = 5;
    let mut attempts = 1;
    loop {
        match attempt() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock && attempts < ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            done => return done,
        }
    }
}

fn is_live(link: &HookLink) -> io::Result<bool> {
    link.ifindex().map(|ifindex| ifindex.is_some_and(|ifindex| ifindex != 0))
}

/// `struct __sk_buff` up to `ifindex`, the device at which the frame is said to have come in (`convert___skb_to_skb`
/// in the kernel's `net/bpf/test_run.c`).
pub(super) fn skb_context(ifindex: u32) -> [u8; 44] {
    const INGRESS_IFINDEX: usize = 36;
    const IFINDEX: usize = 40;
    let mut context = [0; 44];
    context[INGRESS_IFINDEX..IFINDEX].copy_from_slice(&ifindex.to_ne_bytes());
    context[IFINDEX..].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

/// As [`skb_context`], and in `cb` what `trace_tunnel` looks for there.
pub(super) fn tunnel_context(ifindex: u32, vni: u32, sender: AddrBytes) -> [u8; 68] {
    const CB: usize = 48;
    let mut context = [0; 68];
    context[..44].copy_from_slice(&skb_context(ifindex));
    context[CB..CB + 4].copy_from_slice(&vni.to_ne_bytes());
    context[CB + 4..].copy_from_slice(&sender);
    context
}

/// `struct xdp_md`: where data begins and ends, and the device at which it is said to have come in
/// (`xdp_convert_md_to_buff`, same file). The device's first queue must be known to XDP.
fn xdp_context(data: usize, data_end: usize, ifindex: u32) -> [u8; 24] {
    const DATA: usize = 0;
    const DATA_END: usize = 4;
    const INGRESS_IFINDEX: usize = 12;
    let mut context = [0; 24];
    for (at, place) in [(DATA, data), (DATA_END, data_end)] {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        context[at..at + 4].copy_from_slice(&place.to_ne_bytes());
    }
    context[INGRESS_IFINDEX..INGRESS_IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context
}
