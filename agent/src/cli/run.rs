//! Commands that need no daemon.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::ArgMatches;
use clap::parser::ValueSource;
use tracing_subscriber::EnvFilter;

use super::args::{ConfigCommand, ConfigFile, RunArgs};
use super::{Exit, output};
use crate::config::{Config, Log, LogFormat, LogLevel, Origin, Override, settings};
use crate::daemon::{self, Start};
use crate::{capabilities, check, kernel};

pub(super) fn run(args: &RunArgs, matches: Option<&ArgMatches>) -> Result<Exit> {
    let overrides = overrides(args, matches);
    let config = Config::load(&args.file.config, &overrides)?;
    log(&config.log)?;
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

fn log(log: &Log) -> Result<()> {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // `vtep` is the programs' object, should it have been built with `--debug-log`.
    let targets = ["vtep", "vtep_agent", "ovsdb", "hardware_vtep"];
    let filter =
        targets.iter().fold("warn".to_owned(), |filter, target| format!("{filter},{target}={level}"));
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let result = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    result.map_err(|error| anyhow::anyhow!(error)).context("logging cannot start")
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
        serde_json::to_writer_pretty(&mut out, &settings)?;
        writeln!(out)?;
    } else {
        for setting in &settings {
            write!(out, "{} = {}", setting.key, setting.value)?;
            if *origin {
                let from = match setting.origin {
                    Origin::Flag => "flag",
                    Origin::Environment => "environment",
                    Origin::File => "file",
                    Origin::Default => "default",
                };
                write!(out, "  # {from}")?;
            }
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn overrides(args: &RunArgs, matches: Option<&ArgMatches>) -> Vec<Override> {
    let origin = |id: &str| match matches.and_then(|matches| matches.value_source(id)) {
        Some(ValueSource::EnvVariable) => Origin::Environment,
        _ => Origin::Flag,
    };
    let socket = args.socket.clone().map(|socket| Override::Socket(socket, origin("socket")));
    let level = args.log_level.map(|level| Override::LogLevel(level, origin("log_level")));
    let format = args.log_format.map(|format| Override::LogFormat(format, origin("log_format")));
    [socket, level, format].into_iter().flatten().collect()
}
