//! Commands that the daemon answers.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use vtep_api::control::terminal::{json, output};

use super::Exit;
use super::args::{
    BfdCommand, Client, Command, DetachArgs, FdbCommand, PortCommand, RoleCommand, StatsArgs, VniCommand,
    VtepCommand,
};
use super::render::{self, FDB_HEADER};
use crate::config::{self, Config};
use crate::control::Request;
use crate::control::client::ClientError;
use crate::control::view::{
    BfdRow, CountRow, DetachRow, DifferenceRow, DrillRow, FdbRow, PortRow, PortStatsRow, RestoredRow,
    StatsRow, Status, VniRow, VtepRow,
};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel;
use crate::links::Tunnel;
use crate::monitor::{MonitorRow, Wanted};
use crate::roles::{Rule, Scope};
use crate::trace::view::TraceRow;
use crate::underlay;

pub(super) fn ask(command: Command) -> Result<Exit> {
    match command {
        Command::Status(client) => client.terminal().one::<Status>(&Request::Status, render::status)?,
        Command::Fdb { command: FdbCommand::Show { filter, limit, client } } => {
            let request = Request::FdbShow { filter: filter.filter(limit) };
            client.terminal().stream::<FdbRow>(&request, FDB_HEADER, render::fdb_line)?;
        }
        Command::Fdb { command: FdbCommand::Get { vni, mac, client } } => {
            client.terminal().one::<FdbRow>(&Request::FdbGet { vni, mac }, render::fdb_entry)?;
        }
        Command::Fdb { command: FdbCommand::Count { filter, client } } => {
            let request = Request::FdbCount { filter: filter.filter(None) };
            client.terminal().one::<CountRow>(&request, |out, row| writeln!(out, "{}", row.macs))?;
        }
        Command::Vni { command: VniCommand::Show { vni, client } } => {
            client.terminal().table::<VniRow>(&Request::VniShow { vni })?;
        }
        Command::Vtep { command: VtepCommand::Show { vtep, client } } => {
            client.terminal().table::<VtepRow>(&Request::VtepShow { vtep })?;
        }
        Command::Bfd { command: BfdCommand::Show { vtep, client } } => {
            client.terminal().table::<BfdRow>(&Request::BfdShow { vtep })?;
        }
        Command::Drill { vtep, seconds, client } => {
            client.terminal().one::<DrillRow>(&Request::Drill { vtep, seconds }, render::drill)?;
        }
        Command::Bfd { command: BfdCommand::Restore { vtep, client } } => {
            let restored =
                |out: &mut dyn Write, row: &RestoredRow| writeln!(out, "{} brought back", row.vteps);
            client.terminal().one::<RestoredRow>(&Request::BfdRestore { vtep }, restored)?;
        }
        Command::Port { command: PortCommand::Show { port, client } } => {
            client.terminal().table::<PortRow>(&Request::PortShow { port })?;
        }
        Command::Stats(StatsArgs { ports: true, vni, client, .. }) => {
            client.terminal().table::<PortStatsRow>(&Request::PortStats { vni })?;
        }
        Command::Stats(StatsArgs { drops, vni, client, .. }) => {
            client.terminal().table::<StatsRow>(&Request::Stats { vni, drops })?;
        }
        Command::Diff { past, client } => return diff(past, &client),
        Command::Trace(args) => {
            let request = Request::Trace { question: args.question() };
            args.client.terminal().one::<TraceRow>(&request, render::trace)?;
        }
        Command::Monitor { topic, vni, count, seconds, client } => {
            let request = Request::Monitor { wanted: Wanted { topic, vni, count, seconds } };
            client.terminal().follow::<MonitorRow>(&request, |out, row| writeln!(out, "{row}"))?;
        }
        Command::Role { command: RoleCommand::Set { role, logical_switch, port, client } } => {
            let rule = Rule { role, scope: Scope { logical_switch, port } };
            client.terminal().table::<Rule>(&Request::RoleSet { rule })?;
        }
        Command::Release { vni, client } => {
            let released = |out: &mut dyn Write, row: &CountRow| writeln!(out, "released {} MACs", row.macs);
            client.terminal().one::<CountRow>(&Request::Release { vni }, released)?;
        }
        Command::Role { command: RoleCommand::Show { client } } => {
            client.terminal().table::<Rule>(&Request::RoleShow)?;
        }
        other => anyhow::bail!("{other:?} is not the daemon's"),
    }
    Ok(Exit::Ok)
}

fn diff(past: bool, client: &Client) -> Result<Exit> {
    let rows = client.terminal().rows::<DifferenceRow>(&Request::Diff { past })?;
    let mut out = output();
    if client.json {
        json(&mut out, &rows)?;
    } else if rows.is_empty() {
        writeln!(out, "no difference")?;
    } else {
        for row in &rows {
            render::difference(&mut out, row)?;
        }
    }
    out.flush()?;
    Ok(if rows.is_empty() || past { Exit::Ok } else { Exit::CheckFailed })
}

/// By the daemon, or without one under its lock.
pub(super) fn detach(args: &DetachArgs) -> Result<Exit> {
    let render = |out: &mut dyn Write, row: &DetachRow| {
        let device = if row.tunnel_removed { " and the tunnel device" } else { "" };
        writeln!(out, "removed {} pins{device}", row.pins_removed)
    };
    // One that is named must be right: the agent of another would be detached in its place.
    let config = match &args.config {
        Some(path) => Some(Config::load(path, &[])?),
        None => Config::load(super::args::CONFIG.as_ref(), &[]).ok(),
    };
    let (pins, socket) = config.map_or_else(
        || (config::Dataplane::default().bpffs, config::SOCKET.into()),
        |config| (config.dataplane.bpffs, config.control.socket),
    );
    let client = Client { socket: args.socket.clone().unwrap_or(socket), json: args.json };
    let row = match client.terminal().row(&Request::Detach) {
        Ok(row) => row,
        Err(ClientError::Unreachable { .. }) => detach_alone(&pins)?,
        Err(error) => return Err(error.into()),
    };
    let mut out = output();
    if client.json {
        json(&mut out, &row)?;
    } else {
        render(&mut out, &row)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn detach_alone(pins: &Path) -> Result<DetachRow> {
    let pins_removed = kernel::remove(pins)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tunnel = Tunnel { name: TUNNEL_DEVICE.to_owned(), udp_port: 0, source_ports: (0, 0) };
    runtime.block_on(async {
        let tunnel_removed = tunnel.remove().await?;
        underlay::release().await?;
        Ok(DetachRow { pins_removed, tunnel_removed })
    })
}
