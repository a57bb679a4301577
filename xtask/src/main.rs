//! All automation. CI types the same verbs as a developer does.

use std::process::ExitCode;

use clap::Parser;

mod abi;
mod abi_lock;
mod bench;
mod bpf_toolchain;
mod build_ebpf;
mod command;
mod demo;
mod fuzz;
mod lint;
mod setup;
mod test;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "All automation of vtepd")]
enum Verb {
    Setup(setup::Args),
    BuildEbpf(build_ebpf::Args),
    Lint(lint::Args),
    AbiLock(abi_lock::Args),
    Test(test::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let done = match Verb::parse() {
        Verb::Setup(args) => setup::run(&args),
        Verb::BuildEbpf(args) => build_ebpf::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::AbiLock(args) => abi_lock::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Without the backtrace: the chain says what to type.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
