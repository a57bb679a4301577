//! `setup`: makes a fresh Debian 12 with rustup's Rust able to build, run and test. What is there is left alone.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::Result;

use crate::setup::{packages::Packages, tool::Tool};

mod elsewhere;
mod packages;
mod tool;

/// Install what building, running and testing need (as root on Debian 12; elsewhere it is printed)
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Also what `lint` needs
    #[arg(long)]
    lint: bool,
}

/// What a verb needs of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Test,
    Lint,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(if args.lint { Need::Lint } else { Need::Test })
}

pub(crate) fn ensure(need: Need) -> Result<()> {
    if is_debian_12() {
        // They come first: the tools are compiled with them.
        Packages::of(need).ensure()?;
        Tool::BpfLinker.ensure()?;
    } else {
        elsewhere::check()?;
    }
    match need {
        Need::Test => Ok(()),
        Need::Lint => [Tool::Clippy, Tool::Rustfmt, Tool::CargoDeny].into_iter().try_for_each(Tool::ensure),
    }
}

fn is_debian_12() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| {
        let has = |wanted: &str| text.lines().any(|line| line.replace('"', "") == wanted);
        has("ID=debian") && has("VERSION_ID=12")
    })
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
