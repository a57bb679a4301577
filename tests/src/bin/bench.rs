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
    let quick = if arguments.quick { " --quick" } else { "" };
    let only = arguments.only.as_ref().map_or_else(String::new, |only| format!(" --only {only:?}"));
    let rows =
        (bench.run)(Options { quick: arguments.quick, only: arguments.only.map(|only| &*only.leak()) })?;
    let report = Report::new(bench.name, format!("cargo xtask bench {}{quick}{only}", bench.name), rows);
    if arguments.markdown {
        println!("{}", report.markdown());
    } else {
        println!("{report}");
    }
    arguments.json.iter().try_for_each(|file| report.write_json(file))
}
