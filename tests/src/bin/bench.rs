//! Runs one bench, prints its table, and writes its JSON. `cargo xtask bench` prepares the machine and starts this.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use vtep_tests::bench::{BENCHES, Options, Report, find};

#[derive(Parser)]
#[command(name = "bench", about = "Side-by-side benches")]
struct Arguments {
    /// `list` shows them
    name: String,
    #[arg(long)]
    quick: bool,
    /// Only measures whose names contain this (`dataplane`)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only how so many agents get over the end of their physical controller (`control`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    agents: Option<u16>,
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.name == "list" {
        for bench in BENCHES {
            println!("{:10} {}", bench.name, bench.about);
        }
        return Ok(());
    }
    let bench = find(&arguments.name)?;
    let Arguments { name, quick, only, agents, .. } = &arguments;
    let mut command = format!("cargo xtask bench {name}");
    command.extend(quick.then_some(" --quick"));
    command.extend(only.iter().map(|only| format!(" --only {only:?}")));
    command.extend(agents.iter().map(|agents| format!(" --agents {agents}")));
    let only = only.clone().map(|only| &*only.leak());
    let rows = (bench.run)(Options { quick: *quick, only, agents: *agents })?;
    let report = Report::new(bench.name, command, rows);
    if arguments.markdown {
        println!("{}", report.markdown());
    } else {
        println!("{report}");
    }
    arguments.json.iter().try_for_each(|file| report.write_json(file))
}
