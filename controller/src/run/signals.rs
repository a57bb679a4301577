//! What the process waits for.

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Interval;
use tracing::{info, warn};
use vtep_api::daemon::Notify;

use super::Start;
use super::cores::Tasks;
use super::join::Joins;
use super::serve::Serving;
use crate::config::Config;

/// From the begin of the process on. Keeps the watchdog content.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    notify: Notify,
    alive: Interval,
    says: String,
}

enum Told {
    End,
    Reload,
}

impl Signals {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let notify = Notify::new();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            alive: tokio::time::interval(notify.watchdog_period()),
            notify,
            says: format!("{} {}", config.controller.role.as_str(), config.controller.name),
        })
    }

    /// Until SIGTERM or SIGINT, while nothing runs that could follow another configuration.
    pub(super) async fn wait_early(&mut self, start: &Start) {
        while let Told::Reload = self.next().await {
            Notify::reloading();
            match Config::load(&start.path, &start.overrides) {
                Ok(read) if read == start.config => info!("the configuration was read again"),
                Ok(_) => warn!("the configuration counts from the next start"),
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the configuration stays as it was");
                }
            }
            Notify::ready();
        }
    }

    /// Until SIGTERM or SIGINT, or the server or a core fails.
    pub(super) async fn wait(
        mut self,
        start: &Start,
        mut joins: Joins,
        mut serving: Serving,
        mut tasks: Tasks,
    ) -> Result<()> {
        let mut config = start.config.clone();
        loop {
            tokio::select! {
                told = self.next() => match told {
                    Told::End => return Ok(()),
                    Told::Reload => {
                        Notify::reloading();
                        match reload(start, &config, &mut joins) {
                            Ok(read) => config = read,
                            Err(error) => {
                                warn!(error = format!("{error:#}"), "the configuration stays as it was");
                            }
                        }
                        Notify::ready();
                    }
                },
                error = tasks.ended() => return Err(error),
                ended = &mut serving => {
                    return ended.context("the server's task failed")?.context("the server failed")
                        .and_then(|()| Err(anyhow!("the server ended")));
                }
            }
        }
    }

    async fn next(&mut self) -> Told {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Told::End,
                _ = self.interrupt.recv() => return Told::End,
                _ = self.hangup.recv() => return Told::Reload,
                _ = self.alive.tick() => self.notify.alive(&self.says),
            }
        }
    }
}

/// Whom the physical controller joins may change while it runs; the rest needs a restart.
fn reload(start: &Start, present: &Config, joins: &mut Joins) -> Result<Config> {
    let read = Config::load(&start.path, &start.overrides)?;
    joins.follow(&read)?;
    let as_it_runs = Config { logical: read.logical.clone(), ..present.clone() };
    if as_it_runs == read {
        info!("the configuration was read again");
    } else {
        warn!("of the configuration only [[logical]] was read again; the rest counts from the next start");
    }
    Ok(as_it_runs)
}
