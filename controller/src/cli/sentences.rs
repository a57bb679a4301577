//! Answers that are read, not looked up.

use std::io::{self, Write};

use vtep_api::{Cause, Role, Session, VtepName};

use crate::control::view::{ApplyRow, Status, VtepDownRow};
use crate::logical::{ClaimView, Explanation, HistoryEntry, PolicyChange, SightingView, What};

pub(super) fn explanation(out: &mut dyn Write, said: &Explanation) -> io::Result<()> {
    let Explanation { logical_switch, mac, .. } = said;
    match &said.decision {
        Some(decision) => {
            writeln!(out, "{mac} in {logical_switch} is behind {}: {}.", decision.master, said.reason)?;
            if !decision.slaves.is_empty() {
                writeln!(out, "Standing by, best first: {}.", names(&decision.slaves))?;
            }
        }
        None => writeln!(out, "{mac} in {logical_switch} is behind nobody: {}.", said.reason)?,
    }
    match (said.duplicate, said.frozen) {
        (_, true) => writeln!(out, "It moves too often, and keeps its master until `clear-duplicate`.")?,
        (true, false) => writeln!(out, "It moves too often, and is followed all the same.")?,
        (false, false) => {}
    }
    writeln!(out, "\nClaims")?;
    for claim in &said.claims {
        claimed(out, claim)?;
    }
    if !said.sightings.is_empty() {
        writeln!(out, "\nSeen elsewhere than behind its master")?;
    }
    for seen in &said.sightings {
        let SightingView { witness, sender, as_slave, first_at_ms, last_at_ms, count } = seen;
        let what = if *as_slave { "its slave" } else { "no slave of it" };
        write!(out, "  {witness} received frames from {sender} ({what}), ")?;
        let noticed = counted(usize::try_from(*count).unwrap_or(usize::MAX), "time", "times");
        writeln!(out, "noticed {noticed} from {} to {}", time(*first_at_ms), time(*last_at_ms))?;
    }
    let changed =
        said.changed_in.map_or_else(String::new, |version| format!(", its row last in {}", version.0));
    writeln!(out, "\nTold (the table is at version {}{changed})", said.version.0)?;
    let width = said.told.iter().map(|told| told.vtep.as_str().chars().count()).max().unwrap_or(0);
    for told in &said.told {
        write!(out, "  {:<width$}  ", told.vtep)?;
        match (told.sent, told.sent_at_ms) {
            (Some(version), Some(at)) => write!(out, "sent version {} at {}, ", version.0, time(at))?,
            (Some(version), None) => write!(out, "sent version {}, ", version.0)?,
            (None, _) => write!(out, "nothing sent, ")?,
        }
        match (told.acknowledged, told.acknowledged_at_ms) {
            (Some(version), Some(at)) => write!(out, "acknowledged {} at {}", version.0, time(at))?,
            (Some(version), None) => write!(out, "acknowledged {}", version.0)?,
            (None, _) => write!(out, "nothing acknowledged")?,
        }
        writeln!(out, "{}", if told.current { "" } else { ": does not forward by it yet" })?;
    }
    Ok(())
}

fn claimed(out: &mut dyn Write, claim: &ClaimView) -> io::Result<()> {
    // The operator's word alone: the VTEP itself has said nothing.
    if claim.pinned && claim.received_at_ms == 0 {
        return writeln!(out, "  {} is pinned by the operator", claim.vtep);
    }
    write!(out, "  {} claims to be {}", claim.vtep, claim.role.as_str())?;
    match claim.arrived {
        Some(arrived) => write!(out, ", heard {} (number {arrived} here)", time(claim.received_at_ms))?,
        None => write!(out, ", heard {}, before this controller began", time(claim.received_at_ms))?,
    }
    if let Some(at) = claim.claimed_at_ms {
        write!(out, ", by its own clock {}", time(at))?;
    }
    if let Some(skew @ (..=-1 | 1..)) = claim.skew_ms {
        write!(out, " ({skew} ms off)")?;
    }
    writeln!(out)?;
    if !claim.ips.is_empty() {
        let ips: Vec<String> = claim.ips.iter().map(ToString::to_string).collect();
        writeln!(out, "      with {}", ips.join(", "))?;
    }
    let remarks = [
        (claim.pinned, "pinned by the operator"),
        (claim.session == Session::Lost, "its session is lost"),
        (claim.stale, "not told again since its session was lost"),
        (claim.dead, "the VTEP is dead"),
        (claim.superseded, "a later claim of another VTEP took its place while it was away"),
        (claim.kept, "withdrawn, but kept by the mass-withdraw guard"),
    ];
    for (_, remark) in remarks.iter().filter(|(holds, _)| *holds) {
        writeln!(out, "      {remark}")?;
    }
    if !claim.lost_because.is_empty() {
        writeln!(out, "      not master: {}", claim.lost_because)?;
    }
    Ok(())
}

