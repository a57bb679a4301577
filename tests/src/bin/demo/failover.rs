//! A failover that nobody withdraws for, and a failback that nobody reports again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use vtep_api::Role;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Side, Site, Stream,
        figure5::{VTEPS_OF_X, X},
    },
};

use crate::{
    SOON,
    timeline::{self, Timeline},
};

const INTERVAL: Duration = Duration::from_micros(500);
const GAP_MAX: Duration = Duration::from_secs(2);
/// Enough to see that the stream goes on.
const FRAMES: usize = 400;
const SILENCE: Duration = Duration::from_millis(50);

pub(crate) fn there_and_back(figure: &Site, timeline: &Timeline) -> Result<()> {
    timeline::act("Failover from TOR b to a, and back, under 2000 frames/s from VM8 to VM1");
    let reported = figure.reports("b")?;
    let all_at = |master| [("VM1", master), ("VM2", master), ("VM3", master)];

    let over = Move { to: "a", side: Side::Left, role: Role::Master };
    let done = over.measured(figure, &all_at("a"))?;
    ensure!(figure.reports("b")? == reported, "TOR b changed its report");
    timeline
        .step(&format!("TOR a claims VM1 to VM3, b withdraws nothing: a is master everywhere; {done}"))?;

    let back = Move { to: "b", side: Side::Right, role: Role::Slave };
    let done = back.measured(figure, &all_at("b"))?;
    ensure!(figure.reports("b")? == reported, "TOR b changed its report");
    timeline.step(&format!("TOR a steps back, b reports nothing anew: b is master everywhere; {done}"))
}

/// The rack's host uses the link to `to`, and TOR a says what it is.
struct Move {
    to: &'static str,
    side: Side,
    role: Role,
}

impl Move {
    fn measured(&self, figure: &Site, masters: &[(&str, &str)]) -> Result<String> {
        let (vm8, vm1) = (figure.vm("VM8"), figure.vm("VM1"));
        let to_vm1 = |frame: &[u8]| figure.carries(frame, X, vm1);
        // Whoever has no entry for a MAC floods, and then TOR c hears of it.
        let bystander = figure.tor("c").listen()?;
        let stream = Stream::start(vm8, vm1, INTERVAL)?;
        wait_for("the stream", SOON, || (stream.received() > FRAMES).then_some(()))?;

        let new_master = figure.tor(self.to).listen()?;
        let start = Instant::now();
        figure.rack_host("h1x").use_link(self.side)?;
        figure.tor("a").set_role(self.role, "x")?;
        wait_for("the new master everywhere", SOON, || figure.places(X, &VTEPS_OF_X, masters))?;
        let took = start.elapsed();
        for _ in 0..FRAMES {
            ensure!(new_master.receive_where(SOON, to_vm1)?.is_some(), "no frame comes to TOR {}", self.to);
        }
        let report = stream.finish()?;
        ensure!(report.gap < GAP_MAX, "the stream did not follow: {report:?}");
        let strays = bystander.receive_all(SILENCE, to_vm1)?.len();
        ensure!(strays == 0, "{strays} frames for VM1 were flooded");
        Ok(format!(
            "{} ms until all 7 kernels agree; {} of {} frames lost, gap {:.1} ms",
            took.as_millis(),
            report.sent - report.received,
            report.sent,
            report.gap.as_secs_f64() * 1e3
        ))
    }
}
