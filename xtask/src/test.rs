//! `test`: every test of the workspace, the privileged ones included.

use anyhow::{Result, bail};

use crate::{
    build_ebpf,
    command::{cargo, run as run_command},
    setup::{self, Need},
};

/// Run all tests (as root: they lay out network namespaces and load programs)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the unit tests, which need neither root nor a BPF compiler
    #[arg(long)]
    unprivileged: bool,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.unprivileged {
        return run_command(workspace("test").args(["--lib", "--bins"]).args(&args.filter));
    }
    if !setup::is_root() {
        bail!(
            "the tests lay out network namespaces and load programs, which only root may. Type\n  \
             sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test\nor, for the unit tests alone,\n  \
             cargo xtask test --unprivileged"
        );
    }
    setup::ensure(Need::Test)?;
    build_ebpf::run(&build_ebpf::Args::default())?;
    // The end-to-end tests start the daemons' binaries, which `cargo test` alone would not build for them.
    run_command(workspace("build").args(["--bins", "--tests"]))?;
    run_command(workspace("test").arg("--no-fail-fast").args(&args.filter))?;
    if args.filter.is_some() {
        return Ok(());
    }
    // The simulations are put to the test themselves: they have to catch mistakes that are made on purpose.
    let mut seeded = cargo();
    seeded.args([
        "test",
        "-p",
        "vtep-controller",
        "--features",
        "seeded-bugs",
        "--lib",
        "--test",
        "simulation",
    ]);
    run_command(seeded.args(["every_seeded_bug", "--", "--nocapture"]))?;
    let mut seeded = cargo();
    seeded.args(["test", "-p", "vtep-agent", "--features", "seeded-bugs", "--test", "mac_table"]);
    run_command(seeded.args(["a_seeded_bug", "--", "--nocapture"]))
}

fn workspace(verb: &str) -> std::process::Command {
    let mut cargo = cargo();
    cargo.args([verb, "--workspace", "--exclude", "vtep-ebpf"]);
    cargo
}
