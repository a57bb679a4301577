//! The control plane: what the cores cost, and how long a MAC takes from where it appears to every kernel. The peer for
//! the latter is FRR's EVPN, where it is installed; where there is none, a figure stands beside its aim.

mod cores;
mod evpn;
mod fleet;
mod herd;
mod plant;

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use vtep_api::{Inventory, LocalMac, LogicalSwitchName, Origin, Role, VtepName};

use self::cores::{change_micros, claims_per_second, mac};
use self::evpn::Evpn;
use self::fleet::{Fleet, Member, await_rows};
use self::plant::{Plant, lonely, policy};
use super::{Options, Row};
use crate::{lab::Controller, lab::ControllerRole, netns::Netns};

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    if let Some(agents) = options.agents {
        return herd::run(agents, options.rounds());
    }
    let quick = options.quick;
    let rounds = options.rounds();
    let million = if quick { 100_000 } else { 1_000_000 };
    let mut rows = vec![
        beside_aim(
            "claims through collect, select, distribute, 2 receivers",
            "claims/s",
            1e6,
            rounds,
            || claims_per_second(million),
        )?,
        beside_aim("a move at 100,000 MACs, in the cores", "µs", 50.0, rounds, || {
            change_micros(100_000, 10_000)
        })?,
    ];
    rows.extend(memory(million)?);
    for (macs, aim) in [(10_000, 0.1), (100_000, 0.5), (1_000_000, 5.0)] {
        if macs <= million {
            rows.push(put_at_once(macs, aim, if quick { 1 } else { 3 })?);
        }
    }
    rows.push(cold_tor(100_000, if quick { 1 } else { 3 })?);
    rows.extend(changes(if quick { 20 } else { 200 })?);
    rows.extend(fleet(if quick { (20, 5) } else { (200, 60) })?);
    Ok(rows)
}

fn beside_aim(
    name: &str,
    unit: &str,
    aim: f64,
    rounds: usize,
    mut measure: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    let values =
        (0..rounds).map(|_| measure()).collect::<Result<Vec<_>>>().with_context(|| name.to_owned())?;
    Ok(Row::new(name, unit, values, "aim", vec![aim; rounds]))
}

/// What a MAC costs the processes of a logical and a physical controller that one agent tells of it and one is told.
fn memory(macs: u32) -> Result<Vec<Row>> {
    let netns = Netns::new("control")?;
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 9480));
    let mut logical = lonely(&netns, "lc", ControllerRole::Logical, 9480, &[])?;
    let mut physical = lonely(&netns, "pc", ControllerRole::Physical, 9481, &[("lc", port)])?;
    logical.apply(&simulated(2, "pc"))?;
    let fleet = Fleet::attach(&netns, SocketAddr::from((Ipv4Addr::LOCALHOST, 9481)), members(2)?);
    let told = |fleet: &Fleet, rows| await_rows(fleet, rows, Instant::now() + Duration::from_mins(2));
    fleet.report(0, inventory(0..1, 0)?)?;
    told(&fleet, 2)?;
    let before = (resident(&mut logical)?, resident(&mut physical)?);
    for part in 0..macs / 1000 {
        fleet.report(0, inventory(part * 1000 + 1..(part + 1) * 1000 + 1, 0)?)?;
    }
    told(&fleet, 2 + 2 * u64::from(macs))?;
    let after = (resident(&mut logical)?, resident(&mut physical)?);
    fleet.finish()?;
    let per_mac = |before: f64, after: f64| vec![(after - before) / f64::from(macs)];
    let name = |who| format!("memory of a MAC, {who} controller, {macs} MACs");
    Ok(vec![
        Row::new(&name("logical"), "B", per_mac(before.0, after.0), "aim", vec![300.0]),
        Row::new(&name("physical"), "B", per_mac(before.1, after.1), "aim", vec![300.0]),
    ])
}

