//! The command line. Commands other than `run`, `check`, `config` and `replay` ask the running daemon.
//!
//! Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 daemon not reachable, 5 check failed, 6 part of the
//! answer missing.

mod args;
mod ask;
mod render;
mod run;
mod sentences;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Error;
use clap::{CommandFactory, FromArgMatches};
use vtep_api::control::terminal::Exit;

use args::{Args, Command};

/// Parses the command line, does what it says and reports errors.
pub fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let exit = dispatch(args.command, &matches).unwrap_or_else(|error| {
        let exit = Exit::of(error.chain());
        if exit != Exit::Ok {
            eprintln!("vtep-controller: {error:#}");
        }
        exit
    });
    ExitCode::from(exit as u8)
}

fn dispatch(command: Command, matches: &clap::ArgMatches) -> Result<Exit, Error> {
    // For where a value came from.
    let own = matches.subcommand().map(|(_, own)| own);
    match command {
        Command::Run(args) => run::run(&args, own),
        Command::Check { config, file } => run::check(&config, file.as_deref()),
        Command::Config { command } => {
            run::config(&command, own.and_then(|own| own.subcommand()).map(|(_, own)| own))
        }
        Command::Replay { file, json } => run::replay(&file, json),
        Command::Man { directory } => {
            clap_mangen::generate_to(Args::command(), directory)?;
            Ok(Exit::Ok)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "vtep-controller", &mut script);
            io::stdout().write_all(&script)?;
            Ok(Exit::Ok)
        }
        question => ask::ask(question),
    }
}
