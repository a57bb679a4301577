//! `bench`: one of the side-by-side benches, by name.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    command::{cargo, command, run as run_command},
    demo, workspace,
};

/// Run a bench (`list` shows their names)
#[derive(clap::Args)]
pub(crate) struct Args {
    name: String,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Only measures whose names contain this (`dataplane`)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only how so many agents get over the end of their physical controller (`control`)
    #[arg(long, value_name = "N")]
    agents: Option<u16>,
    /// Write the report there, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table as Markdown, as docs/performance.md has it
    #[arg(long)]
    markdown: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    demo::prepare_release()?;
    if args.name == "ovsdb" {
        run_command(cargo().args(["build", "--release", "--package", "hardware-vtep", "--example", "dump"]))?;
    }
    let mut bench = command(workspace::release_binary("bench"));
    bench.arg(&args.name);
    bench.args(args.quick.then_some("--quick"));
    bench.args(args.markdown.then_some("--markdown"));
    bench.args(args.only.iter().flat_map(|only| ["--only", only]));
    bench.args(args.agents.iter().flat_map(|agents| ["--agents".to_owned(), agents.to_string()]));
    if let Some(file) = &args.json {
        // The bench runs in the root of the workspace, wherever the user types.
        bench.arg("--json").arg(std::path::absolute(file)?);
    }
    run_command(&mut bench)
}
