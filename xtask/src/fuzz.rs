//! `fuzz`: frames through the loaded programs beside the model of the dataplane.

use anyhow::Result;

use crate::{
    command::{become_it, command},
    demo, workspace,
};

/// Run generated and mutated frames through the loaded programs, and compare each with the model
#[derive(clap::Args)]
pub(crate) struct Args {
    what: What,
    #[arg(long, default_value_t = 1_000_000)]
    frames: u64,
    /// Chosen at random, and printed, if not given
    #[arg(long)]
    seed: Option<u64>,
    /// The first round: a difference names its own
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// How many work at once: the host's CPUs, if not given
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    Dataplane,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let What::Dataplane = args.what;
    demo::prepare_release()?;
    let mut fuzz = command(workspace::release_binary("fuzz"));
    fuzz.args(["--frames", &args.frames.to_string(), "--round", &args.round.to_string()]);
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    fuzz.args(["--jobs", &args.jobs.unwrap_or_else(cpus).to_string()]);
    if let Some(seed) = args.seed {
        fuzz.args(["--seed", &seed.to_string()]);
    }
    // Ctrl-C would end us before the namespace is gone.
    become_it(&mut fuzz)
}
