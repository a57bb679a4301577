//! What happened when, as it is printed.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

pub(crate) fn act(title: &str) {
    println!("\n  {title}");
}

/// More of the last step.
pub(crate) fn detail(text: &str) {
    for line in text.lines() {
        println!("            {line}");
    }
}

pub(crate) struct Timeline {
    start: Instant,
    interrupt: Receiver<()>,
}

impl Timeline {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { start: Instant::now(), interrupt: interrupt()? })
    }

    /// Something that was seen to be so. Fails when the demo was interrupted.
    pub(crate) fn step(&self, what: &str) -> Result<()> {
        println!("  {:>6.2} s  ✓ {what}", self.start.elapsed().as_secs_f64());
        if self.interrupt.try_recv().is_ok() {
            bail!("interrupted");
        }
        Ok(())
    }

    pub(crate) fn wait_for_interrupt(&self) -> Result<()> {
        self.interrupt.recv().context("no signal can be waited for")
    }
}

/// Becomes ready at Ctrl-C or SIGTERM, so that whoever is interrupted still cleans up. Other than a blocked signal, a
/// handler is nothing that child processes inherit (execve(2)).
fn interrupt() -> Result<Receiver<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut int, mut term) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let (caught, interrupt) = sync_channel(1);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
        });
        // Nobody listens where the demo has just ended.
        caught.send(()).ok();
    });
    Ok(interrupt)
}