pub(super) fn history(out: &mut dyn Write, entry: &HistoryEntry) -> io::Result<()> {
    let what = match entry.what {
        What::Claim(Role::Master) => "claims to be master".to_owned(),
        What::Claim(Role::Slave) => "claims to be slave".to_owned(),
        What::Withdrawal(cause) => format!("claims it no more ({})", cause.as_str()),
        What::Master => "is master".to_owned(),
        What::Gone(Cause::Withdrawn) => "was the last to claim it; the MAC is gone".to_owned(),
        What::Gone(cause) => format!("was the last to claim it; the MAC is gone ({})", cause.as_str()),
        What::SetAside => "has its claim set aside by the storm guard".to_owned(),
        What::Kept => "withdrew it; the mass-withdraw guard keeps it".to_owned(),
        What::Duplicate => "took it; it moves too often and is marked as duplicate".to_owned(),
        What::Released => "has it released".to_owned(),
        What::Witnessed => "is master if it claims so: hosts receive the MAC's frames from it".to_owned(),
        What::Disputed => "sends frames of the MAC as well; what hosts receive decides no more".to_owned(),
        What::Refused => "claims more MACs than its quota; refused".to_owned(),
    };
    writeln!(out, "{}  {} {what}", time(entry.wall_ms), entry.vtep)
}

pub(super) fn vtep_down(out: &mut dyn Write, row: &VtepDownRow) -> io::Result<()> {
    let effect = &row.effect;
    let moved: usize = effect.moves.values().sum();
    writeln!(
        out,
        "{}: {} would move, {} would be behind nobody",
        row.logical_switch,
        counted(moved, "MAC", "MACs"),
        effect.orphaned
    )?;
    for (vtep, macs) in &effect.moves {
        writeln!(out, "  {macs} to {vtep}")?;
    }
    if !effect.orphans.is_empty() {
        let macs: Vec<String> = effect.orphans.iter().map(ToString::to_string).collect();
        let more = effect.orphaned - effect.orphans.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(out, "  lost: {}{more}", macs.join(", "))?;
    }
    Ok(())
}

pub(super) fn policy_change(out: &mut dyn Write, change: &PolicyChange) -> io::Result<()> {
    let PolicyChange { logical_switch, mac, master, would_be, reason } = change;
    writeln!(out, "{mac} in {logical_switch} would move from {master} to {would_be}: {reason}")
}

pub(super) fn applied(out: &mut dyn Write, row: &ApplyRow, listed: bool) -> io::Result<()> {
    if listed {
        for difference in &row.differences {
            writeln!(out, "{difference}")?;
        }
    }
    let changes = match row.differences.len() {
        0 => "nothing changes".to_owned(),
        count => counted(count, "change", "changes"),
    };
    let ApplyRow { vteps, logical_switches, bindings, .. } = row;
    let done = if row.applied { "applied" } else { "not applied (dry run)" };
    let vteps = counted(*vteps, "VTEP", "VTEPs");
    let logical_switches = counted(*logical_switches, "logical switch", "logical switches");
    writeln!(
        out,
        "{done}: {changes}; {vteps}, {logical_switches}, {}",
        counted(*bindings, "binding", "bindings")
    )
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

pub(super) fn status(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let Status { name, role, version, pid, term, counts, store, .. } = status;
    writeln!(out, "{name} ({}), version {version}, process {pid}, term {}", role.as_str(), term.0)?;
    let state =
        if status.ready { "ready".to_owned() } else { format!("waits for {}", status.waits_for.join("; ")) };
    writeln!(out, "state     {state}; up {} s", status.uptime_secs)?;
    match &status.applied {
        Some(applied) => {
            writeln!(out, "declared  {}, applied {}", applied.name, time(applied.applied_at_ms))?;
        }
        None => writeln!(out, "declared  nothing here")?,
    }
    writeln!(
        out,
        "tables    {}, {}, {}",
        counted(counts.logical_switches, "logical switch", "logical switches"),
        counted(counts.macs, "MAC", "MACs"),
        counted(counts.claims, "claim", "claims")
    )?;
    writeln!(out, "VTEPs     {} of {} connected", counts.vteps_up, counts.vteps)?;
    write!(out, "store     {}", store.path)?;
    match &store.failing {
        Some(reason) => writeln!(out, ", failing: {reason}")?,
        None if store.errors > 0 => writeln!(out, ", works again after {} errors", store.errors)?,
        None => writeln!(out)?,
    }
    if let Some(reason) = &status.recording_ended {
        writeln!(out, "recording {reason}")?;
    }
    for alarm in &status.alarms {
        writeln!(out, "alarm     {} {}: {}", alarm.kind.name(), alarm.subject, alarm.message.trim_end())?;
    }
    Ok(())
}

fn names(vteps: &[VtepName]) -> String {
    vteps.iter().map(VtepName::as_str).collect::<Vec<_>>().join(", ")
}

/// UTC, as in RFC 3339.
pub(super) fn time(wall_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (days, ms) = (wall_ms.div_euclid(DAY_MS), wall_ms.rem_euclid(DAY_MS));
    // The civil calendar, with years that begin in March: a leap day ends its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, rest) = (ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{rest:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(time(1_795_823_999_999), "2026-11-27T23:59:59.999Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
    }
}
