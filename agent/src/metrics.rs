//! `/metrics`, `/livez` and `/readyz`. Every scrape asks the daemon, which reads the counters from the kernel then; the
//! probes ask it only whether it answers and is ready.

mod exposition;

use std::fmt;

use tokio::sync::oneshot;
use vtep_api::daemon::probes::Probed;

pub use vtep_api::daemon::probes::serve;

use crate::control::Ask;
use crate::control::view::Scrape;

impl Probed for Ask {
    const DAEMON: &'static str = "agent";
    type Scrape = Box<Scrape>;

    fn scrape(reply: oneshot::Sender<Box<Scrape>>) -> Self {
        Self::Scrape(reply)
    }

    fn waits(reply: oneshot::Sender<Vec<String>>) -> Self {
        Self::Waits(reply)
    }

    fn encode(scrape: Box<Scrape>) -> Result<String, fmt::Error> {
        exposition::encode(*scrape)
    }
}
