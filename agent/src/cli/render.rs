use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use vtep_api::control::terminal::Table;

use crate::config::{InnerTag, UnboundTag};
use crate::control::view::{
    BfdRow, DifferenceRow, DrillRow, FdbEnd, FdbRow, Origin, PortRow, PortStatsRow, PortTraffic, ProofStatus,
    StatsRow, Status, VniRow, VtepRow,
};
use crate::proof::Difference;
use crate::roles::Rule;
use crate::source::SessionStatus;
use crate::trace::view::TraceRow;

impl Table for VniRow {
    const HEADER: &[&str] = &["VNI", "SWITCH", "MACS", "UNKNOWN", "ANSWERED", "FLOOD"];

    fn cells(&self) -> Vec<String> {
        let name = self.logical_switch.clone().unwrap_or_default();
        vec![
            self.vni.to_string(),
            name,
            self.macs.to_string(),
            self.unknown_unicast.clone(),
            self.neighbours.map(|count| count.to_string()).unwrap_or_default(),
            self.flood.join(", "),
        ]
    }
}

impl Table for VtepRow {
    const HEADER: &[&str] = &[
        "ADDRESS",
        "NAME",
        "STATE",
        "BFD",
        "NEXT HOP",
        "VIA",
        "MTU",
        "INNER MTU",
        "MACS",
        "AS SLAVE",
        "SENT",
        "RECEIVED",
        "LAST SEEN",
    ];

    fn cells(&self) -> Vec<String> {
        let state = match self {
            Self { routed: false, .. } => "no route",
            Self { up: false, .. } => "down",
            Self { alive: false, .. } => "silent",
            Self { suspect: true, .. } => "suspect",
            _ => "up",
        };
        vec![
            self.address.clone(),
            self.name.clone().unwrap_or_default(),
            state.to_owned(),
            self.bfd.clone().unwrap_or_default(),
            self.next_hop.map_or_else(|| "unresolved".to_owned(), |mac| mac.to_string()),
            self.interface.clone().unwrap_or_default(),
            self.mtu.to_string(),
            self.inner_mtu.to_string(),
            self.macs.to_string(),
            self.macs_as_slave.to_string(),
            self.sent_packets.to_string(),
            self.received_packets.to_string(),
            self.last_seen_secs.map_or_else(|| "never".to_owned(), |secs| format!("{secs} s ago")),
        ]
    }
}

impl Table for BfdRow {
    const HEADER: &[&str] =
        &["VTEP", "NAME", "STATE", "REMOTE", "STANDING", "DETECTION", "INTERVAL", "FAILURES", "BY", "LAST"];

    fn cells(&self) -> Vec<String> {
        let millis = |time: Option<u64>| time.map(|time| format!("{time} ms")).unwrap_or_default();
        vec![
            self.vtep.clone(),
            self.name.clone().unwrap_or_default(),
            self.state.clone(),
            self.remote_state.clone(),
            self.standing.clone(),
            millis(self.detection_ms),
            millis(self.interval_ms),
            self.failures.to_string(),
            self.configured_by.clone(),
            self.complaint.clone().unwrap_or_else(|| self.diagnostic.clone()),
        ]
    }
}

fn packet_rate(row: &PortRow) -> String {
    let Some(state) = row.packet_rate.clone() else { return String::new() };
    let frames = row.traffic.no_headroom;
    let headroom = (frames > 0).then(|| format!("{frames} frames by way of TC, for they had no headroom"));
    [Some(state), row.packet_rate_unseen.clone(), headroom]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// What differs from dropping tags without a binding and taking off the others.
fn tags(row: &PortRow) -> &'static str {
    match (row.vlan, row.unbound_tag, row.keep_tag, row.inner_tag) {
        (0, UnboundTag::Pop, ..) => "unbound popped",
        (0, UnboundTag::Keep, ..) => "unbound kept",
        (1.., _, true, _) => "kept",
        (1.., _, _, InnerTag::Keep) => "inner kept",
        _ => "",
    }
}

impl Table for PortRow {
    const HEADER: &[&str] = &[
        "PORT",
        "VLAN",
        "VNI",
        "SWITCH",
        "STATE",
        "DECAP",
        "DELIVER",
        "PACKET RATE",
        "LEARNING",
        "TAGS",
        "MTU",
        "PATH MTU",
        "RECEIVED",
        "DROPPED",
        "SENT",
        "MACS",
    ];

