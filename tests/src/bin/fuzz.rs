//! Fuzzes the dataplane against the model. `cargo xtask fuzz dataplane` prepares the machine and starts this.

use anyhow::Result;
use clap::Parser;
use vtep_tests::fuzz::{self, Plan};

#[derive(Parser)]
#[command(name = "fuzz", about = "The loaded programs against the model of the dataplane")]
struct Arguments {
    #[arg(long)]
    frames: u64,
    /// Chosen at random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// The first round
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// Rigs that share the rounds
    #[arg(long, default_value_t = 1)]
    jobs: u64,
}

fn main() -> Result<()> {
    let Arguments { frames, seed, round, jobs } = Arguments::parse();
    let seed = seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let agreed = fuzz::run(Plan { seed, frames, first_round: round, jobs })?;
    print!("{agreed}");
    Ok(())
}
