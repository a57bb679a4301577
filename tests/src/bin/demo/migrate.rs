//! Figure 6: a VM moves to another rack, and nothing from its old place steals it back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Place, Side, Site, Stream,
        figure5::{VTEPS_OF_X, X},
    },
};

use crate::{
    SOON,
    timeline::{self, Timeline},
};

const INTERVAL: Duration = Duration::from_micros(500);
const GAP_MAX: Duration = Duration::from_secs(2);

pub(crate) fn to_another_rack(figure: &mut Site, timeline: &Timeline) -> Result<()> {
    timeline::act("Figure 6: VM1 migrates from rack 1 to rack 2");
    let at_c = [("VM1", "c"), ("VM2", "b")];
    let stream = Stream::start(figure.vm("VM8"), figure.vm("VM1"), INTERVAL)?;
    wait_for("the stream", SOON, || (stream.received() > 200).then_some(()))?;
    let start = Instant::now();
    figure.rack_host("h1x").migrate(figure.vm("VM1"), figure.rack_host("h2x"))?;
    let moved = start.elapsed();
    wait_for("VM1 behind c everywhere", SOON, || figure.places(X, &VTEPS_OF_X, &at_c))?;
    let took = start.elapsed();
    let before = stream.received();
    wait_for("the stream at its new place", SOON, || (stream.received() > before + 200).then_some(()))?;
    let report = stream.finish()?;
    ensure!(report.gap < GAP_MAX, "the stream did not follow: {report:?}");
    timeline.step(&format!(
        "TOR b and c both claim VM1: c is master everywhere; {} ms ({} of them the move itself), {} of {} frames \
         lost, gap {:.1} ms",
        took.as_millis(),
        moved.as_millis(),
        report.sent - report.received,
        report.sent,
        report.gap.as_secs_f64() * 1e3
    ))?;
    ensure!(figure.vm("VM2").pings(figure.vm("VM1").address, 10), "VM2 lost echo replies from VM1");
    timeline.step("VM2, left behind in rack 1, reaches VM1 in rack 2: 10 of 10 echo replies")?;

    figure.rack_host("h1x").announce_over(figure.vm("VM1"), Side::Right)?;
    let pc_c = figure.controllers.named_mut("pc-c");
    pc_c.kill()?;
    pc_c.start()?;
    // Whatever TOR b reports again comes before what it reports first now.
    let newcomer = figure.rack_host("h1x").vm(9)?;
    newcomer.announce()?;
    let b = Place::At(figure.address("b"));
    wait_for("a new VM behind b", SOON, || (figure.sfe.place(X, newcomer.mac)? == b).then_some(()))?;
    wait_for("VM1 behind c", Duration::ZERO, || figure.places(X, &VTEPS_OF_X, &at_c))?;
    timeline.step(
        "a late frame of VM1 at TOR b, then PC-c is killed, restarted and told everything by b again: VM1 stays at c",
    )
}
