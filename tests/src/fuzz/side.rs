//! The programs with one of the two MAC tables, their maps and counters, and how a frame is run through them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray, RingBuf},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use vtep_abi::{
    ADMITTED_MARK, CaptureHead, CaptureSettings, Counter, PortBuckets, VERDICTS_MAX, Verdict, VniBuckets, map,
};
use vtep_agent::{
    kernel::{Kernel, MacTable, Program, Settings, Sizes},
    plan::Step,
};

use super::{
    Stimulus,
    rig::{DOMAINS_MAX, LOCAL_PORTS_MAX, PORTS, VTEPS_MAX},
    rows,
};
use crate::{
    bpffs::Bpffs,
    model::{self, Hook, PortCount, Tables, VtepCount},
};

pub(super) struct Side {
    kernel: Kernel,
    received: Ebpf,
    ring: RingBuf<MapData>,
    port_buckets: Array<MapData, [u64; size_of::<PortBuckets>() / 8]>,
    vni_buckets: Array<MapData, [u64; size_of::<VniBuckets>() / 8]>,
    installed: Tables,
    /// As they were last read.
    domains: Vec<[Counter; VERDICTS_MAX]>,
    _bpffs: Bpffs,
}

/// What a program did with a frame.
pub(super) struct Ran {
    pub(super) action: u32,
    pub(super) frame: Vec<u8>,
    /// Where it was sent, by the capture beside it.
    pub(super) sent: Option<CaptureHead>,
}

/// A bridge domain, a verdict's code, and by how many frames and bytes their counter moved.
pub(super) type Move = (u32, usize, u64, u64);

/// For good: nothing is admitted any more.
const USED_UP: u64 = u64::MAX / 2;

impl Side {
    pub(super) fn new(mac_table: MacTable) -> Result<Self> {
        let bpffs = Bpffs::new()?;
        let sizes = Sizes {
            macs_max: 1024,
            vteps_max: VTEPS_MAX,
            vnis_max: DOMAINS_MAX,
            ports_max: LOCAL_PORTS_MAX,
            senders_max: 256,
            flood_max: 1024,
        };
        let root = bpffs.path().join("vtepd");
        let settings = Settings { sizes, mac_table, ..Settings::new(&root) };
        let (kernel, _) = Kernel::open(&settings)?;
        kernel.set_capture(&CaptureSettings {
            verdicts: [
                Verdict::Local,
                Verdict::Master,
                Verdict::Slave,
                Verdict::Device,
                Verdict::Delivered,
                Verdict::Answered,
                Verdict::TooBigTold,
                Verdict::PortMtuTold,
            ]
            .into_iter()
            .collect(),
            until_ns: u64::MAX,
            bd: CaptureSettings::ANY_BD,
            ifindex: 0,
            per_second: u32::MAX,
            one_in: 1,
            snaplen: 0,
            pad: 0,
        })?;
        let pinned = |name: &str| MapData::from_pin(root.join("v1/maps").join(name));
        Ok(Self {
            received: received(&kernel)?,
            ring: RingBuf::try_from(aya::maps::Map::RingBuf(pinned(map::CAPTURE)?))?,
            port_buckets: Array::try_from(aya::maps::Map::Array(pinned(map::PORT_BUCKETS)?))?,
            vni_buckets: Array::try_from(aya::maps::Map::Array(pinned(map::VNI_BUCKETS)?))?,
            kernel,
            installed: Tables::default(),
            domains: Vec::new(),
            _bpffs: bpffs,
        })
    }

