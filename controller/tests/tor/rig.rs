//! TORs and the controllers that serve them.

use std::fs;

use anyhow::Result;
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::{Controller, ControllerConfig, ControllerRole};
use vtep_tests::netns::Netns;

pub(crate) use super::tors::*;

/// A namespace with one controller for all of it.
pub(crate) struct Site {
    pub(crate) controller: Controller,
    pub(crate) netns: Netns,
}

impl Site {
    pub(crate) fn new(declared: &str) -> Result<Self> {
        Self::edited(declared, |text| text)
    }

    /// With more in the configuration file.
    pub(crate) fn edited(declared: &str, edit: impl FnOnce(String) -> String) -> Result<Self> {
        let netns = Netns::new("controller")?;
        let role = ControllerRole::Both;
        let config = ControllerConfig { name: "c1", role, listen: listen(9480), tls: None, logical: &[] };
        let mut controller = Controller::new(&netns, &config)?;
        let text = edit(fs::read_to_string(controller.config_path())?);
        fs::write(controller.config_path(), text)?;
        controller.start()?;
        controller.apply(declared)?;
        // Until then its physical part refuses them as not declared.
        wait_for("who serves the declared VTEPs", SOON, || {
            let vteps = controller.json(&["vteps"]).ok()?;
            vteps.as_array()?.iter().all(|row| row["physical_controller"] == "c1").then_some(())
        })?;
        Ok(Self { controller, netns })
    }
}

/// Two TORs, port p1 of each bound to ls0, and the controller that serves them.
pub(crate) fn pair() -> (Tor, Tor, Site) {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let site = Site::new(&declared("", [&a, &b], &both(&a, &b))).unwrap();
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.expect_flood("ls0", &[&b]);
    b.expect_flood("ls0", &[&a]);
    (a, b, site)
}