/// From one (simulated) agent's word to the kernel of a host with the real agent, over gRPC.
fn put_at_once(macs: u32, aim: f64, rounds: usize) -> Result<Row> {
    let name = format!("{macs} MACs at once, agent to another agent's kernel");
    beside_aim(&name, "s", aim, rounds, || {
        let mut plant = Plant::new(1, 0, macs + 1000)?;
        plant.start()?;
        let sender = plant.sender()?;
        let table = plant.hosts[0].table()?;
        let start = Instant::now();
        for part in 0..macs.div_ceil(1000) {
            sender.report(0, inventory(part * 1000..(part + 1) * 1000, 0)?)?;
        }
        let arrived = table.await_macs(macs)?;
        sender.finish()?;
        Ok((arrived - start).as_secs_f64())
    })
}

/// A controller that begins finds a full TOR: from its start to a host's kernel.
fn cold_tor(macs: u32, rounds: usize) -> Result<Row> {
    let mut plant = Plant::new(1, 1, macs + 1000)?;
    plant.start()?;
    plant.await_switch(0)?;
    plant.device(0)?.claim(0..macs)?;
    plant.hosts[0].table()?.await_macs(macs)?;
    let name = format!("{macs} MACs of a TOR's database, controller and agent cold");
    beside_aim(&name, "s", 5.0, rounds, || {
        plant.forget()?;
        let start = Instant::now();
        plant.start_controller()?;
        plant.start_agents()?;
        let arrived = plant.hosts[0].table()?.await_macs(macs)?;
        Ok((arrived - start).as_secs_f64())
    })
}

/// One MAC appears at a TOR, and moves to another: to the kernels of all three hosts, ovsdb-server and all.
fn changes(count: u32) -> Result<Vec<Row>> {
    let mut plant = Plant::new(3, 2, 10_000)?;
    plant.start()?;
    (0..2).try_for_each(|tor| plant.await_switch(tor))?;
    let tables = plant.hosts.iter().map(plant::Host::table).collect::<Result<Vec<_>>>()?;
    let mut devices = [plant.device(0)?, plant.device(1)?];
    let evpn = if evpn::is_installed() { Some(Evpn::new()?) } else { None };
    let (mut appear, mut moved, mut peer_appear, mut peer_moved) = (vec![], vec![], vec![], vec![]);
    let until_all = |before: &[Option<[u8; 16]>], number: u32, start: Instant| -> Result<f64> {
        let arrivals =
            tables.iter().zip(before).map(|(table, before)| table.await_change(mac(number), *before));
        let last = arrivals.collect::<Result<Vec<_>>>()?.into_iter().max().context("no host")?;
        Ok((last - start).as_secs_f64() * 1e3)
    };
    for number in 0..count {
        let nothing = vec![None; tables.len()];
        let start = Instant::now();
        devices[0].claim(number..number + 1)?;
        appear.push(until_all(&nothing, number, start)?);
        let before: Vec<_> = tables.iter().map(|table| table.entry(mac(number))).collect();
        let start = Instant::now();
        devices[1].claim(number..number + 1)?;
        moved.push(until_all(&before, number, start)?);
        devices[0].withdraw(number)?;
        if let Some(evpn) = &evpn {
            let number = mac(1 << 24 | number);
            peer_appear.push(evpn.appear(number, 0)?.as_secs_f64() * 1e3);
            peer_moved.push(evpn.appear(number, 1)?.as_secs_f64() * 1e3);
        }
    }
    let row = |name: &str, mut ours: Vec<f64>, mut peers: Vec<f64>, part: f64, aim: f64| {
        let ours = vec![percentile(&mut ours, part)];
        if peers.is_empty() {
            return Row::new(name, "ms", ours, "aim", vec![aim]);
        }
        Row::new(name, "ms", ours, "FRR EVPN", vec![percentile(&mut peers, part)])
    };
    Ok(vec![
        row("a MAC appears, to all kernels, median", appear.clone(), peer_appear.clone(), 0.5, 5.0),
        row("a MAC appears, to all kernels, p99", appear, peer_appear, 0.99, 5.0),
        row("a MAC moves, to all kernels, median", moved.clone(), peer_moved.clone(), 0.5, 5.0),
        row("a MAC moves, to all kernels, p99", moved, peer_moved, 0.99, 5.0),
    ])
}

