//! Commands that the daemon answers.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::args::{Client, Command, DetachArgs, FdbCommand, PortCommand, StatsArgs, VniCommand, VtepCommand};
use super::render::{self, FDB_HEADER, Table};
use super::{Exit, output};
use crate::config::{self, Config};
use crate::control::Request;
use crate::control::client::{self, ClientError};
use crate::control::view::{CountRow, DetachRow, FdbRow, PortRow, StatsRow, Status, VniRow, VtepRow};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel;
use crate::links::Tunnel;
use crate::underlay;

pub(super) fn ask(command: Command) -> Result<Exit> {
    match command {
        Command::Status(client) => one::<Status>(&client, &Request::Status, render::status)?,
        Command::Fdb { command: FdbCommand::Show { filter, limit, client } } => {
            stream(&client, &Request::FdbShow { filter: filter.filter(limit) })?;
        }
        Command::Fdb { command: FdbCommand::Get { vni, mac, client } } => {
            one::<FdbRow>(&client, &Request::FdbGet { vni, mac }, render::fdb_entry)?;
        }
        Command::Fdb { command: FdbCommand::Count { filter, client } } => {
            let request = Request::FdbCount { filter: filter.filter(None) };
            one::<CountRow>(&client, &request, |out, row| writeln!(out, "{}", row.macs))?;
        }
        Command::Vni { command: VniCommand::Show { vni, client } } => {
            table::<VniRow>(&client, &Request::VniShow { vni })?;
        }
        Command::Vtep { command: VtepCommand::Show { vtep, client } } => {
            table::<VtepRow>(&client, &Request::VtepShow { vtep })?;
        }
        Command::Port { command: PortCommand::Show { port, client } } => {
            table::<PortRow>(&client, &Request::PortShow { port })?;
        }
        Command::Stats(StatsArgs { drops, vni, client }) => {
            table::<StatsRow>(&client, &Request::Stats { vni, drops })?;
        }
        other => anyhow::bail!("{other:?} is not the daemon's"),
    }
    Ok(Exit::Ok)
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
    let row = match rows::<DetachRow>(&client, &Request::Detach) {
        Ok(mut rows) => rows.pop().context("the daemon did not say what it removed")?,
        Err(error) if matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. })) => {
            detach_alone(&pins)?
        }
        Err(error) => return Err(error),
    };
    let mut out = output();
    if client.json {
        serde_json::to_writer_pretty(&mut out, &row)?;
        writeln!(out)?;
    } else {
        render(&mut out, &row)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn detach_alone(pins: &Path) -> Result<DetachRow> {
    let pins_removed = kernel::remove(pins)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tunnel = Tunnel { name: TUNNEL_DEVICE.to_owned(), udp_port: 0 };
    runtime.block_on(async {
        let tunnel_removed = tunnel.remove().await?;
        underlay::release().await?;
        Ok(DetachRow { pins_removed, tunnel_removed })
    })
}

/// Exactly one row.
fn one<T: serde::de::DeserializeOwned>(
    client: &Client,
    request: &Request,
    render: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
) -> Result<()> {
    let mut found = None;
    client::ask(&client.socket, request, |row| {
        found = Some(row);
        Ok(())
    })?;
    let row: Value = found.context("the daemon answered nothing")?;
    let mut out = output();
    if client.json {
        serde_json::to_writer_pretty(&mut out, &row)?;
        writeln!(out)?;
    } else {
        render(&mut out, &serde_json::from_value(row)?)?;
    }
    Ok(out.flush()?)
}

/// A few rows, in columns as wide as they need.
fn table<T: Table + serde::de::DeserializeOwned>(client: &Client, request: &Request) -> Result<()> {
    if client.json {
        return stream(client, request);
    }
    let rows = rows::<T>(client, request)?;
    let mut out = output();
    writeln!(out, "{}", render::table(&rows))?;
    Ok(out.flush()?)
}

fn rows<T: serde::de::DeserializeOwned>(client: &Client, request: &Request) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    client::ask(&client.socket, request, |row| {
        rows.push(serde_json::from_value(row)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Any number of rows, each printed as it comes. Without an answer nothing is printed.
fn stream(client: &Client, request: &Request) -> Result<()> {
    let (opening, closing) = if client.json { ("[\n", "\n]\n") } else { (FDB_HEADER, "") };
    let mut out = output();
    let mut first = true;
    client::ask(&client.socket, request, |row| {
        let before = match (first, client.json) {
            (true, _) => opening,
            (false, true) => ",\n",
            (false, false) => "",
        };
        first = false;
        out.write_all(before.as_bytes())?;
        if client.json {
            return Ok(serde_json::to_writer(&mut out, &row)?);
        }
        render::fdb_line(&mut out, &serde_json::from_value(row)?)
    })?;
    if first {
        out.write_all(opening.as_bytes())?;
    }
    out.write_all(closing.as_bytes())?;
    Ok(out.flush()?)
}
