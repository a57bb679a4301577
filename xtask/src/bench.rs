//! `bench`: one of the side-by-side benches, by name.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    command::{cargo, run as run_command},
    demo,
};

/// Run a bench (`list` shows their names)
#[derive(clap::Args)]
pub(crate) struct Args {
    name: String,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Write the report there, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.name != "list" {
        demo::prepare_release()?;
        run_command(cargo().args(["build", "--release", "--package", "hardware-vtep", "--example", "dump"]))?;
    }
    let mut bench = cargo();
    bench.args(["run", "--release", "--package", "vtep-tests", "--bin", "bench", "--", &args.name]);
    bench.args(args.quick.then_some("--quick"));
    if let Some(file) = &args.json {
        // The bench runs in the root of the workspace, wherever the user types.
        bench.arg("--json").arg(std::path::absolute(file)?);
    }
    run_command(&mut bench)
}
