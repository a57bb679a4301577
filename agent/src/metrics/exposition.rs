use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use vtep_abi::Verdict;
use vtep_api::daemon::exposition::{self, Labels, counters, gauges};

use crate::control::view::{
    BfdRow, Moves, PortScrape, PortTraffic, ProofStatus, ProvedSince, Scrape, Status, VniCounters, VtepScrape,
};
use crate::kernel::Slots;
use crate::learnt::Tally;
use crate::source::{SessionStatus, TableStatus};
use crate::witness::WitnessTally;

pub(super) fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    exposition::encode("vtepd_agent", Exposed(scrape))
}

#[derive(Debug)]
struct Exposed(Scrape);

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Scrape { status, slots, reseeds, vnis, verdicts, vteps, ports, proved, bfd } = &self.0;
        state(&mut encoder, status)?;
        mac_table(&mut encoder, *slots, *reseeds)?;
        proof(&mut encoder, status, proved)?;
        self::verdicts(&mut encoder, verdicts)?;
        frames(&mut encoder, vnis)?;
        self::ports(&mut encoder, ports)?;
        endpoints(&mut encoder, vteps)?;
        sessions(&mut encoder, bfd)
    }
}

fn proof(encoder: &mut DescriptorEncoder<'_>, status: &Status, proved: &[ProvedSince]) -> fmt::Result {
    let ProofStatus { in_sync_since, checks, differences, .. } = status.proof;
    let in_sync = [(Labels::new(), u64::from(in_sync_since.is_some()))];
    gauges(encoder, "in_sync", "Whether the kernel's tables are proved to be what is wanted", in_sync)?;
    let since = proved.iter().map(|ProvedSince { vni, since }| {
        let of = vni.map_or_else(|| "none".to_owned(), |vni| vni.to_string());
        (vec![("vni", of)], *since)
    });
    gauges(
        encoder,
        "in_sync_since_timestamp_seconds",
        "Since when a VNI's MACs, or without a VNI the other tables, are what was written",
        since,
    )?;
    counters(encoder, "proofs", "Checks of the kernel's tables", [(Labels::new(), checks)])?;
    let found = [(Labels::new(), differences)];
    counters(encoder, "differences", "Entries in the kernel that were not what was written", found)
}

fn state(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let plain = |value: usize| [(Labels::new(), value as u64)];
    gauges(
        encoder,
        "ready",
        "Whether frames are forwarded by the source's table",
        plain(status.ready.into()),
    )?;
    let counts = &status.counts;
    gauges(encoder, "macs", "MAC entries in the kernel", plain(counts.macs))?;
    gauges(encoder, "macs_max", "Room for MAC entries", plain(counts.macs_max))?;
    gauges(encoder, "macs_pending", "MAC entries that found no room", plain(counts.macs_pending))?;
    let refused = plain(counts.macs_refused);
    gauges(encoder, "macs_refused", "MAC entries beyond what their VTEP may have", refused)?;
    gauges(encoder, "macs_learnt", "MACs learnt on own ports", plain(counts.macs_learnt))?;
    gauges(encoder, "macs_overheard", "MACs learnt from the underlay", plain(counts.macs_overheard))?;
    let Tally { aged, refused_by_port, refused_by_vni, refused_by_vtep, damped } = status.learning;
    counters(encoder, "macs_aged", "Learnt MACs that were not seen for long", [(Labels::new(), aged)])?;
    let by = |limit: &str, count| (vec![("limit", limit.to_owned())], count);
    let refused = [by("port", refused_by_port), by("vni", refused_by_vni), by("vtep", refused_by_vtep)];
    counters(encoder, "macs_not_learnt", "Reports of MACs beyond learn_max and learn_underlay_max", refused)?;
    counters(encoder, "macs_damped", "Learnt MACs that moved too often", [(Labels::new(), damped)])?;
    let Moves { between_ports, away, back, between_vteps, contested } = status.moves;
    let moves = [
        ("ports", between_ports),
        ("away", away),
        ("back", back),
        ("vteps", between_vteps),
        ("contested", contested),
    ]
    .map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
    counters(
        encoder,
        "mac_moves",
        "MACs that changed their place; contested: seen where they may not go",
        moves,
    )?;
    let WitnessTally { from_slave, from_other, lost } = status.witness;
    let by = |sender: &str, count| (vec![("sender", sender.to_owned())], count);
    let help = "Times that a VTEP was noticed to send from a MAC of another";
    counters(encoder, "witnessed", help, [by("slave", from_slave), by("other", from_other)])?;
    let help = "Of these, what did not get to a controller";
    counters(encoder, "witnessed_lost", help, [(Labels::new(), lost)])?;
    gauges(encoder, "vteps", "Remote VTEPs in the kernel", plain(counts.vteps))?;
    gauges(encoder, "vnis", "VNIs in the kernel", plain(counts.vnis))?;
    gauges(encoder, "ports", "Bindings of a port and a VLAN in the kernel", plain(counts.ports))?;
    gauges(
        encoder,
        "rows_refused",
        "Rows of the source that were set aside",
        plain(status.source.rows_refused),
    )?;
    gauges(encoder, "epoch", "Tables that were installed", [(Labels::new(), status.epoch)])?;
    let lost = plain(status.source.lost.is_some().into());
    gauges(encoder, "source_lost", "Whether the source gives nothing new", lost)?;
    counters(
        encoder,
        "source_snapshots",
        "Whole tables from the source",
        [(Labels::new(), status.source.snapshots)],
    )?;
    counters(encoder, "source_deltas", "Changes from the source", [(Labels::new(), status.source.deltas)])?;
    if let Some(session) = &status.source.session {
        self::session(encoder, session)?;
    }
    counters(encoder, "reconciles", "Comparisons of all tables", [(Labels::new(), status.reconciles)])?;
    let alarms = status.alarms.iter();
    let alarms = alarms
        .map(|alarm| (vec![("kind", alarm.kind.name().to_owned()), ("subject", alarm.subject.clone())], 1));
    gauges(encoder, "alarm", "Conditions that an operator should know", alarms)
}

