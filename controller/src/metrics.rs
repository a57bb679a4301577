//! `/metrics`, `/livez` and `/readyz`. Every scrape asks the desk, which looks at the cores then.

mod exposition;

use std::fmt;

use tokio::sync::oneshot;
use vtep_api::daemon::probes::Probed;

pub use vtep_api::daemon::probes::serve;

use crate::control::Ask;
use crate::control::view::Scrape;

impl Probed for Ask {
    const DAEMON: &'static str = "controller";
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