    fn cells(&self) -> Vec<String> {
        const MACS_SHOWN: usize = 4;
        let state = match self {
            Self { ifindex: None, .. } => "missing",
            Self { attached: false, .. } => "not attached",
            Self { promiscuous: Some(false), .. } => "attached, not promiscuous",
            _ => "attached",
        };
        let mut macs: Vec<_> = self.macs.iter().take(MACS_SHOWN).map(ToString::to_string).collect();
        if self.macs.len() > MACS_SHOWN {
            macs.push(format!("and {} more", self.macs.len() - MACS_SHOWN));
        }
        vec![
            self.port.clone(),
            vlan(self.vlan),
            self.vni.map(|vni| vni.to_string()).unwrap_or_default(),
            self.logical_switch.clone(),
            state.to_owned(),
            match (&self.decap, &self.decap_why) {
                (Some(decap), Some(why)) if decap != "device" && self.by_device_packets > 0 => {
                    format!("{decap} ({why}); {} frames of its network by device", self.by_device_packets)
                }
                (Some(decap), Some(why)) => format!("{decap} ({why})"),
                _ => String::new(),
            },
            self.deliver.clone().unwrap_or_default(),
            packet_rate(self),
            if self.learning { "yes" } else { "no" }.to_owned(),
            tags(self).to_owned(),
            self.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
            self.path_mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
            self.traffic.received_packets.to_string(),
            self.traffic.dropped_packets.to_string(),
            self.traffic.sent_packets.to_string(),
            macs.join(", "),
        ]
    }
}

impl Table for PortStatsRow {
    const HEADER: &[&str] =
        &["PORT", "VLAN", "VNI", "RECEIVED", "BYTES", "DROPPED", "BYTES", "SENT", "BYTES"];

    fn cells(&self) -> Vec<String> {
        let PortTraffic { received_packets, received_bytes, dropped_packets, dropped_bytes, .. } =
            self.traffic;
        let PortTraffic { sent_packets, sent_bytes, .. } = self.traffic;
        let counts =
            [received_packets, received_bytes, dropped_packets, dropped_bytes, sent_packets, sent_bytes];
        let names = [self.port.clone(), vlan(self.vlan), self.vni.to_string()];
        names.into_iter().chain(counts.map(|count| count.to_string())).collect()
    }
}

fn vlan(vlan: u16) -> String {
    if vlan == 0 { "untagged".to_owned() } else { vlan.to_string() }
}

impl Table for StatsRow {
    const HEADER: &[&str] = &["VNI", "VERDICT", "", "PACKETS", "BYTES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.vni.map_or_else(|| "none".to_owned(), |vni| vni.to_string()),
            self.verdict.clone(),
            if self.drop { "dropped" } else { "" }.to_owned(),
            self.packets.to_string(),
            self.bytes.to_string(),
        ]
    }
}

impl Table for Rule {
    const HEADER: &[&str] = &["ROLE", "SWITCH", "PORT"];

    fn cells(&self) -> Vec<String> {
        let all = || "all".to_owned();
        vec![
            self.role.as_str().to_owned(),
            self.scope.logical_switch.as_ref().map_or_else(all, ToString::to_string),
            self.scope.port.as_ref().map_or_else(all, ToString::to_string),
        ]
    }
}

pub(super) const FDB_HEADER: &str = "VNI       MAC                MASTER                      SLAVE\n";

pub(super) fn fdb_line(out: &mut dyn Write, row: &FdbRow) -> io::Result<()> {
    let end = |end: &Option<FdbEnd>| end.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let learnt = match row.origin {
        Origin::Learnt => "  learnt",
        Origin::Underlay => "  learnt from the underlay",
        Origin::Table | Origin::Configured => "",
    };
    writeln!(out, "{:<8}  {}  {:<26}  {}{learnt}", row.vni, row.mac, end(&row.master), end(&row.slave))
}

pub(super) fn fdb_entry(out: &mut dyn Write, row: &FdbRow) -> io::Result<()> {
    out.write_all(FDB_HEADER.as_bytes())?;
    fdb_line(out, row)
}

pub(super) fn trace(out: &mut dyn Write, row: &TraceRow) -> io::Result<()> {
    let TraceRow { frame, .. } = row;
    let vlan = frame.vlan.map(|vlan| format!(", VLAN {vlan}")).unwrap_or_default();
    writeln!(out, "frame      {} → {}{vlan}, {} bytes", frame.src, frame.dst, frame.len)?;
    writeln!(out, "program    {} at {}", row.program, row.interface)?;
    for step in &row.steps {
        writeln!(out, "{step}")?;
    }
    let fate = match &row.to {
        _ if row.drop => "dropped".to_owned(),
        Some(to) => format!("to {to}"),
        None => "not redirected".to_owned(),
    };
    writeln!(out, "verdict    {}: {fate}. {}", row.verdict, row.meaning)?;
    if let Some(outer) = &row.outer {
        writeln!(out, "leaves     {outer}")?;
    }
    if let Some(bytes) = &row.bytes {
        writeln!(out, "bytes      {bytes}")?;
    }
    if let Some(device) = &row.device {
        writeln!(out, "device     {device}")?;
    }
    for copy in &row.copies {
        let vlan = copy.vlan.map(|vlan| format!(" VLAN {vlan}")).unwrap_or_default();
        let outer = copy.outer.as_ref().map(|outer| format!(": {outer}")).unwrap_or_default();
        writeln!(out, "copy       to {}{vlan}{outer}", copy.to)?;
        if let Some(device) = &copy.device {
            writeln!(out, "           {device}")?;
        }
    }
    if let Some(disagreement) = &row.disagreement {
        writeln!(out, "ATTENTION  {disagreement}")?;
    }
    row.then.as_ref().map_or(Ok(()), |then| trace(out, then))
}

