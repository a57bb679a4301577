//! Seeds side by side: of the simulations here, and of that of elections (`controller/src/cluster/tests.rs`).

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Those that an environment variable names, or else these.
pub(crate) fn named(variable: &str, others: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var(variable) else { return others };
    let parsed = text.split_once("..").and_then(|(start, end)| Some(start.parse().ok()?..end.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("{variable} is {text:?}; expected two numbers such as 0..5000"))
}

/// The lowest seed that fails, as far as others were looked at until one did.
pub(crate) fn lowest(seeds: Range<u64>, fails: impl Fn(u64) -> bool + Sync) -> Option<u64> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(None::<u64>);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().expect("no thread panics").is_some() {
                        return;
                    }
                    if fails(seed) {
                        let mut failed = failed.lock().expect("no thread panics");
                        *failed = Some(failed.map_or(seed, |other: u64| other.min(seed)));
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no thread panics")
}
