//! A TOR that dies without a word: BFD in the kernel first, VRRP and the controllers after it.

use anyhow::{Result, ensure};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Pair, Side, Site, Vrrp,
        figure5::{VTEPS_OF_X, X},
    },
    link::Link,
};

use crate::{
    SOON,
    timeline::{self, Timeline},
};

const TORS: [&str; 2] = ["a", "b"];

pub(crate) fn of_a_dead_tor(figure: &mut Site, timeline: &Timeline) -> Result<()> {
    timeline::act("TOR b dies without a word: BFD moves its MACs in the kernel, VRRP moves them everywhere");
    let mut vrrp = elect(figure)?;
    figure.watch_by_bfd(&TORS)?;
    let all_at = |tor: &str| {
        let master = if tor == "a" { "a" } else { "b" };
        figure.places(X, &VTEPS_OF_X, &[("VM1", master), ("VM2", master), ("VM3", master)])
    };
    wait_for("VM1 to VM3 behind b", SOON, || all_at("b"))?;
    timeline.step(
        "keepalived runs on TOR a and b, b is master; the SFE and both keep sessions of BFD at 50 ms × 3",
    )?;

    let pair = Pair { vni: X, vm: "VM1", tors: ["b", "a"], all_at: &all_at };
    let takeover = figure.take_over(&pair, &mut vrrp)?;
    ensure!(takeover.first_frame < takeover.elected, "the kernel waited for VRRP: {takeover}");
    timeline.step("TOR b's uplink and its keepalived are gone; the SFE's frames for VM1 went on by TOR a")?;
    timeline::detail(&takeover.to_string());
    timeline::detail(
        "frames lost between the two times reached TOR a: VM1's host listens at one link, and takes that to a only when \
         VRRP has elected a",
    );
    figure.give_back(&pair, &mut vrrp)?;
    // What comes next is not to hang on this machine's load.
    figure.stop_watching(&TORS)?;
    timeline.step("TOR b is back, wins the election, claims VM1 to VM3 again, and is trusted again")
}

/// TOR b is the master.
fn elect(figure: &Site) -> Result<[Vrrp; 2]> {
    let [a, b] = ["a", "b"].map(|name| figure.tor(name));
    let (at_a, at_b) = Link::veth(&a.machine.netns, "peer0", &b.machine.netns, "peer0")?;
    at_a.add_address("198.51.100.1/24")?;
    at_b.add_address("198.51.100.2/24")?;
    let rack = [figure.rack_host("h1x")];
    let mut vrrp = [
        Vrrp::new(b, Side::Right, "peer0", 150, &rack)?.of("x"),
        Vrrp::new(a, Side::Left, "peer0", 100, &rack)?.of("x"),
    ];
    Vrrp::elect(&mut vrrp)?;
    Ok(vrrp)
}
