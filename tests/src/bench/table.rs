//! The MAC table by itself: the bucketed one beside the kernel's hash with batch calls, through the same owner, and beside
//! the kernel's own two tables (a VXLAN device's and a bridge's), over netlink.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tempfile::NamedTempFile;
use vtep_abi::{FdbKey, MacBucket, Target, map};
use vtep_agent::{
    dataplane::{Dataplane, FdbTarget, Network},
    kernel::{Kernel, MacTable, Mapped, Settings, Sizes, mactab},
    plan::{Step, plan},
};
use vtep_api::MacAddr;

use super::{Options, Row};
use crate::{
    bpffs::Bpffs,
    link::{Link, Vxlan},
    netns::Netns,
};

/// As the probe asks for them.
const VNI: u32 = 1;
const BD: u32 = 1;
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HASH: &str = "hash, batch calls";
const NETLINK: &str = "vxlan + bridge, netlink";
/// Beyond, one round is minutes of netlink, and gigabytes.
const NETLINK_MACS_MAX: u32 = 1_000_000;
const LOOKUPS: u32 = 1_000_000;

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let sizes: &[u32] =
        if options.quick { &[1, 10_000] } else { &[1, 10_000, 100_000, 1_000_000, 4_000_000] };
    let mut rows = Vec::new();
    for &macs in sizes {
        let of_macs = compare(macs, options).with_context(|| format!("with {macs} MACs"))?;
        of_macs.iter().for_each(Row::tell);
        rows.extend(of_macs);
    }
    Ok(rows)
}

/// What one round of one table took.
struct Round {
    lookup_ns: Option<f64>,
    load: f64,
    update: Option<f64>,
    dump: Option<f64>,
    /// Into the agent's own form, with the tables around it.
    read_back: f64,
    compare: Option<f64>,
    delete: f64,
    bytes: f64,
}

type Part = fn(&Round) -> Option<f64>;

/// Rounds of ours and of the hash, and how many of them the kernel's tables take part in.
fn rounds(macs: u32, options: Options) -> (usize, usize) {
    let all = options.rounds();
    match macs {
        0..=10_000 => (all, all),
        10_001..=100_000 => (all, all.min(3)),
        100_001..=NETLINK_MACS_MAX => (all.min(3), 1),
        _ => (1, 0),
    }
}

fn compare(macs: u32, options: Options) -> Result<Vec<Row>> {
    let (rounds, netlink_rounds) = rounds(macs, options);
    let numbers = shuffled(macs);
    let mut bucketed = Side::new(MacTable::Bucketed, macs)?;
    let mut hash = Side::new(MacTable::Hash, macs)?;
    let (mut ours, mut hashes, mut kernels) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who begins changes by round.
        if round % 2 == 0 {
            ours.push(bucketed.round(&numbers)?);
            hashes.push(hash.round(&numbers)?);
        } else {
            hashes.push(hash.round(&numbers)?);
            ours.push(bucketed.round(&numbers)?);
        }
        if round < netlink_rounds {
            kernels.push(netlink(macs)?);
        }
    }
    let measures: [(&str, &str, Part); 8] = [
        ("dependent lookup", "ns", |round| round.lookup_ns),
        ("load", "MACs/s", |round| Some(round.load)),
        ("random update", "MACs/s", |round| round.update),
        ("dump", "MACs/s", |round| round.dump),
        ("read back whole", "MACs/s", |round| Some(round.read_back)),
        ("read back and compare", "MACs/s", |round| round.compare),
        ("delete", "MACs/s", |round| Some(round.delete)),
        ("memory", "bytes/MAC", |round| Some(round.bytes)),
    ];
    let mut rows = Vec::new();
    for (name, unit, part) in measures {
        let values = |rounds: &[Round]| rounds.iter().filter_map(part).collect::<Vec<_>>();
        for (peer, peers) in [(HASH, &hashes), (NETLINK, &kernels)] {
            let theirs = values(peers);
            if !theirs.is_empty() {
                rows.push(Row::new(&format!("{name}, {macs} MACs"), unit, values(&ours), peer, theirs));
            }
        }
    }
    Ok(rows)
}

