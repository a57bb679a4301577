//! Measures the initial dump of a large table: `generate FILE --rows N` writes the byte stream that `ovsdb-server` sends
//! in reply to `monitor_cond_since`; `typed FILE` takes it in as a session and a mirror do, `value FILE` by way of
//! `serde_json::Value`. The latter two print one line of JSON. Run each in a process of its own: memory is measured as
//! the growth of the process to its peak. Both get the stream in pieces as a socket would give it, from memory that was
//! filled before: reading the file is not measured.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use hardware_vtep::Mirror;
use hardware_vtep::rows::{MacText, UcastMacRemote};
use ovsdb::framer::{Framer, Limits, Piece};
use ovsdb::{Atom, Commit, Event, MonitorMethod, Uuid};
use serde_json::Value;
use vtep_api::MacAddr;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["generate", file, "--rows", rows] => {
            generate(Path::new(file), rows.parse().with_context(|| format!("--rows {rows}"))?)
        }
        ["typed", file] => measure(Path::new(file), typed),
        ["value", file] => measure(Path::new(file), value),
        _ => bail!("usage: dump generate FILE --rows N | dump typed FILE | dump value FILE"),
    }
}

/// What a session reads at once.
const CHUNK_LEN: usize = 64 << 10;
/// Rows refer to so many logical switches and locators.
const SWITCHES: u64 = 1000;
const LOCATORS: u64 = 2000;

fn generate(file: &Path, rows: u64) -> Result<()> {
    let create = || format!("{} cannot be written", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(create)?);
    write!(out, r#"{{"id":2,"result":[false,"{}",{{"Ucast_Macs_Remote":{{"#, uuid(0, 0))?;
    for row in 0..rows {
        let comma = if row == 0 { "" } else { "," };
        let [.., b, c, d, e] = row.to_be_bytes();
        let mac = MacAddr::new([2, 0, b, c, d, e]);
        let (key, switch, locator) = (uuid(1, row), uuid(2, row % SWITCHES), uuid(3, row % LOCATORS));
        write!(
            out,
            r#"{comma}"{key}":{{"initial":{{"MAC":"{mac}","locator":["uuid","{locator}"],"logical_switch":["uuid","{switch}"]}}}}"#
        )?;
    }
    out.write_all(br#"}}],"error":null}"#)?;
    out.into_inner().context("the last bytes cannot be written")?.sync_all()?;
    Ok(())
}

/// Scattered like those of a server (`splitmix64`), and the same in each run.
fn uuid(kind: u64, number: u64) -> Uuid {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let high = mix(kind << 56 | number);
    Uuid::from_u128(u128::from(high) << 64 | u128::from(mix(high)))
}

/// What was done, with what is kept of it: freeing is no part of the measurement.
struct Kept<T> {
    rows: usize,
    _table: T,
}

fn measure<T>(file: &Path, decode: impl FnOnce(&[u8]) -> Result<Kept<T>>) -> Result<()> {
    let stream = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let before = memory("VmRSS:")?;
    let cpu_before = cpu_seconds()?;
    let start = Instant::now();
    let kept = black_box(decode(black_box(&stream))?);
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds()? - cpu_before;
    let delta = memory("VmHWM:")?.saturating_sub(before);
    let rows = kept.rows;
    println!(
        r#"{{"rows":{rows},"seconds":{seconds:.4},"cpu_seconds":{cpu_seconds:.4},"peak_rss_delta_bytes":{delta}}}"#
    );
    std::mem::forget(kept);
    Ok(())
}

/// What the one thread used: a busy machine stretches the other time.
fn cpu_seconds() -> Result<f64> {
    let schedstat =
        fs::read_to_string("/proc/self/schedstat").context("processor time cannot be measured")?;
    let nanoseconds = schedstat.split_whitespace().next().context("no processor time")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

fn memory(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("memory cannot be measured")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("no number of kB")?;
    Ok(kib * 1024)
}

/// As in production: the framer hands rows over as they pass, the mirror stages them and commits at the end.
fn typed(stream: &[u8]) -> Result<Kept<Mirror>> {
    let mut framer = Framer::new(Limits::default());
    let mut mirror = Mirror::default();
    for chunk in stream.chunks(CHUNK_LEN) {
        framer.buffer().extend_from_slice(chunk);
        while let Some(piece) = framer.next_piece()? {
            let event = match piece {
                Piece::Rows(batch) => Event::Rows(batch),
                Piece::Message(_) => Event::Commit(Commit::Snapshot { method: MonitorMethod::CondSince }),
            };
            mirror.apply(&event);
        }
    }
    ensure!(mirror.is_known() && mirror.refused().is_empty(), "the dump did not come in whole");
    Ok(Kept { rows: mirror.ucast_remote.len(), _table: mirror })
}

/// The usual way: hold the message, parse it, walk the tree. The stream is one message, so no framing is counted.
fn value(stream: &[u8]) -> Result<Kept<Vec<(Uuid, UcastMacRemote)>>> {
    let mut message = Vec::new();
    for chunk in stream.chunks(CHUNK_LEN) {
        message.extend_from_slice(chunk);
    }
    let value: Value = serde_json::from_slice(&message)?;
    let rows = value["result"][2]["Ucast_Macs_Remote"].as_object().context("no rows")?;
    let mut table = Vec::with_capacity(rows.len());
    for (uuid, update) in rows {
        let row = &update["initial"];
        let reference =
            |column: &str| -> Result<Uuid> { Ok(row[column][1].as_str().context("no reference")?.parse()?) };
        let mac = row["MAC"].as_str().and_then(MacText::from_text).context("no MAC")?;
        let row = UcastMacRemote {
            mac,
            logical_switch: reference("logical_switch")?,
            locator: reference("locator")?,
            ..UcastMacRemote::default()
        };
        table.push((uuid.parse::<Uuid>()?, row));
    }
    Ok(Kept { rows: table.len(), _table: table })
}
