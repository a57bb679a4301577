//! A TOR dies, and its pair's other one serves: our host beside two that forward by the kernel's VXLAN device, whose
//! process rewrites every MAC's entry, or moves one group of FDB nexthops. All three find out by BFD at 50 ms × 3.

mod flow;
mod host;
mod netlink;
mod pair;
mod watcher;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::{
    flow::{Flow, Outage},
    host::{Host, Way},
    pair::{Death, Pair},
};
use super::{Options, Row};

/// How long frames are watched that nobody moves to the slave.
const NEVER: Duration = Duration::from_secs(3);

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let sizes: &[u32] = if options.quick { &[1, 100_000] } else { &[1, 1000, 100_000, 1_000_000] };
    let mut rows = Vec::new();
    for &macs in sizes {
        let of_macs = Bench::new(macs)?.run(options).with_context(|| format!("with {macs} MACs"))?;
        of_macs.iter().for_each(Row::tell);
        rows.extend(of_macs);
    }
    Ok(rows)
}

struct Bench {
    /// Of [`Way::ALL`], in that order.
    hosts: [Host; 3],
    pair: Pair,
    macs: u32,
}

impl Bench {
    fn new(macs: u32) -> Result<Self> {
        let mut pair = Pair::new()?;
        let hosts = [
            Host::new(Way::Ours, macs, &mut pair)?,
            Host::new(Way::Rewritten, macs, &mut pair)?,
            Host::new(Way::Nexthops, macs, &mut pair)?,
        ];
        pair.listen(&hosts.each_ref().map(|host| host.machine.address))?;
        Ok(Self { hosts, pair, macs })
    }

    fn run(&mut self, options: Options) -> Result<Vec<Row>> {
        let macs = self.macs;
        self.wait_until_ready()?;
        let mut rows = self.flips(options)?;
        // Quick is to show that it works.
        let deaths = if options.quick && macs > 1 { &Death::ALL[..1] } else { &Death::ALL };
        for &death in deaths {
            let measured = self.alternate(options.rounds(), |bench, host| bench.outage(host, death))?;
            rows.extend(rows_of(&format!("{}, {macs} MACs", death.name()), &measured));
        }
        if macs == 1 || (macs == 100_000 && !options.quick) {
            rows.extend(self.without_a_process(options)?);
        }
        Ok(rows)
    }

    /// The flip by itself: one write of a byte, or what it takes over netlink. Each is shown to be one by the next
    /// frame.
    fn flips(&mut self, options: Options) -> Result<Vec<Row>> {
        let macs = self.macs;
        for host in &mut self.hosts {
            host.pause()?;
        }
        let took = self.alternate(options.rounds(), |bench, host| {
            let Self { hosts, pair, .. } = bench;
            // Thousands of messages each need no repetition.
            let count = if hosts[host].way == Way::Rewritten && macs > 1000 { 1 } else { 20 };
            let mut micros = Vec::new();
            for _ in 0..count {
                for slave in [true, false] {
                    micros.push(hosts[host].flip(slave)?.as_secs_f64() * 1e6);
                    let arrived = pair.next_frame(&hosts[host], macs)?;
                    ensure!(arrived == usize::from(slave), "after the flip a frame is at TOR {arrived}");
                }
            }
            micros.sort_by(f64::total_cmp);
            // There and back: an even number, and the two ways may differ.
            let middle = micros.len() / 2;
            Ok(f64::midpoint(micros[middle - 1], micros[middle]))
        })?;
        for host in &mut self.hosts {
            host.resume()?;
        }
        self.wait_until_ready()?;
        let name = format!("the flip, {macs} MACs");
        let peers = [Way::Rewritten, Way::Nexthops].into_iter().zip(&took[1..]);
        Ok(peers
            .map(|(way, peers)| Row::new(&name, "µs", took[0].clone(), way.name(), peers.clone()))
            .collect())
    }

