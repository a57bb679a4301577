//! Frames out of nothing at an interface, and an end for them at another: `ebpf/src/bin/traffic.rs` at work.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, PerCpuArray},
    programs::{
        Program, SchedClassifier, TcAttachType, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode,
    },
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{deadline::wait_for, link::Link};

/// Injects frames as if an interface had just received them.
pub(super) struct Source {
    program: &'static str,
    ebpf: Ebpf,
    link: Link,
}

/// Takes and counts every frame that an interface receives, until it is dropped.
pub(super) struct Sink {
    ebpf: Ebpf,
}

impl Source {
    /// The frames' destinations end in 0 to `destinations` - 1.
    pub(super) fn at(link: &Link, destinations: u32) -> Result<Self> {
        Self::with("generate", link, destinations)
    }

    /// The other end of this veth receives them, at its XDP hook first.
    pub(super) fn opposite(link: &Link, destinations: u32) -> Result<Self> {
        Self::with("reflect", link, destinations)
    }

    fn with(name: &'static str, link: &Link, destinations: u32) -> Result<Self> {
        // Injection wants a receive queue that XDP knows, which a veth has while it has a program.
        let mut ebpf = object()?;
        let program: &mut Xdp = program(&mut ebpf, name)?.try_into()?;
        program.load()?;
        link.netns().within(|| program.attach(link.name(), XdpMode::Driver))??;
        let map = ebpf.map_mut("DESTINATIONS").context("the object has no map DESTINATIONS")?;
        Array::<_, u32>::try_from(map)?.set(0, destinations, 0)?;
        Ok(Self { program: name, ebpf, link: link.clone() })
    }

    /// On the first `cores` processors at once, `count` frames together, `batch` at a time. Returns how long it took until
    /// the host had taken the last one.
    pub(super) fn send_from(&self, cores: u32, frame: &[u8], count: u32, batch: u32) -> Result<Duration> {
        let start = Instant::now();
        thread::scope(|scope| {
            let send = |core: u32| {
                let mut processors = CpuSet::new();
                processors.set(usize::try_from(core)?)?;
                sched_setaffinity(Pid::from_raw(0), &processors)?;
                self.send_here(frame, count / cores, batch)
            };
            let all: Vec<_> = (0..cores).map(|core| scope.spawn(move || send(core))).collect();
            all.into_iter().try_for_each(|one| one.join().ok().context("a sender panicked")?)
        })?;
        Ok(start.elapsed())
    }

    fn send_here(&self, frame: &[u8], count: u32, batch: u32) -> Result<()> {
        let program = self.ebpf.program(self.program).context("the object lacks its program")?;
        let program: &Xdp = program.try_into()?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let length = u32::try_from(frame.len())?;
        let context = [0, length, 0, self.link.index()?, 0, 0].map(u32::to_ne_bytes).concat();
        self.link.netns().within(|| {
            program.test_run(TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::new()
            })?;
            Ok(())
        })?
    }
}

impl Sink {
    pub(super) fn at(link: &Link) -> Result<Self> {
        let mut ebpf = object()?;
        let program: &mut SchedClassifier = program(&mut ebpf, "sink")?.try_into()?;
        program.load()?;
        link.netns().within(|| program.attach(link.name(), TcAttachType::Ingress))??;
        Ok(Self { ebpf })
    }

    /// Before the kernel makes packets of them. What did not come by XDP is copied first.
    pub(super) fn at_xdp(link: &Link) -> Result<Self> {
        let mut ebpf = object()?;
        let program: &mut Xdp = program(&mut ebpf, "sink_xdp")?.try_into()?;
        program.load()?;
        link.netns().within(|| program.attach(link.name(), XdpMode::Driver))??;
        Ok(Self { ebpf })
    }

    pub(super) fn count(&self) -> Result<u64> {
        let map = self.ebpf.map("SUNK").context("the object has no map SUNK")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }
}

/// Frames, and how they are sent.
#[derive(Clone, Copy)]
pub(super) struct Burst<'a> {
    pub(super) frame: &'a [u8],
    pub(super) frames: u32,
    pub(super) cores: u32,
    pub(super) batch: u32,
    /// That come out of one.
    pub(super) copies: u32,
}

impl Burst<'_> {
    /// Frames that came out at the other side in a second. An error if fewer came than one of `one_in`.
    pub(super) fn through(&self, source: &Source, sink: &Sink, one_in: u64) -> Result<f64> {
        let &Burst { frame, frames, cores, batch, copies } = self;
        source.send_from(cores, frame, frames / 20, batch)?;
        let before = sink.count()?;
        let took = source.send_from(cores, frame, frames, batch)?;
        let expected = u64::from(frames / cores * cores * copies);
        let arrived = wait_for("the last frame", Duration::from_secs(1), || {
            let arrived = sink.count().ok()?.checked_sub(before)?;
            (arrived >= expected).then_some(arrived)
        })
        .or_else(|_| sink.count().map(|count| count - before))?;
        ensure!(arrived > expected / one_in, "of {expected} frames only {arrived} arrived");
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        Ok(arrived as f64 / took.as_secs_f64())
    }
}

/// Redirects every frame that comes in at one interface to another, as it is, until it is dropped.
pub(super) struct Bounce {
    _ebpf: Ebpf,
}

impl Bounce {
    pub(super) fn between(from: &Link, to: &Link) -> Result<Self> {
        let mut ebpf = object()?;
        let map = ebpf.map_mut("TARGET").context("the object has no map TARGET")?;
        Array::<_, u32>::try_from(map)?.set(0, to.index()?, 0)?;
        let program: &mut Xdp = program(&mut ebpf, "bounce")?.try_into()?;
        program.load()?;
        from.netns().within(|| program.attach(from.name(), XdpMode::Driver))??;
        Ok(Self { _ebpf: ebpf })
    }
}

/// Its programs stay attached as long as it lives.
fn object() -> Result<Ebpf> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/bpfel-unknown-none/release/traffic");
    Ebpf::load_file(&path)
        .with_context(|| format!("{} cannot be loaded; `cargo xtask build-ebpf` builds it", path.display()))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
}
