//! `demo`: the whole system in network namespaces.

use anyhow::Result;

use crate::{
    build_ebpf,
    command::{become_it, cargo, command, run as run_command},
    setup::{self, Need},
    workspace,
};

/// Build everything, then show it at work in network namespaces
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave it running, and print what to try
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    prepare_release()?;
    let keep = args.keep.then_some("--keep");
    // Ctrl-C would end us before the demo has cleaned up.
    become_it(command(workspace::release_binary("demo")).args(keep))
}

/// The machine, the object, and the daemons beside which the demo's and the benches' binaries will lie.
pub(crate) fn prepare_release() -> Result<()> {
    setup::ensure(Need::Test)?;
    build_ebpf::run(&build_ebpf::Args::default())?;
    let packages = ["vtep-agent", "vtep-controller", "vtep-tests"];
    run_command(
        cargo().args(["build", "--release"]).args(packages.map(|package| format!("--package={package}"))),
    )
}
