//! Commands that need no daemon.

use std::io::Write;

use anyhow::Result;
use clap::ArgMatches;
use vtep_api::control::terminal::{self, Exit, output};
use vtep_api::daemon::{Origin, print};

use super::args::{ConfigCommand, ConfigFile, RunArgs};
use crate::config::{Config, Override, settings};
use crate::daemon::{self, Start};
use crate::{capabilities, check, kernel};

pub(super) fn run(args: &RunArgs, matches: Option<&ArgMatches>) -> Result<Exit> {
    let overrides = overrides(args, matches);
    let config = Config::load(&args.file.config, &overrides)?;
    // `vtep` is the programs' object, should it have been built with `--debug-log`.
    config.log.start(&["vtep", "vtep_agent", "ovsdb", "hardware_vtep"])?;
    if kernel::OBJECT.is_none() {
        return Err(kernel::KernelError::NoObject.into());
    }
    capabilities::reduce()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
    runtime.block_on(daemon::run(Start { config, path: args.file.config.clone(), overrides }))?;
    // Nothing that still blocks may hold up the end: the kernel has all it needs.
    runtime.shutdown_background();
    Ok(Exit::Ok)
}

pub(super) fn check(args: &ConfigFile) -> Result<Exit> {
    let findings = check::check(&args.config);
    let mut out = output();
    for finding in &findings {
        match &finding.problem {
            None => writeln!(out, "ok      {}", finding.subject)?,
            Some(problem) => writeln!(out, "failed  {}: {}", finding.subject, problem.trim_end())?,
        }
    }
    out.flush()?;
    let failed = findings.iter().filter(|finding| finding.problem.is_some()).count();
    if failed == 0 {
        return Ok(Exit::Ok);
    }
    eprintln!("vtep-agent: {failed} of {} checks failed", findings.len());
    Ok(Exit::CheckFailed)
}

pub(super) fn config(command: &ConfigCommand, matches: Option<&ArgMatches>) -> Result<Exit> {
    let ConfigCommand::Show { run, origin, json } = command;
    let overrides = overrides(run, matches);
    let config = Config::load(&run.file.config, &overrides)?;
    let text = std::fs::read_to_string(&run.file.config)?;
    let settings = settings(&config, &text, &overrides);
    let mut out = output();
    if *json {
        terminal::json(&mut out, &settings)?;
    } else {
        print(&mut out, &settings, *origin)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn overrides(args: &RunArgs, matches: Option<&ArgMatches>) -> Vec<Override> {
    let origin = |id: &str| Origin::of_argument(matches, id);
    let socket = args.socket.clone().map(|socket| Override::Socket(socket, origin("socket")));
    let level = args.log_level.map(|level| Override::LogLevel(level, origin("log_level")));
    let format = args.log_format.map(|format| Override::LogFormat(format, origin("log_format")));
    [socket, level, format].into_iter().flatten().collect()
}