/// Of the hash there is nothing to say.
fn mac_table(encoder: &mut DescriptorEncoder<'_>, slots: Option<Slots>, reseeds: u64) -> fmt::Result {
    let Some(Slots { taken, all }) = slots else { return Ok(()) };
    let plain = |value: usize| [(Labels::new(), value as u64)];
    gauges(encoder, "mac_table_slots", "Slots of the bucketed MAC table", plain(all))?;
    gauges(encoder, "mac_table_slots_taken", "Slots with an entry", plain(taken))?;
    let help = "Times that the bucketed MAC table got another seed";
    counters(encoder, "mac_table_reseeds", help, [(Labels::new(), reseeds)])
}

fn session(encoder: &mut DescriptorEncoder<'_>, session: &SessionStatus) -> fmt::Result {
    let plain = |value: u64| [(Labels::new(), value)];
    gauges(encoder, "controller_connected", "Whether a controller serves us", plain(session.open.into()))?;
    let help = "Whether another controller stands by";
    gauges(encoder, "controller_standby", help, plain(session.standby.is_some().into()))?;
    gauges(encoder, "controller_term", "The highest term that was obeyed", plain(session.term))?;
    counters(encoder, "controller_sessions", "Sessions that a controller opened", plain(session.sessions))?;
    let help = "Connections with controllers that were begun";
    counters(encoder, "controller_attempts", help, plain(session.attempts))?;
    let help = "What controllers said by a term that was over, none of which counted";
    counters(encoder, "controller_refused", help, plain(session.refused))?;
    let each = |value: fn(&TableStatus) -> u64| {
        session
            .tables
            .iter()
            .map(move |table| (vec![("logical_switch", table.logical_switch.to_string())], value(table)))
    };
    gauges(
        encoder,
        "table_version",
        "The version of a network's table that was heard",
        each(|table| table.version),
    )?;
    let installed = each(|table| table.installed.unwrap_or(0));
    gauges(encoder, "table_version_installed", "The version that the kernel has", installed)?;
    gauges(encoder, "table_term", "The term of a network's table", each(|table| table.term))?;
    let snapshots = each(|table| table.snapshots);
    counters(encoder, "table_snapshots", "How often a network's table came as a whole", snapshots)?;
    let whole = each(|table| table.whole.into());
    gauges(encoder, "table_whole", "Whether all MACs of a network were heard of", whole)
}

/// From zero on, as a rate needs them, and few: [`frames`] has what was seen in each VNI.
fn verdicts(encoder: &mut DescriptorEncoder<'_>, verdicts: &[(Verdict, u64)]) -> fmt::Result {
    let series = verdicts.iter().map(|(verdict, frames)| (verdict_labels(*verdict), *frames));
    counters(encoder, "verdicts", "Frames of all networks that are and were, by what became of them", series)
}

fn verdict_labels(verdict: Verdict) -> Labels {
    vec![("verdict", verdict.name().to_owned()), ("drop", verdict.is_drop().to_string())]
}

fn frames(encoder: &mut DescriptorEncoder<'_>, vnis: &[VniCounters]) -> fmt::Result {
    let all = || {
        vnis.iter().flat_map(|VniCounters { vni, verdicts }| {
            let vni = vni.map_or_else(|| "none".to_owned(), |vni| vni.to_string());
            verdicts.iter().map(move |(verdict, counter)| {
                let labels = [vec![("vni", vni.clone())], verdict_labels(*verdict)].concat();
                (labels, *counter)
            })
        })
    };
    let packets = all().map(|(labels, counter)| (labels, counter.packets));
    counters(encoder, "frames", "What became of frames of a VNI, what came to be alone", packets)?;
    let bytes = all().map(|(labels, counter)| (labels, counter.bytes));
    counters(encoder, "frame_bytes", "Bytes of inner frames, by what became of them", bytes)
}