pub(super) fn drill(out: &mut dyn Write, row: &DrillRow) -> io::Result<()> {
    let DrillRow { macs_with_slave, macs_without_slave, .. } = row;
    writeln!(out, "VTEP {}, {:.1} s", row.vtep.as_deref().unwrap_or("gone"), row.seconds)?;
    writeln!(out, "MACs      {macs_with_slave} with a slave that serves, {macs_without_slave} without")?;
    writeln!(out, "served    {} frames by slaves", row.frames_served_by_slaves)?;
    writeln!(out, "no way    {} frames that a failure would have cost", row.frames_without_another_way)?;
    writeln!(out, "floods    {} copies, as ever", row.flood_copies)?;
    if !row.others_out_of_service.is_empty() {
        let others = row.others_out_of_service.join(", ");
        writeln!(out, "ATTENTION {others}: out of service too; what slaves served for them is counted")?;
    }
    Ok(())
}

pub(super) fn status(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let Status { counts, source, .. } = status;
    let state =
        if status.ready { "ready".to_owned() } else { format!("waits for {}", status.waits_for.join(", ")) };
    writeln!(
        out,
        "{} ({}), version {}, process {}",
        status.name, status.address, status.version, status.pid
    )?;
    writeln!(out, "state     {state}; up {} s, epoch {}", status.uptime_secs, status.epoch)?;
    write!(
        out,
        "source    {} {}: {} tables, {} changes",
        source.kind, source.from, source.snapshots, source.deltas
    )?;
    writeln!(out, ", {} rows refused", source.rows_refused)?;
    if let Some(vtep) = &status.drill {
        writeln!(out, "drill     the failover of {vtep} is rehearsed")?;
    }
    if let Some(reason) = &source.lost {
        writeln!(out, "          nothing new: {}", reason.trim_end().replace('\n', "\n          "))?;
    }
    if let Some(session) = &source.session {
        session_status(out, session)?;
    }
    for refusal in source.first_refused.iter().take(10) {
        writeln!(out, "          refused {refusal}")?;
    }
    let pending =
        if counts.macs_pending > 0 { format!(" ({} pending)", counts.macs_pending) } else { String::new() };
    write!(out, "kernel    {} MACs{pending}, {} learnt, ", counts.macs, counts.macs_learnt)?;
    writeln!(out, "{} VTEPs, {} VNIs, {} port bindings", counts.vteps, counts.vnis, counts.ports)?;
    writeln!(out, "compared  {} times, last in {:.1} ms", status.reconciles, status.last_reconcile_ms)?;
    let ProofStatus { in_sync_since, checks, last_check_ms, differences } = status.proof;
    let since = in_sync_since.map_or_else(
        || "not proved".to_owned(),
        |since| format!("for {} s", unix_now().saturating_sub(since)),
    );
    writeln!(
        out,
        "in sync   {since}; {checks} checks, last in {last_check_ms:.1} ms, {differences} differences mended"
    )?;
    for attached in &status.attached {
        writeln!(out, "program   {} at {}", attached.program, attached.interface)?;
    }
    if let Some(metrics) = status.metrics {
        writeln!(out, "metrics   http://{metrics}/metrics")?;
    }
    for alarm in &status.alarms {
        writeln!(out, "alarm     {} {}: {}", alarm.kind.name(), alarm.subject, alarm.message.trim_end())?;
    }
    Ok(())
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn difference(out: &mut dyn Write, row: &DifferenceRow) -> io::Result<()> {
    let DifferenceRow { seconds_ago, difference } = row;
    let Difference { map, vni, key, kind, written, found } = difference;
    let vni = vni.map(|vni| format!(" VNI {vni}")).unwrap_or_default();
    write!(out, "{}: {map}{vni} {key}", kind.name())?;
    match (written, found) {
        // What is equal says nothing.
        (Some(written), Some(found)) => {
            write!(out, "; written {}; found {}", written.but(found), found.but(written))?;
        }
        (Some(entry), None) => write!(out, "; written {entry}")?,
        (None, Some(entry)) => write!(out, "; found {entry}")?,
        (None, None) => {}
    }
    match seconds_ago {
        Some(seconds) => writeln!(out, "; mended {seconds} s ago"),
        None => writeln!(out),
    }
}

fn session_status(out: &mut dyn Write, session: &SessionStatus) -> io::Result<()> {
    let controller = session.controller.as_ref().map_or_else(|| "none yet".to_owned(), ToString::to_string);
    let state = if session.open { "connected" } else { "not connected" };
    writeln!(
        out,
        "          controller {controller}, term {}: {state}, {} sessions",
        session.term, session.sessions
    )?;
    if let Some(standby) = &session.standby {
        writeln!(out, "          controller {standby} stands by")?;
    }
    for table in &session.tables {
        let installed = match table.installed {
            Some(installed) if installed == table.version => String::new(),
            Some(installed) => format!(", of which {installed} is installed"),
            None => ", not installed".to_owned(),
        };
        let whole = if table.whole { "" } else { ", not whole yet" };
        let (name, term, version) = (&table.logical_switch, table.term, table.version);
        writeln!(out, "          {name}: version {version} of term {term}{installed}{whole}")?;
    }
    Ok(())
}
