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
    let rows = (bench.run)(Options { quick: arguments.quick })?;
    let report = Report::new(bench.name, format!("cargo xtask bench {}{quick}", bench.name), rows);
    if arguments.markdown {
        println!("{}", report.markdown());
    } else {
        println!("{report}");
    }
    arguments.json.iter().try_for_each(|file| report.write_json(file))
}
