//! The bucketed MAC table under the tests' and the benches' eyes: many lookups in one run of a program. Not part of the
//! product.

#![no_std]
#![no_main]
#![expect(clippy::inline_always, reason = "a lookup in the product is inlined")]
#![expect(unsafe_code, reason = "map elements are raw; each use says why it is sound")]

#[path = "../mactab.rs"]
mod mactab;

use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use vtep_abi::{FdbKey, FdbValue, MacKey};

use crate::mactab::omit;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Lookups of a run, keys, and how many of them are always there.
#[btf_map]
static ASKED: Array<[u32; 4], 1> = Array::new();
/// Lookups; of keys that are always there, those that found none; those that found another key's value.
#[btf_map]
static SEEN: PerCpuArray<[u64; 4], 1> = PerCpuArray::new();
/// What the bucketed table is measured beside.
#[btf_map]
static FDB: HashMap<FdbKey, FdbValue, 1_000_000> = HashMap::new();

const BD: u32 = 1;

/// Numbers 0 up to, as MACs.
#[inline(always)]
fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [2, 0, a, b, c, d]
}

#[inline(always)]
fn bucketed<const OMIT: u32>(number: u32) -> Option<FdbValue> {
    match mactab::find::<OMIT>(MacKey::new(BD, mac(number))?) {
        0 => None,
        word => Some(FdbValue::from_word(word)),
    }
}

#[inline(always)]
fn hash(number: u32) -> Option<FdbValue> {
    // SAFETY: the value is copied; only a test that shows nothing about it deletes meanwhile.
    unsafe { FDB.get(FdbKey::new(BD, mac(number))) }.copied()
}

#[inline(always)]
fn repeat(times: u32, state: &mut u32, body: extern "C" fn(u32, &mut u32) -> u64) {
    // SAFETY: the helper calls `body` with an index and `state`'s address, which outlives the call.
    unsafe {
        bpf_loop(times, body as *mut core::ffi::c_void, core::ptr::from_mut(state).cast(), 0);
    }
}

/// A key at random. Its value's first word is its number and one.
#[inline(always)]
fn ask<const OMIT: u32>() -> u64 {
    let (Some(asked), Some(seen)) = (ASKED.get(0), SEEN.get_ptr_mut(0)) else { return 1 };
    let [_, keys, lasting, _] = *asked;
    if keys == 0 {
        return 1;
    }
    // SAFETY: the helper takes nothing.
    let number = unsafe { bpf_get_prandom_u32() } % keys;
    let found = bucketed::<OMIT>(number);
    // SAFETY: the pointer is this CPU's element.
    let seen = unsafe { &mut *seen };
    seen[0] += 1;
    match found {
        Some(value) if value.master != number + 1 => seen[2] += 1,
        None if number < lasting => seen[1] += 1,
        _ => {}
    }
    0
}

extern "C" fn ask_whole(_: u32, _: &mut u32) -> u64 {
    ask::<{ omit::NOTHING }>()
}

extern "C" fn ask_without_second_key_load(_: u32, _: &mut u32) -> u64 {
    ask::<{ omit::SECOND_KEY_LOAD }>()
}

extern "C" fn ask_without_moves(_: u32, _: &mut u32) -> u64 {
    ask::<{ omit::MOVES }>()
}

#[inline(always)]
fn run(body: extern "C" fn(u32, &mut u32) -> u64) -> i32 {
    let times = ASKED.get(0).map_or(0, |asked| asked[0]);
    let mut state = 0;
    repeat(times, &mut state, body);
    TC_ACT_OK
}

#[classifier]
fn whole(_: TcContext) -> i32 {
    run(ask_whole)
}

#[classifier]
fn no_second_load(_: TcContext) -> i32 {
    run(ask_without_second_key_load)
}

#[classifier]
fn no_moves(_: TcContext) -> i32 {
    run(ask_without_moves)
}

/// From key to key: the value's second word is the number of the next one. Stops where there is none.
#[inline(always)]
fn step(at: &mut u32, found: Option<FdbValue>) -> u64 {
    if let Some(value) = found {
        *at = value.slave;
        return 0;
    }
    *at = u32::MAX;
    1
}

extern "C" fn step_bucketed(_: u32, at: &mut u32) -> u64 {
    step(at, bucketed::<{ omit::NOTHING }>(*at))
}

extern "C" fn step_hash(_: u32, at: &mut u32) -> u64 {
    step(at, hash(*at))
}

#[inline(always)]
fn walk(body: extern "C" fn(u32, &mut u32) -> u64) -> i32 {
    let [times, _, _, from] = ASKED.get(0).copied().unwrap_or_default();
    let mut at = from;
    repeat(times, &mut at, body);
    if at == u32::MAX { -1 } else { TC_ACT_OK }
}

#[classifier]
fn walk_bucketed(_: TcContext) -> i32 {
    walk(step_bucketed)
}

#[classifier]
fn walk_hash(_: TcContext) -> i32 {
    walk(step_hash)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
