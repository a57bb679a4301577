//! The bucketed MAC table between a writer and programs that read: small, for a big one hides what is wrong. As root, on
//! the running kernel.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::env;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use vtep_abi::{MacBucket, MacKey, MacTabControl, map};
use vtep_agent::kernel::Mapped;
use vtep_agent::kernel::mactab::{MacTab, Put, Recovered};
use vtep_tests::bpffs::Bpffs;

/// 400 slots.
const BUCKETS: u32 = 100;
/// Keys that are always there, and how many more come and go: at the most 0.95 of the slots.
const LASTING: u32 = 300;
const KEYS: u32 = 380;
/// Lookups of one run: short, for a grace period waits for it.
const LOOKUPS: u32 = 5000;

const WHOLE: &str = "whole";
#[cfg(feature = "seeded-bugs")]
const NO_SECOND_LOAD: &str = "no_second_load";
#[cfg(feature = "seeded-bugs")]
const NO_MOVES: &str = "no_moves";

#[test]
fn no_lookup_misses_a_key_that_is_there_nor_finds_anothers_value() {
    let rig = Rig::new(WHOLE);
    let mut table = rig.table();
    let moved = table.moves();
    let seen = rig.read_while(Duration::from_secs(4), Seen::is_wrong, || churn(&mut table));
    assert_eq!((seen.missed, seen.foreign), (0, 0), "{seen:?}");
    assert!(seen.lookups > 100_000, "{seen:?}");
    assert!(table.moves() - moved > 1000, "{} moves in {seen:?}", table.moves() - moved);
    assert!(table.len() >= LASTING as usize);
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn a_seeded_bug_shows_without_the_second_load_of_the_key() {
    // Two keys that take turns in one slot of one bucket.
    let rig = Rig::sized(NO_SECOND_LOAD, 1, [LOOKUPS, 2, 0, 0]);
    let (words, control) = mapped(rig.bpffs.path());
    let mut table = MacTab::create(words, control, [1, 3, 5]).unwrap();
    table.put(key(0), value(0, 0));
    let take_turns = || {
        for _ in 0..4000 {
            table.rekey(key(0), key(1), value(1, 0));
            table.rekey(key(1), key(0), value(0, 0));
        }
    };
    let seen = rig.read_while(PATIENCE, |seen| seen.foreign > 0, take_turns);
    assert!(seen.foreign > 0, "the test does not see this mistake: {seen:?}");
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn a_seeded_bug_shows_without_the_count_of_moves() {
    let rig = Rig::new(NO_MOVES);
    let mut table = rig.table();
    let seen = rig.read_while(PATIENCE, |seen| seen.missed > 0, || shift(&mut table));
    assert!(seen.missed > 0, "the test does not see this mistake: {seen:?}");
}

/// As many moves as above, which the count makes up for.
#[cfg(feature = "seeded-bugs")]
#[test]
fn a_seeded_bug_does_not_show_with_the_count_of_moves() {
    let rig = Rig::new(WHOLE);
    let mut table = rig.table();
    let seen = rig.read_while(Duration::from_secs(4), |seen| seen.missed > 0, || shift(&mut table));
    assert_eq!(seen.missed, 0, "{seen:?}");
    assert!(table.moves() > 100_000, "{} moves", table.moves());
}

#[cfg(feature = "seeded-bugs")]
fn shift(table: &mut MacTab<Mapped>) {
    (0..4000).for_each(|_| table.shift(rand::random::<u32>() as usize));
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn a_seeded_bug_shows_when_moves_clear_before_they_copy() {
    let rig = Rig::new(WHOLE);
    let mut table = rig.table();
    table.clear_before_copying();
    let seen = rig.read_while(PATIENCE, |seen| seen.missed > 0, || churn(&mut table));
    assert!(seen.missed > 0, "the test does not see this mistake: {seen:?}");
}

#[test]
fn a_writer_that_is_killed_in_mid_churn_leaves_every_entry() {
    let rig = Rig::new(WHOLE);
    drop(rig.table());
    for round in 0..10 {
        let mut writer = Writer::start(rig.bpffs.path());
        let (start, before) = (Instant::now(), rig.moves());
        let least = Duration::from_millis(150 + 13 * round);
        // A process takes its time to begin, and more on a busy machine.
        let is_enough = |_| start.elapsed() > least && rig.moves() > before + 100;
        let seen = rig.read_while(PATIENCE, is_enough, || thread::sleep(Duration::from_millis(1)));
        assert!(writer.0.try_wait().unwrap().is_none(), "the writer ended by itself");
        drop(writer);
        assert_eq!((seen.missed, seen.foreign), (0, 0), "round {round}: {seen:?}");
        assert!(rig.moves() > before + 100, "round {round}: the writer did not write");

        let (table, recovered) = rig.open();
        assert!(recovered.copies <= 1 && recovered.astray == 0, "round {round}: {recovered:?}");
        check_whole(&table);
        drop(table);
        assert_eq!(rig.open().1, Recovered::default());
    }
}

/// How long a mistake has to show, or a writer to write.
const PATIENCE: Duration = Duration::from_mins(2);
const PINS: &str = "VTEPD_TEST_PINS";

/// The process that the test above kills.
#[test]
#[ignore = "runs until it is killed, for another test"]
fn churn_until_killed() {
    let Some(pins) = env::var_os(PINS).map(PathBuf::from) else { return };
    let (mut table, _) = open(&pins);
    loop {
        churn(&mut table);
    }
}

struct Writer(Child);

impl Writer {
    fn start(pins: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "churn_until_killed", "--ignored"])
            .env(PINS, pins)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of `ebpf/src/bin/mactab_probe.rs` on a table of its own.
struct Rig {
    ebpf: Ebpf,
    program: &'static str,
    bpffs: Bpffs,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    lookups: u64,
    missed: u64,
    foreign: u64,
}

impl Seen {
    fn is_wrong(self) -> bool {
        self.missed + self.foreign > 0
    }
}

impl Rig {
    fn new(program: &'static str) -> Self {
        Self::sized(program, BUCKETS, [LOOKUPS, KEYS, LASTING, 0])
    }

    fn sized(program: &'static str, buckets: u32, asked: [u32; 4]) -> Self {
        let bpffs = Bpffs::new().unwrap();
        let object =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/bpfel-unknown-none/release/mactab_probe");
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(map::MACTAB, buckets).map_max_entries(map::FDB, 1);
        for name in [map::MACTAB, map::MACCTL] {
            loader.map_pin_path(name, bpffs.path().join(name));
        }
        let mut ebpf = loader.load_file(object).expect("`cargo xtask build-ebpf` makes the object");
        let map = ebpf.map_mut("ASKED").unwrap();
        Array::<_, [u32; 4]>::try_from(map).unwrap().set(0, asked, 0).unwrap();
        let classifier: &mut SchedClassifier = ebpf.program_mut(program).unwrap().try_into().unwrap();
        classifier.load().unwrap();
        Self { ebpf, program, bpffs }
    }

    /// With the lasting keys in it.
    fn table(&self) -> MacTab<Mapped> {
        let (words, control) = mapped(self.bpffs.path());
        let mut table =
            MacTab::create(words, control, [rand::random(), rand::random(), rand::random()]).unwrap();
        for number in 0..LASTING {
            assert_eq!(table.put(key(number), value(number, 0)), Put::Written);
        }
        table
    }

    fn open(&self) -> (MacTab<Mapped>, Recovered) {
        open(self.bpffs.path())
    }

    fn moves(&self) -> u64 {
        mapped(self.bpffs.path()).1[MacTabControl::MOVES_WORD].load(Ordering::Relaxed)
    }

    /// Runs the program again and again while `write` is repeated, until time is up or enough was seen.
    fn read_while(
        &self,
        during: Duration,
        is_enough: impl Fn(Seen) -> bool,
        mut write: impl FnMut(),
    ) -> Seen {
        let ends = AtomicBool::new(false);
        let before = self.seen();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let program: &SchedClassifier = self.ebpf.program(self.program).unwrap().try_into().unwrap();
                while !ends.load(Ordering::Relaxed) {
                    let mut options = TestRunOptions::new();
                    let frame = [0; 64];
                    options.data_in = Some(&frame);
                    options.repeat = 1;
                    program.test_run(options).unwrap();
                }
            });
            let start = Instant::now();
            while start.elapsed() < during && !is_enough(self.seen() - before) && !reader.is_finished() {
                write();
            }
            ends.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        self.seen() - before
    }

    fn seen(&self) -> Seen {
        let seen = PerCpuArray::<_, [u64; 4]>::try_from(self.ebpf.map("SEEN").unwrap()).unwrap();
        let cpus = seen.get(&0, 0).unwrap();
        let sum = |at: usize| cpus.iter().map(|cpu| cpu[at]).sum();
        Seen { lookups: sum(0), missed: sum(1), foreign: sum(2) }
    }
}

impl std::ops::Sub for Seen {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            lookups: self.lookups - before.lookups,
            missed: self.missed - before.missed,
            foreign: self.foreign - before.foreign,
        }
    }
}