    /// Our agent is stopped, or dead; the peers' process is dead.
    fn without_a_process(&mut self, options: Options) -> Result<Vec<Row>> {
        let death = Death::CutLink;
        let mut of_ours = Vec::new();
        for fate in ["stopped", "dead"] {
            let mut outages = Vec::new();
            for _ in 0..options.rounds() {
                match fate {
                    "stopped" => self.hosts[0].pause()?,
                    _ => self.hosts[0].kill()?,
                }
                let outage = self.die(0, death, Duration::from_secs(10))?;
                outages.push(outage.context("no frame came to the slave")?);
                self.pair.revive(death)?;
                self.hosts[0].resume()?;
                self.wait_until_ready()?;
            }
            of_ours.push((format!("agent {fate}, {}, {} MACs", death.name(), self.macs), outages));
        }
        for host in [1, 2] {
            self.hosts[host].kill()?;
            let never = self.die(host, death, NEVER)?;
            ensure!(
                never.is_none(),
                "{}: frames came to the slave, and nobody sent them",
                self.hosts[host].way.name()
            );
            self.pair.revive(death)?;
            self.hosts[host].resume()?;
            self.wait_until_ready()?;
        }
        let peer = format!("its process dead: never in {} s", NEVER.as_secs());
        Ok(of_ours
            .iter()
            .flat_map(|(name, ours)| {
                [
                    ("first frame at the slave", "ms", Outage::first_ms as fn(&Outage) -> f64),
                    ("lost at 10k/s", "frames", Outage::lost),
                ]
                .map(|(what, unit, part)| {
                    Row::new(
                        &format!("{what}, {name}"),
                        unit,
                        ours.iter().map(part).collect(),
                        &peer,
                        Vec::new(),
                    )
                })
            })
            .collect())
    }

    fn outage(&mut self, host: usize, death: Death) -> Result<Outage> {
        let outage = self.die(host, death, Duration::from_mins(1))?;
        let outage = outage
            .with_context(|| format!("no frame came to the slave: {}", self.hosts[host].described()))?;
        self.pair.revive(death)?;
        self.wait_until_ready()?;
        Ok(outage)
    }

    /// What a host's traffic suffers when its master dies; none if nothing comes to the slave within the time.
    fn die(&mut self, host: usize, death: Death, within: Duration) -> Result<Option<Outage>> {
        let flow = Flow::start(&self.hosts[host].vm, &self.pair, self.macs)?;
        flow.wait_until_steady()?;
        let died = self.pair.die(death)?;
        let moved = flow.wait_until_moved(within);
        if moved {
            self.hosts[host].wait_until_moved()?;
            flow.wait_until_steady()?;
        }
        let flown = flow.finish()?;
        Ok(moved.then(|| flown.outage(died)))
    }

    /// A value per round of each host; who begins changes by round.
    fn alternate<T>(
        &mut self,
        rounds: usize,
        mut run: impl FnMut(&mut Self, usize) -> Result<T>,
    ) -> Result<[Vec<T>; 3]> {
        let mut values = [const { Vec::new() }; 3];
        for round in 0..rounds {
            for turn in 0..3 {
                let host = (round + turn) % 3;
                let value = run(self, host)
                    .with_context(|| format!("{}, round {round}", self.hosts[host].way.name()))?;
                values[host].push(value);
            }
        }
        Ok(values)
    }

    /// All sessions are up, and all hosts send to the master.
    fn wait_until_ready(&self) -> Result<()> {
        self.hosts.iter().try_for_each(Host::wait_until_ready)
    }
}

fn rows_of(name: &str, outages: &[Vec<Outage>; 3]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, unit, part) in [
        ("first frame at the slave", "ms", Outage::first_ms as fn(&Outage) -> f64),
        ("lost at 10k/s", "frames", Outage::lost),
    ] {
        let values = |outages: &[Outage]| outages.iter().map(part).collect::<Vec<_>>();
        for (way, peers) in [Way::Rewritten, Way::Nexthops].into_iter().zip(&outages[1..]) {
            let ours = values(&outages[0]);
            rows.push(Row::new(&format!("{what}, {name}"), unit, ours, way.name(), values(peers)));
        }
    }
    rows
}
