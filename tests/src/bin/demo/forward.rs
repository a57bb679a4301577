//! Figure 5: the host's programs send to the master TOR, with the network's VNI.

use std::time::Duration;

use anyhow::{Result, ensure};
use vtep_tests::{
    deadline::wait_for,
    lab::{Site, figure5::X},
};

use crate::{
    SOON,
    timeline::{self, Timeline},
};

const PINGS: u32 = 20;
const SILENCE: Duration = Duration::from_millis(100);

pub(crate) fn through_the_master(figure: &Site, timeline: &Timeline) -> Result<()> {
    timeline::act("Figure 5: VM8 talks to VM1 through its master");
    let (vm8, vm1) = (figure.vm("VM8"), figure.vm("VM1"));
    wait_for("the first echo reply", SOON, || vm8.pings(vm1.address, 1).then_some(()))?;
    let [at_a, at_b] = [figure.tor("a").listen()?, figure.tor("b").listen()?];
    ensure!(vm8.pings(vm1.address, PINGS), "VM8 lost echo replies from VM1");
    let to_vm1 = |frame: &[u8]| figure.carries(frame, X, vm1);
    let [a, b] = [at_a.receive_all(SILENCE, to_vm1)?.len(), at_b.receive_all(SILENCE, to_vm1)?.len()];
    ensure!(a == 0 && b >= PINGS as usize, "{a} frames came to TOR a and {b} to TOR b");
    timeline.step(&format!(
        "{PINGS} of {PINGS} echo replies came back; frames for VM1 in VNI {X}: {b} at TOR b, {a} at TOR a"
    ))
}
