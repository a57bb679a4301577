//! Frames without number through the loaded programs, each judged by the model beside them (`crate::model`).
//!
//! A run is a row of rounds. A round draws tables, installs them, and runs frames against them; all of it follows from
//! the run's seed and the round's number, so that a round is repeated by these two.

mod case;
mod compare;
mod draw;
mod grammar;
mod minimise;
mod mutate;
mod outer;
mod rig;
mod rows;
mod side;

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use vtep_abi::Verdict;

pub use self::{
    case::{Case, Stimulus},
    rig::{Rig, Tally},
};
use crate::model::{Hook, Mac, Tables};

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub frames: u64,
    pub first_round: u64,
    /// Rigs that share the rounds.
    pub jobs: u64,
}

/// A mistake on purpose: what maps say otherwise than the tables do.
pub type Seed = fn(&mut Tables);

/// What was run without a difference.
#[derive(Debug)]
pub struct Agreed {
    pub plan: Plan,
    pub frames: u64,
    pub rounds: u64,
    pub took: Duration,
    pub tally: Tally,
}

/// Frames of a round; the last one may have a few more.
const ROUND_FRAMES: u64 = 4000;

/// Stops at the first difference, and names it in its smallest form.
pub fn run(plan: Plan) -> Result<Agreed> {
    run_seeded(plan, None)
}

/// With a mistake on purpose, which is found and not made small.
pub fn run_seeded(plan: Plan, seed: Option<Seed>) -> Result<Agreed> {
    let start = Instant::now();
    let is_seeded = seed.is_some();
    let shared = Shared { plan, is_seeded, next: AtomicU64::new(0), failed: AtomicBool::new(false) };
    let done: Vec<Result<Done>> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..plan.jobs.max(1))
            .map(|_| scope.spawn(|| Rig::seeded(seed, |rig| shared.work(rig))?))
            .collect();
        jobs.into_iter()
            .map(|job| job.join().unwrap_or_else(|_| Err(anyhow!("a job of the fuzzer panicked"))))
            .collect()
    });
    let mut agreed = Agreed { plan, frames: 0, rounds: 0, took: start.elapsed(), tally: Tally::NONE };
    for done in done {
        let Done { frames, rounds, tally } = done?;
        agreed.frames += frames;
        agreed.rounds += rounds;
        agreed.tally.add(&tally);
    }
    Ok(agreed)
}

/// Frames as VMs send them, most of them well-formed and most of them between these stations.
pub fn frames(seed: u64, stations: &[Mac], count: usize) -> Vec<Vec<u8>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let tables = draw::tables(&mut rng);
    let mut frames = Vec::with_capacity(count);
    while frames.len() < count {
        let mut frame = grammar::inner(&mut rng, &tables, 1);
        for at in [0, 6] {
            if let Some(station) = stations.choose(&mut rng)
                && rng.random_bool(0.7)
            {
                frame[at..at + 6].copy_from_slice(station);
            }
        }
        if rng.random_bool(0.3) {
            mutate::flip(&mut rng, &mut frame);
        }
        let stimulus = Stimulus { hook: Hook::Port, ifindex: 0, frame };
        // The kernel's receive path drops a tagged frame that is shorter, before any program sees it (`skb_vlan_untag`).
        if mutate::is_judged(&stimulus) && (20..=1400).contains(&stimulus.frame.len()) {
            frames.push(stimulus.frame);
        }
    }
    frames
}

struct Shared {
    plan: Plan,
    is_seeded: bool,
    /// Rounds that are taken.
    next: AtomicU64,
    failed: AtomicBool,
}

struct Done {
    frames: u64,
    rounds: u64,
    tally: Tally,
}

impl Shared {
    fn work(&self, rig: &mut Rig) -> Result<Done> {
        let Plan { seed, frames, first_round, .. } = self.plan;
        let mut done = Done { frames: 0, rounds: 0, tally: Tally::NONE };
        while !self.failed.load(Ordering::Relaxed) {
            let taken = self.next.fetch_add(1, Ordering::Relaxed);
            let before = taken * ROUND_FRAMES;
            if before >= frames {
                break;
            }
            let round = first_round + taken;
            let drawn = Round::draw(seed, round, ROUND_FRAMES.min(frames - before));
            let replay = format!(
                "replay: cargo xtask fuzz dataplane --frames {ROUND_FRAMES} --seed {seed} --round {round}"
            );
            // The model may fail, too.
            let found = panic::catch_unwind(AssertUnwindSafe(|| drawn.first_difference(rig)))
                .unwrap_or_else(|_| Err(anyhow!("the model panicked")))
                .inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
                .with_context(|| replay.clone())?;
            if let Some((found, difference)) = found {
                self.failed.store(true, Ordering::Relaxed);
                ensure!(!self.is_seeded, "the model says otherwise: {difference}");
                let small = minimise::smallest(rig, found)?;
                anyhow::bail!("{difference}\nmade small: {}\n{replay}", small.report(rig)?);
            }
            done.frames += drawn.stimuli.len() as u64;
            done.rounds += 1;
        }
        done.tally = rig.tally();
        Ok(done)
    }
}

struct Round {
    tables: Tables,
    stimuli: Vec<Stimulus>,
}

impl Round {
    fn draw(seed: u64, round: u64, frames: u64) -> Self {
        // An odd constant: no two rounds of a run have the same state.
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let tables = draw::tables(&mut rng);
        let mut stimuli = Vec::new();
        while (stimuli.len() as u64) < frames {
            mutate::extend(&mut rng, &tables, &mut stimuli);
        }
        Self { tables, stimuli }
    }

    /// As it was when the frame came, and what differed.
    fn first_difference(&self, rig: &mut Rig) -> Result<Option<(Case, String)>> {
        const TRIES: u32 = 10;
        for _ in 0..TRIES {
            let found = self.once(rig)?;
            if !rig.is_late() {
                return Ok(found);
            }
        }
        anyhow::bail!("the machine is too slow: {TRIES} times a frame took seconds")
    }

    fn once(&self, rig: &mut Rig) -> Result<Option<(Case, String)>> {
        rig.install(&self.tables)?;
        for stimulus in &self.stimuli {
            if let Some(difference) = rig.differs(stimulus)? {
                let tables = rig.tables().clone();
                return Ok(Some((Case { tables, stimulus: stimulus.clone() }, difference)));
            }
            if rig.is_late() {
                return Ok(None);
            }
        }
        if rig.unsettled()?.is_none() {
            return Ok(None);
        }
        // Some counter moved that no frame was to move: which one's was it?
        rig.install(&self.tables)?;
        for stimulus in &self.stimuli {
            let tables = rig.tables().clone();
            let differs = rig.differs(stimulus)?;
            if let Some(difference) = differs.or(rig.unsettled()?) {
                return Ok(Some((Case { tables, stimulus: stimulus.clone() }, difference)));
            }
        }
        ensure!(rig.is_late(), "counters of a whole round differ, and those of none of its frames do");
        Ok(None)
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = self.frames as f64 / self.took.as_secs_f64();
        writeln!(
            f,
            "seed {}: {} frames in {} rounds, 0 differences, {rate:.0} frames/s, {} left by XDP to TC",
            self.plan.seed, self.frames, self.rounds, self.tally.left
        )?;
        Verdict::ALL.iter().try_for_each(|verdict| {
            let (all, by_xdp) = (self.tally.of(*verdict), self.tally.of_xdp(*verdict));
            writeln!(f, "{all:12} {} ({by_xdp} by XDP)", verdict.name())
        })
    }
}
