//! `abi-lock`: records the code of the kernel contract under its version.

use anyhow::Result;

use crate::{abi, workspace};

/// Lock the code of `ebpf/abi` to its `ABI_VERSION`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Let a version that no release has change in place
    #[arg(long)]
    unreleased: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    abi::relock(workspace::root(), args.unreleased)
}
