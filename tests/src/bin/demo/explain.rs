//! What the operator sees.

use anyhow::Result;
use vtep_tests::lab::Site;

use crate::timeline::{self, Timeline};

pub(crate) fn as_the_operator_sees_it(figure: &Site, timeline: &Timeline) -> Result<()> {
    let vm1 = figure.vm("VM1").mac.to_string();
    timeline::act("Why is VM1 where it is?");
    let explained = figure.controllers.named("lc-a").print(&["explain", "x", &vm1])?;
    timeline.step(&format!("vtep-controller explain x {vm1}"))?;
    timeline::detail(&explained);
    Ok(())
}
