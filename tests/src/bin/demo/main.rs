//! The demo: figure 5 of the patent, with real ovsdb-servers, agents and controllers, in network namespaces.

mod explain;
mod failover;
mod forward;
mod keep;
mod learn;
mod migrate;
mod takeover;
mod timeline;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use vtep_tests::lab::{Site, figure5::FIGURE_5};

use timeline::Timeline;

/// Everything that is waited for.
const SOON: Duration = Duration::from_secs(20);

/// Show controllers, TORs and a host at work in network namespaces
#[derive(Parser)]
struct Args {
    /// Leave it running until Ctrl-C, and print what to try
    #[arg(long)]
    keep: bool,
}

const DIAGRAM: &str = r"
        LC-a: network x, VNI 5001         LC-b: network y, VNI 5002        logical: one master for each MAC
              └───────────────┬───────────────────┘
      ┌──────────────┬────────┴───────┬──────────────────────────┐         gRPC, mutual TLS
    PC-b: a     PC-c: b, f       PC-a: c, d                PC-d: e, SFE    physical: who serves which VTEP
      │              │                │                          │         OVSDB to TORs, gRPC to the SFE
  ┌ rack 1 ──────────────┐ ┌ rack 2 ──────────────┐ ┌ rack 3 ──────────────┐ ┌ host ──┐
  │   TOR a      TOR b   │ │   TOR c      TOR d   │ │   TOR e      TOR f   │ │  SFE   │   vtep-agent, eBPF
  │ x slave      master  │ │ x master     slave   │ │ x slave      master  │ │        │   and VXLAN between all
  │ y master     slave   │ │ y master     slave   │ │                      │ │        │
  │ VM1 VM2 VM3          │ │ VM4 VM5              │ │ VM6 VM7              │ │ VM8    │   in x
  │ VM A, VM B, VM C     │ │ VM D, VM E           │ │                      │ │        │   in y
  └──────────────────────┘ └──────────────────────┘ └──────────────────────┘ └────────┘
";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n  FAILED  {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    println!("{DIAGRAM}");
    let timeline = Timeline::start()?;
    let mut figure = Site::new(&FIGURE_5)?;
    timeline.step(
        "27 namespaces, 6 ovsdb-servers, 7 agents and 6 controllers run; nobody has said where a VM is",
    )?;
    learn::everyone_learns(&figure, &timeline)?;
    learn::the_slave_gets_the_table_too(&figure, &timeline)?;
    forward::through_the_master(&figure, &timeline)?;
    failover::there_and_back(&figure, &timeline)?;
    takeover::of_a_dead_tor(&mut figure, &timeline)?;
    migrate::to_another_rack(&mut figure, &timeline)?;
    explain::as_the_operator_sees_it(&figure, &timeline)?;
    if args.keep {
        keep::print(&figure)?;
        timeline.wait_for_interrupt()?;
    }
    drop(figure);
    timeline.step("cleaned up")
}
