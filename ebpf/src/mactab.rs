//! The reader of the bucketed MAC table: maps `MACTAB` and `MACCTL`, which one agent changes meanwhile.
//!
//! Why each load is where it is: `docs/mac-table.md`. Loads are volatile, so that the compiler keeps their order, and
//! x86 keeps it too; on a machine that reorders loads this reader is wrong, and agents there do not choose the table.
#![expect(unsafe_code, reason = "map elements change while they are read; each use says why that is sound")]

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use vtep_abi::{BUCKET_WORDS, MacBucket, MacKey, MacTabControl};

/// `BPF_F_MMAPABLE` of the kernel's `bpf.h`.
const MMAPABLE: usize = 1 << 10;
/// Scans of a key that is not found, each between two equal counts of moves but for the last.
const SCANS_MAX: u32 = 4;

#[btf_map]
static MACTAB: Array<MacBucket, 300_000, MMAPABLE> = Array::new();
#[btf_map]
static MACCTL: Array<MacTabControl, 1, MMAPABLE> = Array::new();

/// What a lookup leaves out: nothing, but in the tests that show why it must not.
pub(crate) mod omit {
    pub(crate) const NOTHING: u32 = 0;
    #[allow(dead_code, reason = "for the probe")]
    pub(crate) const SECOND_KEY_LOAD: u32 = 1;
    #[allow(dead_code, reason = "for the probe")]
    pub(crate) const MOVES: u32 = 2;
}

/// The value's word; 0, which no entry has, if there is none.
#[inline(always)]
pub(crate) fn find<const OMIT: u32>(key: MacKey) -> u64 {
    let Some(control) = MACCTL.get_ptr(0) else { return 0 };
    let word = scan::<OMIT>(control, key);
    if word != 0 || OMIT & omit::MOVES != 0 {
        return word;
    }
    // A key that moves from the second bucket to the first behind our back is seen in neither; then the count changes.
    for _ in 0..SCANS_MAX {
        let before = moves(control);
        let word = scan::<OMIT>(control, key);
        if word != 0 || moves(control) == before {
            return word;
        }
    }
    0
}

#[inline(always)]
fn scan<const OMIT: u32>(control: *const MacTabControl, key: MacKey) -> u64 {
    // SAFETY: the pointer is the map's element; the geometry of a table that programs are loaded on does not change.
    let [first, second] = unsafe { (*control).geometry }.buckets_of(key);
    match scan_bucket::<OMIT>(first, key.word()) {
        0 => scan_bucket::<OMIT>(second, key.word()),
        word => word,
    }
}

/// The value beside the key, 0 if it is not there.
#[inline(always)]
fn scan_bucket<const OMIT: u32>(bucket: u32, key: u64) -> u64 {
    let Some(bucket) = MACTAB.get_ptr(bucket) else { return 0 };
    let words: *const u64 = bucket.cast();
    let mut at = 0;
    while at < BUCKET_WORDS {
        // SAFETY: both words are inside the bucket, aligned, and always initialized. The writer stores words whole.
        let (slot, value) = unsafe { (words.add(at), words.add(at + 1)) };
        if load(slot) == key {
            let word = load(value);
            // The slot may have been given to another key between the two loads, but not back to this one.
            if OMIT & omit::SECOND_KEY_LOAD != 0 || load(slot) == key {
                return word;
            }
        }
        at += 2;
    }
    0
}

#[inline(always)]
fn moves(control: *const MacTabControl) -> u64 {
    // SAFETY: the pointer is the map's element.
    load(unsafe { &raw const (*control).moves })
}

#[inline(always)]
fn load(word: *const u64) -> u64 {
    // SAFETY: callers point into a map's element, aligned; a load of eight bytes is one load in BPF and on x86.
    unsafe { word.read_volatile() }
}
