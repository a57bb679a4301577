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
mod rig;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{SeedableRng as _, rngs::SmallRng};

pub use self::{
    case::{Case, Stimulus},
    rig::Rig,
};
use crate::model::Tables;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub frames: u64,
    pub first_round: u64,
}

/// What was run without a difference.
#[derive(Debug)]
pub struct Agreed {
    pub plan: Plan,
    pub frames: u64,
    pub rounds: u64,
    pub took: Duration,
    /// By verdict code.
    pub verdicts: Vec<(&'static str, u64)>,
}

/// Frames of a round; the last one may have a few more.
const ROUND_FRAMES: u64 = 4000;

/// Stops at the first difference, and names it in its smallest form.
pub fn run(plan: Plan) -> Result<Agreed> {
    Rig::with(|rig| run_in(rig, plan))?
}

fn run_in(rig: &mut Rig, plan: Plan) -> Result<Agreed> {
    let start = Instant::now();
    let mut frames = 0;
    let mut round = plan.first_round;
    while frames < plan.frames {
        let limit = ROUND_FRAMES.min(plan.frames - frames);
        let drawn = Round::draw(plan.seed, round, limit);
        if let Some(found) = drawn.first_difference(rig)? {
            let small = minimise::smallest(rig, found.clone())?;
            let replay = format!("cargo xtask fuzz dataplane --seed {} --round {round}", plan.seed);
            anyhow::bail!("{}\nreplay: {replay}", small.report(rig)?);
        }
        frames += drawn.stimuli.len() as u64;
        round += 1;
    }
    let verdicts = rig.verdicts();
    Ok(Agreed { plan, frames, rounds: round - plan.first_round, took: start.elapsed(), verdicts })
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

    fn first_difference(&self, rig: &mut Rig) -> Result<Option<Case>> {
        let case = |stimulus: &Stimulus| Case { tables: self.tables.clone(), stimulus: stimulus.clone() };
        rig.install(&self.tables)?;
        for stimulus in &self.stimuli {
            if rig.differs(stimulus)?.is_some() {
                return Ok(Some(case(stimulus)));
            }
        }
        if rig.settles()? {
            return Ok(None);
        }
        // Some counter moved that no frame was to move: which one's was it?
        rig.install(&self.tables)?;
        for stimulus in &self.stimuli {
            if rig.differs(stimulus)?.is_some() || !rig.settles()? {
                return Ok(Some(case(stimulus)));
            }
        }
        anyhow::bail!("counters of a whole round differ, and those of none of its frames do")
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = self.frames as f64 / self.took.as_secs_f64();
        writeln!(
            f,
            "seed {}: {} frames in {} rounds, 0 differences, {rate:.0} frames/s",
            self.plan.seed, self.frames, self.rounds
        )?;
        self.verdicts.iter().try_for_each(|(name, count)| writeln!(f, "{count:12} {name}"))
    }
}
