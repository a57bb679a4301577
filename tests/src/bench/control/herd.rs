//! One of two elected physical controllers is killed under many agents. Nothing of the controllers is simulated, and of
//! the agents only the kernel.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Row;
use crate::lab::herd::{Failover, HerdCluster, Rush};

/// In each of which an agent of a thousand has some sixty others.
const NETWORKS: u16 = 16;
/// Behind each agent.
const MACS: u16 = 10;
const REST: Duration = Duration::from_secs(5);

pub(super) fn run(agents: u16, rounds: usize) -> Result<Vec<Row>> {
    let begun = Instant::now();
    let mut cluster = HerdCluster::start(agents, NETWORKS, MACS)?;
    let name = |what: &str| format!("{agents} agents: {what}");
    let row = |what: &str, unit: &str, values: Vec<f64>| Row::new(&name(what), unit, values, "-", Vec::new());
    let cold = row("everything begins, until all are calm", "s", vec![begun.elapsed().as_secs_f64()]);
    cold.tell();
    let (mut memory, mut rest) = (Vec::new(), Vec::new());
    for physical in ["pc1", "pc2"] {
        let controller = cluster.controllers.get_mut(physical).map(crate::lab::Controller::daemon);
        let Some(daemon) = controller.transpose()? else { continue };
        let used = daemon.processor_time()?;
        std::thread::sleep(REST);
        rest.push(daemon.processor_time()?.saturating_sub(used).as_secs_f64() / REST.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
        memory.push(daemon.resident()? as f64 / 1e6);
    }
    let mut failovers = Vec::new();
    for round in 0..rounds {
        let failover = cluster.fail_over(if round % 2 == 0 { "pc1" } else { "pc2" })?;
        eprintln!(
            "round {round}: {} of {agents} lost their controller, the last one is synced after {:.1} s",
            failover.bereft,
            percentile(&failover.synced, 1.0)
        );
        failovers.push(failover);
    }
    let each = |value: fn(&Failover) -> f64| failovers.iter().map(value).collect::<Vec<_>>();
    let all = |failover: &Failover| percentile(&failover.synced, 1.0);
    let mut rows = vec![
        cold,
        row("physical controllers at rest, processor", "cores", rest),
        row("physical controllers at rest, memory", "MB", memory),
        row(
            "a physical controller killed, until half are synced",
            "s",
            each(|one| percentile(&one.synced, 0.5)),
        ),
        row("a physical controller killed, until all are synced", "s", each(all)),
        row("a physical controller killed, resumed by delta", "%", each(by_delta)),
        row("the other one until all are synced, processor", "s", each(|one| one.processor.as_secs_f64())),
    ];
    let spans: [(&str, Most); 3] = [
        ("in all", |rush| rush.in_all),
        ("in 1 s", |rush| rush.per_second),
        ("in 100 ms", |rush| rush.per_100_ms),
    ];
    for (when, rush) in [
        ("while it is gone", (|one: &Failover| one.gone) as fn(&Failover) -> Rush),
        ("when it is back", |one: &Failover| one.back),
    ] {
        for (span, most) in spans {
            let values = failovers.iter().map(|one| count(most(&rush(one)))).collect();
            rows.push(row(&format!("connections begun {when}, {span}"), "", values));
        }
    }
    Ok(rows)
}

/// The most connections within some span.
type Most = fn(&Rush) -> usize;

fn by_delta(one: &Failover) -> f64 {
    100.0 * (1.0 - count(one.told_whole) / count(one.synced.len()))
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn percentile(times: &[Duration], part: f64) -> f64 {
    super::percentile(&mut times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(), part)
}