/// One of our two tables, in a kernel's side of its own, and the probe on its maps.
struct Side {
    kernel: Kernel,
    probe: Ebpf,
    walk: &'static str,
    bytes: f64,
    mac_table: MacTable,
    pins: PathBuf,
    _bpffs: Bpffs,
}

impl Side {
    fn new(mac_table: MacTable, macs: u32) -> Result<Self> {
        let bpffs = Bpffs::new()?;
        let root = bpffs.path().join("vtepd");
        let sizes = Sizes { macs_max: macs, ..Sizes::default() };
        let (mut kernel, _) = Kernel::open(&Settings { sizes, mac_table, ..Settings::new(&root) })?;
        kernel.apply(&Step::PutNetworks(vec![(VNI, Network { bd: BD, ..Network::default() })]))?;
        let pins = root.join("v1/maps");
        let (walk, pin) = match mac_table {
            MacTable::Bucketed => ("walk_bucketed", map::MACTAB),
            MacTable::Hash => ("walk_hash", map::FDB),
        };
        let bytes = memory(&pins.join(pin))? / f64::from(macs);
        let mut probe = probe(&pins)?;
        let program: &mut SchedClassifier =
            probe.program_mut(walk).with_context(|| format!("no program {walk}"))?.try_into()?;
        program.load()?;
        Ok(Self { kernel, probe, walk, bytes, mac_table, pins, _bpffs: bpffs })
    }

    fn round(&mut self, numbers: &[u32]) -> Result<Round> {
        let macs = rate_of(numbers.len());
        // A ring through all of them in the order that `numbers` happens to be in.
        let next = numbers.iter().skip(1).chain(numbers.first());
        let mut rows: Vec<_> =
            numbers.iter().zip(next).map(|(number, next)| row(*number, *next, 1)).collect();
        rows.sort_unstable_by_key(|(key, _)| key.mac);
        let load = self.put(rows.clone())?;
        let lookup_ns = self.nanoseconds()?;
        let dump = self.dump(numbers.len())?;

        for (_, target) in &mut rows {
            target.master = Target::Vtep(2);
        }
        let desired: Dataplane = {
            let mut desired = self.kernel.installed()?;
            desired.fdb = rows.iter().copied().collect();
            desired
        };
        rows.shuffle(&mut StdRng::seed_from_u64(2));
        let update = self.put(rows.clone())?;

        let start = Instant::now();
        let installed = self.kernel.installed()?;
        let read_back = start.elapsed();
        ensure!(installed.fdb.len() == rows.len(), "{} MACs are installed", installed.fdb.len());
        let steps = plan(&desired, &installed).steps;
        let compare = start.elapsed();
        ensure!(steps.is_empty(), "what was installed is not what was wanted");

        let keys: Vec<_> = rows.iter().map(|(key, _)| *key).collect();
        let step = Step::RemoveFdb(keys);
        let start = Instant::now();
        let removed = self.kernel.apply(&step)?.written;
        let delete = start.elapsed();
        ensure!(removed == rows.len(), "{removed} MACs were removed");
        let rate = |took: Duration| macs / took.as_secs_f64();
        Ok(Round {
            lookup_ns: Some(lookup_ns),
            load: rate(load),
            update: Some(rate(update)),
            dump,
            read_back: rate(read_back),
            compare: Some(rate(compare)),
            delete: rate(delete),
            bytes: self.bytes,
        })
    }

    fn put(&mut self, rows: Vec<(FdbKey, FdbTarget)>) -> Result<Duration> {
        let step = Step::PutFdb(rows);
        let start = Instant::now();
        let applied = self.kernel.apply(&step)?;
        let took = start.elapsed();
        ensure!(applied.refused.is_empty(), "{} MACs were refused", applied.refused.len());
        Ok(took)
    }

    /// All entries into a vector, without what the agent makes of them.
    fn dump(&self, macs: usize) -> Result<Option<f64>> {
        if self.mac_table == MacTable::Hash {
            return Ok(None);
        }
        let words = Mapped::open::<MacBucket>(&self.pins.join(map::MACTAB))?;
        let start = Instant::now();
        let rows: Vec<_> = mactab::entries(&words).collect();
        let took = start.elapsed();
        ensure!(rows.len() == macs, "{} MACs are in the table", rows.len());
        Ok(Some(rate_of(macs) / took.as_secs_f64()))
    }