fn ports(encoder: &mut DescriptorEncoder<'_>, ports: &[PortScrape]) -> fmt::Result {
    let each = |value: fn(&PortTraffic) -> u64| {
        let labels = |port: &PortScrape| vec![("port", port.port.clone()), ("vlan", port.vlan.to_string())];
        ports.iter().map(move |port| (labels(port), value(&port.traffic)))
    };
    let received = each(|traffic| traffic.received_packets);
    counters(encoder, "port_received_frames", "Frames that came from the port", received)?;
    let received = each(|traffic| traffic.received_bytes);
    counters(encoder, "port_received_bytes", "Bytes that came from the port", received)?;
    let dropped = each(|traffic| traffic.dropped_packets);
    counters(encoder, "port_dropped_frames", "Frames from the port that were dropped", dropped)?;
    let dropped = each(|traffic| traffic.dropped_bytes);
    counters(encoder, "port_dropped_bytes", "Bytes from the port that were dropped", dropped)?;
    let sent = each(|traffic| traffic.sent_packets);
    counters(encoder, "port_sent_frames", "Frames sent to the port", sent)?;
    let sent = each(|traffic| traffic.sent_bytes);
    counters(encoder, "port_sent_bytes", "Bytes sent to the port", sent)?;
    let errors = each(|traffic| traffic.copy_errors);
    counters(
        encoder,
        "port_copy_errors",
        "Flood copies that the kernel refused to send to the port",
        errors,
    )?;
    let too_big = each(|traffic| traffic.too_big);
    counters(encoder, "port_too_big", "Frames for the port that are longer than its MTU", too_big)?;
    let no_headroom = each(|traffic| traffic.no_headroom);
    let help = "Frames from the port without room in front of them for packet-rate mode, which TC took";
    counters(encoder, "port_no_headroom", help, no_headroom)
}

fn endpoints(encoder: &mut DescriptorEncoder<'_>, vteps: &[VtepScrape]) -> fmt::Result {
    let each = |value: fn(&VtepScrape) -> u64| {
        vteps.iter().map(move |vtep| (vec![("vtep", vtep.address.clone())], value(vtep)))
    };
    gauges(encoder, "vtep_up", "Whether the VTEP is served", each(|vtep| vtep.up.into()))?;
    counters(encoder, "vtep_sent_frames", "Frames sent to the VTEP", each(|vtep| vtep.stats.sent.packets))?;
    counters(encoder, "vtep_sent_bytes", "Bytes sent to the VTEP", each(|vtep| vtep.stats.sent.bytes))?;
    let received = each(|vtep| vtep.stats.received.packets);
    counters(encoder, "vtep_received_frames", "Frames received from the VTEP", received)?;
    let received = each(|vtep| vtep.stats.received.bytes);
    counters(encoder, "vtep_received_bytes", "Bytes received from the VTEP", received)?;
    let served = each(|vtep| vtep.stats.served_as_slave);
    counters(encoder, "vtep_served_as_slave_frames", "Frames that the VTEP got as slave", served)?;
    let seen =
        vteps.iter().filter_map(|vtep| Some((vec![("vtep", vtep.address.clone())], vtep.last_seen_secs?)));
    gauges(encoder, "vtep_last_seen_seconds", "Since the last frame from the VTEP", seen)?;
    let errors = each(|vtep| vtep.stats.copy_errors);
    counters(encoder, "vtep_copy_errors", "Flood copies that the kernel refused to send", errors)?;
    let too_big = each(|vtep| vtep.stats.copies_too_big);
    counters(encoder, "vtep_copies_too_big", "Flood copies that the path has no room for", too_big)
}

fn sessions(encoder: &mut DescriptorEncoder<'_>, bfd: &[BfdRow]) -> fmt::Result {
    let each =
        |value: fn(&BfdRow) -> u64| bfd.iter().map(move |row| (vec![("vtep", row.vtep.clone())], value(row)));
    gauges(encoder, "bfd_up", "Whether the BFD session is up", each(|row| (row.state == "up").into()))?;
    gauges(encoder, "bfd_suspect", "Whether slaves serve for the VTEP", each(|row| row.suspect.into()))?;
    counters(encoder, "bfd_failures", "Times that the session went down", each(|row| row.failures))?;
    counters(encoder, "bfd_heard", "Control packets that kept the VTEP alive", each(|row| row.heard))?;
    counters(
        encoder,
        "bfd_answered",
        "Answers of the programs, the agent being silent",
        each(|row| row.answered),
    )?;
    counters(encoder, "bfd_expired", "Times that the programs found silence", each(|row| row.expired))
}
