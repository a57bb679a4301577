//! A distribution whose package names we do not know: programs are looked for, and nothing is installed.

use anyhow::{Result, bail};

use super::packages;
use crate::{
    bpf_toolchain::{self, Compiler},
    command::{command, output},
};

const PROGRAMS: &[&str] = &[
    "bpf-linker",
    "bpftool",
    "c++",
    "ethtool",
    "ip",
    "iperf3",
    "keepalived",
    "openssl",
    "ovs-pki",
    "ovsdb-server",
    "ovsdb-tool",
    "ping",
    "strace",
    "tshark",
    "vtep-ctl",
];

pub(super) fn check() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().copied().filter(|program| !is_found(program)).collect();
    let has_compiler = Compiler::find().is_some();
    if missing.is_empty() && has_compiler {
        println!("setup: this is not Debian 12, but every program is there");
        return Ok(());
    }
    let mut needs = missing.join(", ");
    if !has_compiler {
        needs.push_str(if missing.is_empty() { "a compiler for BPF" } else { ", a compiler for BPF" });
    }
    bail!("this is not Debian 12, so nothing is installed. Missing: {needs}. {}", advice())
}

fn advice() -> String {
    format!(
        "Debian 12 has the programs in these packages, others have their like:\n  \
         apt-get update\n  apt-get install --no-install-recommends {}\n{}",
        packages::TEST.join(" "),
        bpf_toolchain::missing()
    )
}

fn is_found(program: &str) -> bool {
    output(command("sh").args(["-c", &format!("command -v {program}")])).is_ok()
}
