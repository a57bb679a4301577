//! What tshark makes of a frame: a reader of outer headers that shares nothing with us.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::netns::output;

/// Values of the fields, by tshark's names; of a field that occurs several times, all, with commas. An absent one is empty.
pub fn fields(frame: &[u8], names: &[&str]) -> Result<Vec<String>> {
    let folder = tempfile::Builder::new().prefix("vtepd-dissect-").tempdir()?;
    let file = folder.path().join("frame.pcap");
    fs::write(&file, capture(frame)?)?;
    let mut tshark = command(&file);
    tshark.args(["-T", "fields", "-E", "occurrence=a"]);
    for name in names {
        tshark.args(["-e", name]);
    }
    let printed = output(&mut tshark).context("tshark is needed (cargo xtask setup)")?;
    Ok(printed.trim_end_matches('\n').split('\t').map(str::to_owned).collect())
}

/// IPv4 and UDP checksums are verified, and fields of GRE named as NVGRE has them.
fn command(file: &Path) -> Command {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-o", "ip.check_checksum:TRUE", "-r"]).arg(file);
    tshark
}

/// One frame as a pcap file (draft-ietf-opsawg-pcap §4): Ethernet, no times.
fn capture(frame: &[u8]) -> Result<Vec<u8>> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const LINKTYPE_ETHERNET: u32 = 1;
    let length = u32::try_from(frame.len())?;
    let words = [MAGIC, 0x0004_0002, 0, 0, 1 << 18, LINKTYPE_ETHERNET, 0, 0, length, length];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend_from_slice(frame);
    Ok(bytes)
}
