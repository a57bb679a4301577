//! Runs of seeds, one after the other and side by side.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vtep_controller::declared::TimePolicy;

use crate::observer::Verdict;
use crate::quiet::Placements;
use crate::scenario::Scenario;
use crate::seeds::lowest;
use crate::trace::Trace;
use crate::world::World;

/// Of the failing seeds the lowest, with what happened before it failed.
pub(crate) fn all(seeds: Range<u64>) -> Option<String> {
    let survey = std::env::var_os("SIM_SURVEY").is_some();
    let fails = |seed| match verdict(seed, Trace::default()).0 {
        Err(violation) if survey => {
            eprintln!("SURVEY {seed}: {}", violation.lines().next().unwrap_or_default());
            false
        }
        verdict => verdict.is_err(),
    };
    lowest(seeds, fails).map(report)
}

fn report(seed: u64) -> String {
    let (verdict, trace) = verdict(seed, Trace::last(40));
    let violation = verdict.expect_err("a run is the same whenever it is run");
    let mut lines: Vec<String> = trace.lines().map(|line| line.chars().take(600).collect()).collect();
    lines.push(format!("seed {seed} fails: {violation}"));
    lines.push(format!(
        "SIM_SEED={seed} cargo test -p vtep-controller --test simulation one_run -- --nocapture"
    ));
    lines.join("\n")
}

/// The first seed that objects to a known mistake, and what it says.
#[cfg(feature = "seeded-bugs")]
pub(crate) fn first_to_catch(
    bug: vtep_controller::bugs::Bug,
    mut seeds: Range<u64>,
) -> Option<(u64, String)> {
    let caught = seeds.find_map(|seed| {
        vtep_controller::bugs::make(Some(bug));
        let violation = verdict(seed, Trace::default()).0.err()?;
        // Without the mistake there has to be nothing to object to.
        vtep_controller::bugs::make(None);
        verdict(seed, Trace::default()).0.ok()?;
        Some((seed, violation.lines().next().unwrap_or_default().chars().take(160).collect()))
    });
    vtep_controller::bugs::make(None);
    caught
}

/// Everything that happens.
pub(crate) fn told(seed: u64) -> Vec<String> {
    let (_, trace) = verdict(seed, Trace::last(usize::MAX));
    trace.lines().map(str::to_owned).collect()
}

pub(crate) fn aloud(seed: u64) -> Verdict {
    verdict(seed, Trace::aloud()).0
}

fn verdict(seed: u64, trace: Trace) -> (Verdict, Trace) {
    let mut world = World::new(Scenario::of(seed), trace);
    let verdict = survive(|| world.run());
    (verdict, world.trace)
}

/// A panic is a violation, too.
pub(crate) fn survive(run: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

impl World {
    fn run(&mut self) -> Verdict {
        let (faults, policy) = (self.scenario.faults.clone(), self.scenario.declared.policy);
        self.trace.note(0, || format!("{faults:?}, {policy:?}"));
        // Everybody begins together; then they have time to meet, or not.
        if self.random.percent(70) {
            self.run_until(8000)?;
        }
        for _ in 0..self.scenario.operations {
            let busy = self.random.percent(70);
            let pause = if busy { self.random.below(200) } else { self.random.below(3000) };
            self.run_until(self.now + pause)?;
            self.operate()?;
            if self.random.percent(25) {
                self.fail(true)?;
            }
        }
        let long = self.random.below(3000);
        self.run_until(self.now + long)?;
        self.calm()?;
        // By time a claim may count for another one once its clock is, or is not, trusted again.
        if self.declared.policy.time == TimePolicy::Arrival { self.stays_as_it_is() } else { Ok(()) }
    }

    /// Sessions, processes and clocks fail, and nobody claims anything.
    fn stays_as_it_is(&mut self) -> Verdict {
        let before = self.placements();
        self.trace.note(self.now, || "nobody claims anything any more".to_owned());
        self.observer.frozen = true;
        for _ in 0..4 {
            self.fail(false)?;
            let pause = self.random.between(9000, 20_000);
            self.run_until(self.now + pause)?;
        }
        self.calm()?;
        self.observer.frozen = false;
        let after = self.placements();
        if before != after {
            let only = |one: &Placements, other: &Placements| -> Placements {
                let differs = |(key, placement): &(&_, &_)| other.get(*key) != Some(*placement);
                one.iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            let (was, is) = (only(&before, &after), only(&after, &before));
            return Err(format!("nobody claimed, and {was:?} became {is:?}"));
        }
        Ok(())
    }
}
