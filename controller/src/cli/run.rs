//! Commands that need no daemon.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ArgMatches;
use vtep_api::control::terminal::{self, Exit, output};
use vtep_api::daemon::{Origin, print};

use super::args::{ConfigCommand, RunArgs};
use super::render::{FDB_HEADER, fdb_line};
use crate::config::{Config, Override, settings};
use crate::control::view::FdbRow;
use crate::control::{fdb_of_logical, fdb_of_physical};
use crate::{check, record, run as daemon};

pub(super) fn run(args: &RunArgs, matches: Option<&ArgMatches>) -> Result<Exit> {
    let overrides = overrides(args, matches);
    let config = Config::load(&args.config, &overrides)?;
    config.log.start(&["vtep_controller", "ovsdb", "hardware_vtep"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let path = args.config.clone();
    runtime.block_on(daemon::run(daemon::Start { config, path, overrides }))?;
    // Nothing that still blocks may hold up the end.
    runtime.shutdown_background();
    Ok(Exit::Ok)
}

pub(super) fn check(config: &Path, declared: Option<&Path>) -> Result<Exit> {
    let findings = check::check(config, declared);
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
    eprintln!("vtep-controller: {failed} of {} checks failed", findings.len());
    Ok(Exit::CheckFailed)
}

pub(super) fn config(command: &ConfigCommand, matches: Option<&ArgMatches>) -> Result<Exit> {
    let ConfigCommand::Show { run, origin, json } = command;
    let overrides = overrides(run, matches);
    let config = Config::load(&run.config, &overrides)?;
    let text = std::fs::read_to_string(&run.config)?;
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

/// The tables at the end of the recording: of the logical controller, if it had one.
pub(super) fn replay(path: &Path, json: bool) -> Result<Exit> {
    let file = File::open(path).with_context(|| format!("recording {} cannot be read", path.display()))?;
    let replayed = record::replay(BufReader::new(file)).with_context(|| path.display().to_string())?;
    let rows = match (&replayed.logical, &replayed.physical) {
        (Some(logical), _) => fdb_of_logical(logical, None)?,
        (None, Some(physical)) => fdb_of_physical(physical, None).unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let mut out = output();
    fdb(&mut out, &rows, json)?;
    out.flush()?;
    if replayed.torn > 0 {
        eprintln!("vtep-controller: {} lines were cut by a crash", replayed.torn);
    }
    if let Some(reason) = &replayed.ended {
        eprintln!("vtep-controller: {reason}; the tables are those of that moment");
    }
    Ok(Exit::Ok)
}

/// As the daemon's rows are printed.
fn fdb(out: &mut dyn Write, rows: &[FdbRow], json: bool) -> Result<()> {
    if !json {
        out.write_all(FDB_HEADER.as_bytes())?;
        return Ok(rows.iter().try_for_each(|row| fdb_line(out, row))?);
    }
    out.write_all(b"[\n")?;
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.write_all(b",\n")?;
        }
        // The daemon's rows are printed from a `Value`, whose keys are sorted.
        serde_json::to_writer(&mut *out, &serde_json::to_value(row)?)?;
    }
    Ok(out.write_all(b"\n]\n")?)
}

fn overrides(args: &RunArgs, matches: Option<&ArgMatches>) -> Vec<Override> {
    let origin = |id: &str| Origin::of_argument(matches, id);
    let given = [
        args.role.map(|role| Override::Role(role, origin("role"))),
        args.state.clone().map(|path| Override::State(path, origin("state"))),
        args.store.clone().map(|choice| Override::Store(choice, origin("store"))),
        args.record.clone().map(|path| Override::Record(path, origin("record"))),
        args.socket.clone().map(|path| Override::Socket(path, origin("socket"))),
        args.log_level.map(|level| Override::LogLevel(level, origin("log_level"))),
        args.log_format.map(|format| Override::LogFormat(format, origin("log_format"))),
    ];
    given.into_iter().flatten().collect()
}
