//! The initial dump of a large `Ucast_Macs_Remote`, decoded from a recorded byte stream by our client and by way of
//! `serde_json::Value`. Each run is a process of its own, for its peak of memory is measured:
//! `ovsdb/hardware_vtep/examples/dump.rs`.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Options, Row};
use crate::netns::output;

const PEER: &str = "serde_json::Value";

#[derive(Deserialize)]
struct Measured {
    rows: u32,
    seconds: f64,
    peak_rss_delta_bytes: u64,
}

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let rows: u32 = if options.quick { 100_000 } else { 1_000_000 };
    let folder = tempfile::tempdir()?;
    let stream = folder.path().join("dump.json").display().to_string();
    dump(&["generate", &stream, "--rows", &rows.to_string()])?;
    let measure = |how: &str| -> Result<Measured> {
        let measured: Measured = serde_json::from_str(&dump(&[how, &stream])?)?;
        ensure!(measured.rows == rows, "of {rows} rows {} were decoded", measured.rows);
        Ok(measured)
    };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        ours.push(measure("typed")?);
        peer.push(measure("value")?);
    }
    let rates = |all: &[Measured]| all.iter().map(|one| f64::from(one.rows) / one.seconds).collect();
    #[expect(clippy::cast_precision_loss, reason = "a size needs no more than 53 bits")]
    let sizes = |all: &[Measured]| all.iter().map(|one| one.peak_rss_delta_bytes as f64 / 1e6).collect();
    Ok(vec![
        Row::new(&format!("dump of {rows} rows"), "rows/s", rates(&ours), PEER, rates(&peer)),
        Row::new(&format!("peak memory, {rows} rows"), "MB", sizes(&ours), PEER, sizes(&peer)),
    ])
}

fn dump(arguments: &[&str]) -> Result<String> {
    output(Command::new(program()?).args(arguments))
}

/// Built by `cargo xtask bench` beside this binary.
fn program() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let program = own.parent().context("a binary lies in a folder")?.join("examples/dump");
    ensure!(program.is_file(), "{} is not there; `cargo xtask bench ovsdb` builds it", program.display());
    Ok(program)
}
