//! How an operator asks and steers a running agent: commands, metrics, signals, detach.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "control/commands.rs"]
mod commands;
#[path = "control/detach.rs"]
mod detach;
#[path = "control/metrics.rs"]
mod metrics;
#[path = "control/signals.rs"]
mod signals;