    /// Empties the maps, and fills them.
    pub(super) fn install(&mut self, tables: &Tables) -> Result<()> {
        let old = std::mem::replace(&mut self.installed, tables.clone());
        self.apply(&rows::removals(&old))?;
        self.apply(&rows::upserts(tables))?;
        self.fill_buckets(tables)?;
        self.domains = (0..=DOMAINS_MAX).map(|bd| self.kernel.vni_stats(bd)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Limits and buckets as they are now, for a time to come that is as long as before.
    pub(super) fn refill(&mut self, tables: &Tables) -> Result<()> {
        self.apply(&rows::limits(tables))?;
        self.fill_buckets(tables)
    }

    fn apply(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let applied = self.kernel.apply(step)?;
            ensure!(applied.refused.is_empty(), "the maps have no room for {:?}", applied.refused);
        }
        Ok(())
    }

    fn fill_buckets(&mut self, tables: &Tables) -> Result<()> {
        for port in PORTS {
            let told_enough = tables.interfaces.get(&port).is_some_and(|interface| interface.told_enough);
            self.set_told(port, if told_enough { USED_UP } else { 0 })?;
        }
        for bd in 0..=DOMAINS_MAX {
            self.vni_buckets.set(bd, [0; size_of::<VniBuckets>() / 8], 0)?;
        }
        Ok(())
    }

    /// The next frame that is too big is told to its sender.
    pub(super) fn let_tell(&mut self, port: u32) -> Result<()> {
        let buckets = self.port_buckets.get(&port, 0)?;
        let buckets = PortBuckets { too_big_ns: 0, ..bytemuck::cast(buckets) };
        self.set_buckets(port, buckets)
    }

    fn set_told(&mut self, port: u32, too_big_ns: u64) -> Result<()> {
        let buckets = PortBuckets { too_big_ns, ..PortBuckets::default() };
        self.set_buckets(port, buckets)
    }

    fn set_buckets(&mut self, port: u32, buckets: PortBuckets) -> Result<()> {
        let words: [u64; size_of::<PortBuckets>() / 8] = bytemuck::cast(buckets);
        Ok(self.port_buckets.set(port, words, 0)?)
    }

    pub(super) fn run(&mut self, stimulus: &Stimulus) -> Result<Ran> {
        let Stimulus { hook, ifindex, frame } = stimulus;
        let (action, frame) = match hook {
            Hook::PortXdp | Hook::UplinkXdp => {
                let is_port = matches!(hook, Hook::PortXdp);
                let program = if is_port { Program::PortXdp } else { Program::UplinkXdp };
                let run = self.kernel.test_run(program, frame, *ifindex, 1)?;
                (run.action, run.frame)
            }
            Hook::Port | Hook::Uplink | Hook::Tunnel(_) => self.run_received(*hook, *ifindex, frame)?,
        };
        let sent =
            self.ring.next().map(|item| bytemuck::pod_read_unaligned(&item[..size_of::<CaptureHead>()]));
        ensure!(self.ring.next().is_none(), "one frame was captured twice");
        Ok(Ran { action, frame, sent })
    }

    /// By way of a program that does first what a device would have done (`ebpf/src/bin/received.rs`).
    fn run_received(&mut self, hook: Hook, ifindex: u32, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let (tag, frame) = model::untagged(frame);
        let context = context(hook, ifindex, tag);
        let mut out = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let program = self.received.program("received").context("the object has no such program")?;
        let program: &SchedClassifier = program.try_into()?;
        let run = program.test_run(options)?;
        out.truncate(run.data_size_out as usize);
        Ok((run.return_value, out))
    }

    /// The counters of a bridge domain that differ from when they were last read.
    pub(super) fn moved(&mut self, bd: u32) -> Result<Vec<Move>> {
        let now = self.kernel.vni_stats(bd)?;
        let before = std::mem::replace(&mut self.domains[bd as usize], now);
        let moved = before.iter().zip(&now).enumerate().filter(|(_, (before, now))| before != now);
        Ok(moved
            .map(|(code, (before, now))| {
                (bd, code, now.packets.wrapping_sub(before.packets), now.bytes.wrapping_sub(before.bytes))
            })
            .collect())
    }

    /// All frames that were ever counted, whatever became of them, as they were last read.
    pub(super) fn counted(&self) -> u64 {
        self.domains.iter().flatten().map(|counter| counter.packets).sum()
    }

    pub(super) fn vteps(&self) -> Result<BTreeMap<u32, VtepCount>> {
        let count = |index| {
            let stats = self.kernel.vtep_stats(index)?;
            let count = VtepCount {
                sent: stats.sent.packets,
                sent_bytes: stats.sent.bytes,
                received: stats.received.packets,
                received_bytes: stats.received.bytes,
                served_as_slave: stats.served_as_slave,
                copy_errors: stats.copy_errors,
                copies_too_big: stats.copies_too_big,
            };
            Ok((index, count))
        };
        (1..=VTEPS_MAX).map(count).collect()
    }

    pub(super) fn ports(&self) -> Result<BTreeMap<u32, PortCount>> {
        let count = |index| {
            let stats = self.kernel.port_stats(index)?;
            let count = PortCount {
                received: stats.received.packets,
                received_bytes: stats.received.bytes,
                dropped: stats.dropped.packets,
                dropped_bytes: stats.dropped.bytes,
                sent: stats.sent.packets,
                sent_bytes: stats.sent.bytes,
                copy_errors: stats.copy_errors,
                too_big: stats.too_big,
            };
            Ok((index, count))
        };
        (1..=LOCAL_PORTS_MAX).map(count).collect()
    }
}

const PROGRAMS: [Program; 3] = [Program::PortIn, Program::UplinkIn, Program::TunnelIn];

fn received(kernel: &Kernel) -> Result<Ebpf> {
    let object =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/bpfel-unknown-none/release/received");
    let mut loaded = Ebpf::load_file(&object).with_context(|| {
        format!("{} cannot be loaded; `cargo xtask build-ebpf` builds it", object.display())
    })?;
    let program: &mut SchedClassifier =
        loaded.program_mut("received").context("the object has no such program")?.try_into()?;
    program.load()?;
    let map = loaded.map_mut("PROGRAMS").context("the object has no such map")?;
    let mut programs = ProgramArray::try_from(map)?;
    for (index, program) in (0..).zip(PROGRAMS) {
        programs.set(index, kernel.program(program)?, 0)?;
    }
    Ok(loaded)
}

/// `struct __sk_buff` up to and with `cb`.
fn context(hook: Hook, ifindex: u32, tag: Option<(u16, u16)>) -> [u8; 68] {
    const MARK: usize = 8;
    const PRIORITY: usize = 32;
    const INGRESS_IFINDEX: usize = 36;
    const IFINDEX: usize = 40;
    const CB: usize = 48;
    let program = match hook {
        Hook::Port | Hook::PortXdp => 0,
        Hook::Uplink | Hook::UplinkXdp => 1,
        Hook::Tunnel(_) => 2_u32,
    };
    let mut asked = program;
    if let Some((tpid, tci)) = tag {
        asked |= 4 | u32::from(tci) << 16 | if tpid == 0x88a8 { 8 } else { 0 };
    }
    let mut context = [0; 68];
    let mut put = |at: usize, bytes: &[u8]| context[at..at + bytes.len()].copy_from_slice(bytes);
    put(INGRESS_IFINDEX, &ifindex.to_ne_bytes());
    put(IFINDEX, &ifindex.to_ne_bytes());
    if let Hook::Tunnel(tunnel) = hook {
        asked |= 16;
        put(CB, &tunnel.vni.to_ne_bytes());
        match tunnel.sender {
            IpAddr::V4(address) => put(CB + 4, &address.octets()),
            IpAddr::V6(address) => {
                asked |= 32;
                put(CB + 4, &address.octets());
            }
        }
        // Other bits are the host's, and set or not.
        let mark = if tunnel.admitted { ADMITTED_MARK | 1 } else { ADMITTED_MARK & !0x0010_0000 };
        put(MARK, &mark.to_ne_bytes());
    }
    put(PRIORITY, &asked.to_ne_bytes());
    context
}