/// A few thousand changes: keys come and go, values change, and what is full makes keys move.
fn churn(table: &mut MacTab<Mapped>) {
    for _ in 0..4000 {
        let change: u32 = rand::random();
        let number = LASTING + change % (KEYS - LASTING);
        match change >> 30 {
            0 => {
                table.remove(key(number));
            }
            1 => {
                let lasting = change % LASTING;
                assert_eq!(table.put(key(lasting), value(lasting, change)), Put::Written);
            }
            // Under a seed that suits these keys badly there may be no room for one.
            _ => {
                table.put(key(number), value(number, change));
            }
        }
    }
}

fn check_whole(table: &MacTab<Mapped>) {
    let mut numbers: Vec<u32> = table.iter().map(|(key, _)| number(key)).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "a key stands twice");
    assert_eq!(numbers.len(), table.len());
    for number in 0..LASTING {
        let word = table.get(key(number)).unwrap();
        assert_eq!(word.get() & 0xffff_ffff, value(number, 0).get(), "key {number}");
    }
}

fn open(pins: &Path) -> (MacTab<Mapped>, Recovered) {
    let (words, control) = mapped(pins);
    MacTab::open(words, control).unwrap()
}

fn mapped(pins: &Path) -> (Mapped, Mapped) {
    let words = Mapped::open::<MacBucket>(&pins.join(map::MACTAB)).unwrap();
    (words, Mapped::open::<MacTabControl>(&pins.join(map::MACCTL)).unwrap())
}

/// As the probe makes them.
fn key(number: u32) -> MacKey {
    let [a, b, c, d] = number.to_be_bytes();
    MacKey::new(1, [2, 0, a, b, c, d]).unwrap()
}

fn number(key: MacKey) -> u32 {
    let [_, _, a, b, c, d] = key.mac();
    u32::from_be_bytes([a, b, c, d])
}

/// The low word says whose it is, the high one changes.
fn value(number: u32, version: u32) -> NonZeroU64 {
    NonZeroU64::new(u64::from(version) << 32 | u64::from(number + 1)).unwrap()
}