    /// Of a step from one MAC to the next: a lookup, and what a loop costs. The best of three, for others run too.
    fn nanoseconds(&mut self) -> Result<f64> {
        let program = self.walk;
        let asked = self.probe.map_mut("ASKED").context("the probe has no map ASKED")?;
        Array::<_, [u32; 4]>::try_from(asked)?.set(0, [LOOKUPS, 0, 0, 0], 0)?;
        let loaded: &SchedClassifier =
            self.probe.program(program).with_context(|| format!("no program {program}"))?.try_into()?;
        let frame = [0; 64];
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = 1;
            let start = Instant::now();
            let run = loaded.test_run(options)?;
            best = best.min(start.elapsed());
            ensure!(run.return_value == 0, "{program} came to a MAC that is not there");
        }
        Ok(best.as_secs_f64() * 1e9 / f64::from(LOOKUPS))
    }
}

fn probe(maps: &Path) -> Result<Ebpf> {
    let object = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/bpf/bpfel-unknown-none/release/mactab_probe");
    let mut loader = EbpfLoader::new();
    for name in [map::MACTAB, map::MACCTL, map::FDB] {
        loader.map_pin_path(name, maps.join(name));
    }
    loader
        .load_file(&object)
        .with_context(|| format!("{} cannot be loaded; `cargo xtask build-ebpf` builds it", object.display()))
}

fn memory(pin: &Path) -> Result<f64> {
    let shown = std::process::Command::new("bpftool")
        .args(["--json", "map", "show", "pinned"])
        .arg(pin)
        .output()
        .context("bpftool cannot be run")?;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
    shown["bytes_memlock"].as_f64().with_context(|| format!("bpftool shows no memory: {shown}"))
}

/// Into a VXLAN device's table and a bridge's, out again, and away.
fn netlink(macs: u32) -> Result<Round> {
    let netns = Netns::new("host")?;
    let vxlan = Vxlan { learning: false, ..Vxlan::new(VNI, Ipv4Addr::new(192, 0, 2, 1)) };
    let device = Link::vxlan(&netns, "vx", &vxlan)?;
    device.set_bridge(&Link::add(&netns, "bridge0", "type bridge")?)?;
    let lines = |verb: &str| -> Result<NamedTempFile> {
        let mut lines = String::new();
        for number in 0..macs {
            let mac = mac(number);
            writeln!(lines, "fdb {verb} {mac} dev vx dst {FAR} self permanent")?;
            writeln!(lines, "fdb {verb} {mac} dev vx master static")?;
        }
        let file = NamedTempFile::new()?;
        fs::write(file.path(), lines)?;
        Ok(file)
    };
    let timed = |command: &str| -> Result<f64> {
        let start = Instant::now();
        netns.run(command)?;
        Ok(f64::from(macs) / start.elapsed().as_secs_f64())
    };
    let (add, del) = (lines("add")?, lines("del")?);
    let before = slab()?;
    let load = timed(&format!("bridge -batch {}", add.path().display()))?;
    let bytes = (slab()? - before).max(0.0) / f64::from(macs);
    let dump = timed("bridge fdb show dev vx")?;
    let delete = timed(&format!("bridge -batch {}", del.path().display()))?;
    Ok(Round {
        lookup_ns: None,
        load,
        update: None,
        dump: Some(dump),
        read_back: dump,
        compare: None,
        delete,
        bytes,
    })
}

/// Bytes of the kernel's small objects.
fn slab() -> Result<f64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    let kib =
        line.and_then(|line| line.trim().strip_suffix(" kB")).context("/proc/meminfo has no SUnreclaim")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

fn shuffled(macs: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..macs).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(1));
    numbers
}

fn row(number: u32, next: u32, master: u32) -> (FdbKey, FdbTarget) {
    // The bits of VTEP 0 are those of none.
    let slave = if next == 0 { Target::None } else { Target::Vtep(next) };
    let target = FdbTarget { master: Target::Vtep(master), slave, flags: 0 };
    (FdbKey::new(VNI, mac(number).octets()), target)
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn rate_of(count: usize) -> f64 {
    count as f64
}
