//! What the process waits for once it runs.

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use vtep_api::daemon::Notify;

use super::Start;
use super::cores::Tasks;
use super::join::Joins;
use super::serve::Serving;
use crate::config::Config;

/// Until SIGTERM or SIGINT, or the server or a core fails.
pub(super) async fn wait(
    start: &Start,
    mut joins: Joins,
    mut serving: Serving,
    mut tasks: Tasks,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let notify = Notify::new();
    let mut alive = tokio::time::interval(notify.watchdog_period());
    let mut config = start.config.clone();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                Notify::reloading();
                match reload(start, &config, &mut joins) {
                    Ok(read) => config = read,
                    Err(error) => warn!(error = format!("{error:#}"), "the configuration stays as it was"),
                }
                Notify::ready();
            }
            _ = alive.tick() => notify.alive(&format!("{} {}", config.controller.role.as_str(), config.controller.name)),
            error = tasks.ended() => return Err(error),
            ended = &mut serving => {
                return ended.context("the server's task failed")?.context("the server failed")
                    .and_then(|()| Err(anyhow!("the server ended")));
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
