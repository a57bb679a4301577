//! `lint`: everything that is checked without running a test.

use anyhow::{Context as _, Result};

use crate::{
    abi,
    bpf_toolchain::Compiler,
    command::{cargo, run as run_command},
    setup::{self, Need},
    workspace,
};

/// Check format, lints, dependencies, and that the ABI did not change under its version
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<()> {
    setup::ensure(Need::Lint)?;
    abi::check(workspace::root())?;
    println!("lint: the ABI is as locked");
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(cargo().args(["deny", "--log-level", "warn", "check", "bans", "licenses", "sources"]))?;
    run_command(
        cargo()
            .args(["clippy", "--locked", "--workspace", "--exclude", "vtep-ebpf", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )?;
    lint_programs()
}

/// For the target, with the clippy that belongs to its compiler, or with the compiler alone where there is none.
fn lint_programs() -> Result<()> {
    let compiler = Compiler::find().context("no compiler for BPF was found")?;
    if let Some(mut clippy) = compiler.clippy() {
        return run_command(clippy.args(["--", "--deny", "warnings"]));
    }
    println!("lint: {compiler}, has no clippy beside it; its own warnings are denied");
    run_command(compiler.cargo("check").env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", "--deny=warnings"))
}