/// Many agents under steady change: whether all come to the same table, and what it costs the controller.
fn fleet((agents, seconds): (u32, u32)) -> Result<Vec<Row>> {
    const RATE: u32 = 1000;
    const MACS: u32 = 100_000;
    let netns = Netns::new("control")?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9480));
    let mut controller = lonely(&netns, "bench", ControllerRole::Both, 9480, &[])?;
    controller.apply(&simulated(agents, "bench"))?;
    let fleet = Fleet::attach(&netns, listen, members(agents)?);
    for part in 0..MACS / 1000 {
        fleet.report(0, inventory(part * 1000..(part + 1) * 1000, 0)?)?;
    }
    let loaded = u64::from(agents) * u64::from(MACS);
    await_rows(&fleet, loaded, Instant::now() + Duration::from_mins(5))?;
    let (memory, processor) = (resident(&mut controller)?, controller.daemon()?.processor_time()?);
    let start = Instant::now();
    for change in 0..RATE * seconds {
        let due = start + Duration::from_secs(1) * change / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let number = change % MACS;
        fleet.report(1 + (change % 2) as usize, inventory(number..number + 1, u128::from(change) + 1)?)?;
    }
    let told = start.elapsed();
    // Merged changes make fewer rows: the end is when the last one is everywhere.
    fleet.report(0, inventory(MACS..MACS + 1, 0)?)?;
    let mut quiet = fleet.rows();
    loop {
        thread::sleep(Duration::from_millis(500));
        if fleet.rows() == quiet {
            break;
        }
        quiet = fleet.rows();
    }
    let settled = start.elapsed().saturating_sub(told);
    let grown = resident(&mut controller)? - memory;
    let used = controller.daemon()?.processor_time()?.saturating_sub(processor).as_secs_f64();
    let tables = fleet.finish()?;
    let first = tables.first().context("no agent")?;
    ensure!(first.len() == MACS as usize + 1, "a table has {} of {} MACs", first.len(), MACS + 1);
    ensure!(tables.iter().all(|table| table == first), "the agents' tables differ");
    let about = |what: &str| format!("{agents} agents, {RATE} changes/s for {seconds} s: {what}");
    Ok(vec![
        Row::new(
            &about("processor of the controller"),
            "cores",
            vec![used / told.as_secs_f64()],
            "aim",
            vec![1.0],
        ),
        Row::new(&about("growth of its memory"), "MB", vec![grown / 1e6], "aim", vec![100.0]),
        Row::new(&about("until all are equal"), "s", vec![settled.as_secs_f64()], "aim", vec![5.0]),
    ])
}

/// Simulated agents of one physical controller, all in one logical switch.
fn simulated(agents: u32, physical: &str) -> String {
    let mut text = format!("{}\n[[logical_switch]]\nname = \"bench\"\nvni = {}\n", policy(), plant::VNI);
    for number in 0..agents {
        text += &plant::host(&format!("agent{number}")).replacen(
            "\n\n[[sub",
            &format!("\nphysical_controller = \"{physical}\"\n\n[[sub"),
            1,
        );
    }
    text
}

fn members(agents: u32) -> Result<Vec<Member>> {
    (0..agents)
        .map(|number| {
            let [.., high, low] = number.to_be_bytes();
            let address = Ipv4Addr::new(198, 18, high, low + 1);
            Ok(Member { name: VtepName::try_from(format!("agent{number}"))?, address, tls: None })
        })
        .collect()
}

fn inventory(macs: std::ops::Range<u32>, claim: u128) -> Result<Inventory> {
    let record = |number: u32| {
        let origin = Some(Origin(claim << 32 | u128::from(number)));
        (mac(number), Some(LocalMac { role: Role::Master, origin, ..LocalMac::default() }))
    };
    let networks = vec![(LogicalSwitchName::try_from("bench")?, macs.map(record).collect())];
    Ok(Inventory { snapshot: false, networks, end: true })
}

/// In bytes.
fn resident(controller: &mut Controller) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
    Ok(controller.daemon()?.resident()? as f64)
}

fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
    #[expect(clippy::cast_precision_loss, reason = "its length is far below 2^52")]
    let index = ((values.len() - 1) as f64 * part).ceil() as usize;
    values[index]
}
