//! Commands that the daemon answers.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use vtep_api::Term;
use vtep_api::control::terminal::Exit;

use super::args::{Client, Command, MacArgs, Moved, Release, WhatIf};
use super::render::{self, FDB_HEADER, VtepRow};
use super::sentences;
use crate::cluster::Office;
use crate::control::Request;
use crate::control::view::{ApplyRow, DoneRow, FdbRow, Status, VtepDownRow};
use crate::declared::Pin;
use crate::logical::{Explanation, HistoryEntry, PolicyChange};

pub(super) fn ask(command: Command) -> Result<Exit> {
    match command {
        Command::Apply { file, dry_run, diff, client } => apply(&file, dry_run, diff, &client)?,
        Command::Explain { mac: MacArgs { logical_switch, mac }, client } => {
            let request = Request::Explain { logical_switch, mac };
            client.terminal().one::<Explanation>(&request, sentences::explanation)?;
        }
        Command::History { mac: MacArgs { logical_switch, mac }, client } => {
            let request = Request::History { logical_switch, mac };
            let nothing = "nothing happened to it of late\n";
            client.terminal().sentences::<HistoryEntry>(&request, nothing, sentences::history)?;
        }
        Command::Conflicts(client) => client.terminal().table::<render::ConflictRow>(&Request::Conflicts)?,
        Command::Vteps(client) => client.terminal().table::<VtepRow>(&Request::Vteps)?,
        Command::Ls(client) => client.terminal().table::<render::SwitchRow>(&Request::LogicalSwitches)?,
        Command::Fdb { logical_switch, client } => {
            client.terminal().stream::<FdbRow>(
                &Request::Fdb { logical_switch },
                FDB_HEADER,
                render::fdb_line,
            )?;
        }
        Command::WhatIf { what: WhatIf { vtep_down: Some(vtep), .. }, client } => {
            let request = Request::WhatIfVtepDown { vtep };
            let nothing = "it is master of no MAC: nothing would change\n";
            client.terminal().sentences::<VtepDownRow>(&request, nothing, sentences::vtep_down)?;
        }
        Command::WhatIf { what: WhatIf { policy: Some(time), .. }, client } => {
            let request = Request::WhatIfPolicy { time };
            client.terminal().sentences::<PolicyChange>(
                &request,
                "no MAC would move\n",
                sentences::policy_change,
            )?;
        }
        Command::Pin { mac: MacArgs { logical_switch, mac }, vtep, client } => {
            done(&client, &Request::Pin(Pin { logical_switch, mac, vtep }))?;
        }
        Command::Unpin { mac: MacArgs { logical_switch, mac }, client } => {
            done(&client, &Request::Unpin { logical_switch, mac })?;
        }
        Command::ClearDuplicate { mac: MacArgs { logical_switch, mac }, client } => {
            done(&client, &Request::ClearDuplicate { logical_switch, mac })?;
        }
        Command::Release { what: Release { storm: Some(vtep), .. }, client } => {
            done(&client, &Request::ReleaseStorm { vtep })?;
        }
        Command::Release { what: Release { withdrawals: Some(logical_switch), .. }, client } => {
            done(&client, &Request::ReleaseWithdrawals { logical_switch })?;
        }
        Command::Sync(client) => client.terminal().table::<render::SyncRow>(&Request::Sync)?,
        Command::Members(client) => client.terminal().table::<render::MemberRow>(&Request::Members)?,
        Command::Shards { vteps, client } => {
            client.terminal().table::<render::OfficeRow>(&Request::Offices { vteps })?;
        }
        Command::Move { what: Moved { shard: Some(shard), .. }, to, anywhere: _, client } => {
            done(&client, &Request::Move { office: Office::Shard(shard), to })?;
        }
        Command::Move { what: Moved { vtep: Some(vtep), .. }, to, anywhere: _, client } => {
            done(&client, &Request::Move { office: Office::Vtep(vtep), to })?;
        }
        Command::RaiseTerm { above, client } => done(&client, &Request::RaiseTerm { above: Term(above) })?,
        Command::Status(client) => client.terminal().one::<Status>(&Request::Status, sentences::status)?,
        Command::Alarms(client) => client.terminal().table::<render::AlarmRow>(&Request::Alarms)?,
        other => anyhow::bail!("{other:?} is not the daemon's"),
    }
    Ok(Exit::Ok)
}

fn apply(path: &Path, dry_run: bool, diff: bool, client: &Client) -> Result<()> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    let request = Request::Apply { name, text, dry_run };
    let render = |out: &mut dyn Write, row: &ApplyRow| sentences::applied(out, row, diff || dry_run);
    Ok(client.terminal().one(&request, render)?)
}

fn done(client: &Client, request: &Request) -> Result<()> {
    let render = |out: &mut dyn Write, row: &DoneRow| -> io::Result<()> { writeln!(out, "{}", row.done) };
    Ok(client.terminal().one(request, render)?)
}
