//! A TOR dies: what the SFE's kernel does by BFD, and what VRRP and the controllers make of it afterwards.

use std::{
    fmt, thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::Site;
use crate::{
    deadline::wait_for,
    frame,
    lab::{Agent, Stream, StreamReport, Vrrp},
};

const SOON: Duration = Duration::from_mins(1);
/// Once a millisecond.
const INTERVAL: Duration = Duration::from_millis(1);
/// Enough to see that the stream goes on.
const FRAMES: usize = 200;

/// Two TORs by name, of which the first is master, and what tells whether all VTEPs say so of either.
pub struct Pair<'a> {
    pub vni: u32,
    pub vm: &'a str,
    pub tors: [&'a str; 2],
    pub all_at: &'a dyn Fn(&str) -> Option<()>,
}

/// When, after the death.
pub struct Takeover {
    /// To the VM, at the other TOR.
    pub first_frame: Duration,
    /// VRRP made the other TOR master.
    pub elected: Duration,
    /// All kernels have the other TOR as master.
    pub agreed: Duration,
    pub stream: StreamReport,
}

impl Site {
    /// The SFE and these TORs watch each other by BFD at 50 ms × 3. Until all sessions are up.
    pub fn watch_by_bfd(&mut self, tors: &[&str]) -> Result<()> {
        let sfe = self.address("sfe").to_string();
        watch(&mut self.sfe, tors)?;
        for tor in tors {
            watch(&mut self.tor_mut(tor).agent, &[&sfe])?;
        }
        for tor in tors {
            wait_for(&format!("sessions with TOR {tor}"), SOON, || {
                (is_up(&self.sfe, tor)? && is_up(&self.tor(tor).agent, &sfe)?).then_some(())
            })?;
        }
        Ok(())
    }

    /// From here on nobody is watched.
    pub fn stop_watching(&mut self, tors: &[&str]) -> Result<()> {
        forget(&mut self.sfe)?;
        tors.iter().try_for_each(|tor| forget(&mut self.tor_mut(tor).agent))?;
        let agents = tors.iter().map(|tor| &self.tor(tor).agent).chain([&self.sfe]);
        for agent in agents {
            let is_empty = || agent.json(&["bfd", "show"]).ok()?.as_array()?.is_empty().then_some(());
            wait_for("no session", SOON, is_empty)?;
        }
        Ok(())
    }

    /// The master's uplink and its keepalived go at once, under frames for the VM.
    pub fn take_over(&self, pair: &Pair<'_>, vrrp: &mut [Vrrp; 2]) -> Result<Takeover> {
        let Pair { vni, vm, tors: [dead, heir], all_at } = *pair;
        let vm = self.vm(vm);
        let stream = Stream::start(self.vm("VM8"), vm, INTERVAL)?;
        wait_for("the stream", SOON, || (stream.received() > FRAMES).then_some(()))?;
        let arrivals = self.tor(heir).listen()?;
        let known = vrrp[1].transitions()?.len();
        let uplink = &self.tor(dead).machine.uplink;
        // The fabric floods what is for a machine whose link is down.
        let here = self.address(heir);
        let is_for = |frame: &[u8]| frame::decap(frame).is_ok_and(|(outer, _)| outer.to.address == here);
        let (died, first) = thread::scope(|scope| {
            let first = scope.spawn(|| {
                let wanted = |frame: &[u8]| is_for(frame) && self.carries(frame, vni, vm);
                let frame = arrivals.receive_where(SOON, wanted)?;
                let at = SystemTime::now();
                frame.map(|_| at).with_context(|| format!("no frame came to TOR {heir}"))
            });
            let died = SystemTime::now();
            uplink.down()?;
            vrrp[0].kill()?;
            anyhow::Ok((died, first.join().ok().context("the receiver panicked")??))
        })?;
        // The programs act first, and their agent hears of it.
        wait_for("the SFE's suspicion", SOON, || {
            (self.sfe.row(&["vtep", "show", dead])?["suspect"] == true).then_some(())
        })?;
        let elected = vrrp[1].wait_for("MASTER", known)?.at;
        wait_for("the same master everywhere", SOON, || all_at(heir))?;
        let agreed = SystemTime::now();
        let received = stream.received();
        wait_for("the stream", SOON, || (stream.received() > received + FRAMES).then_some(()))?;
        let since = |at: SystemTime| at.duration_since(died).unwrap_or_default();
        let stream = stream.finish()?;
        Ok(Takeover { first_frame: since(first), elected: since(elected), agreed: since(agreed), stream })
    }

    /// The dead TOR lives again, wins the election, and nobody suspects it.
    pub fn give_back(&self, pair: &Pair<'_>, vrrp: &mut [Vrrp; 2]) -> Result<()> {
        let [back, _] = pair.tors;
        self.tor(back).machine.uplink.up()?;
        let known = vrrp[0].transitions()?.len();
        vrrp[0].start()?;
        vrrp[0].wait_for("MASTER", known)?;
        wait_for("the same master everywhere", SOON, || (pair.all_at)(back))?;
        wait_for("a session that is trusted again", SOON, || {
            (self.sfe.row(&["vtep", "show", back])?["suspect"] == false && is_up(&self.sfe, back)?)
                .then_some(())
        })?;
        let (vm8, vm) = (self.vm("VM8"), self.vm(pair.vm));
        wait_for("an echo", SOON, || vm8.pings(vm.address, 1).then_some(()))
    }
}

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_frame, elected, agreed, stream } = self;
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:.0} ms: the kernel sends to the slave, by BFD alone; {:.0} ms: VRRP elects it; {:.0} ms: it is master \
             everywhere, by claims; {} of {} frames lost at 1000/s",
            ms(first_frame),
            ms(elected),
            ms(agreed),
            stream.sent - stream.received,
            stream.sent
        )
    }
}

/// The last section of an agent's file.
const SECTION: &str = "\n[bfd]\n";

fn watch(agent: &mut Agent, vteps: &[&str]) -> Result<()> {
    let mut text = format!("{SECTION}min_tx_ms = 50\nmin_rx_ms = 50\nmultiplier = 3\nhold_ms = 500\n");
    text.extend(vteps.iter().map(|vtep| format!("\n[[bfd.vtep]]\nname = \"{vtep}\"\nenabled = true\n")));
    agent.reconfigure(|config| config + &text)?;
    agent.daemon()?.signal(Signal::SIGHUP)
}

fn forget(agent: &mut Agent) -> Result<()> {
    agent.reconfigure(|config| config.split(SECTION).next().unwrap_or_default().to_owned())?;
    agent.daemon()?.signal(Signal::SIGHUP)
}

/// At the fast interval, which the first packets are not.
fn is_up(agent: &Agent, vtep: &str) -> Option<bool> {
    let session = agent.row(&["bfd", "show", vtep])?;
    Some(session["state"] == "up" && session["standing"] == "alive" && session["detection_ms"] == 150)
}
