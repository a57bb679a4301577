use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use vtep_api::Session;
use vtep_api::daemon::exposition::{self, Labels, counters, gauges, plain};

use crate::cluster::LateView;
use crate::control::view::{LogicalScrape, PhysicalScrape, Scrape, Status};

pub(super) fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    exposition::encode("vtepd_controller", Exposed(scrape))
}

#[derive(Debug)]
struct Exposed(Scrape);

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Scrape { status, late, logical, physical } = &self.0;
        state(&mut encoder, status)?;
        if let Some(late) = late {
            kept_back(&mut encoder, *late)?;
        }
        if let Some(logical) = logical {
            decided(&mut encoder, logical)?;
        }
        if let Some(physical) = physical {
            served(&mut encoder, physical)?;
        }
        Ok(())
    }
}

fn state(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let count = |value: usize| plain(value as u64);
    gauges(encoder, "ready", "Whether tables are distributed", plain(u64::from(status.ready)))?;
    gauges(encoder, "term", "The reign of this process", plain(status.term.0))?;
    let counts = &status.counts;
    gauges(encoder, "logical_switches", "Logical switches", count(counts.logical_switches))?;
    gauges(encoder, "macs", "MACs in all tables", count(counts.macs))?;
    gauges(encoder, "claims_held", "Claims in the ledgers", count(counts.claims))?;
    gauges(encoder, "vteps", "VTEPs that are known", count(counts.vteps))?;
    gauges(encoder, "vteps_up", "VTEPs with a session", count(counts.vteps_up))?;
    let failing = u64::from(status.store.failing.is_some());
    gauges(encoder, "store_failing", "Whether the state store failed last", plain(failing))?;
    counters(
        encoder,
        "store_errors",
        "Operations of the state store that failed",
        plain(status.store.errors),
    )?;
    let fenced = "Writes that etcd refused because another had the office by then";
    counters(encoder, "store_fenced", fenced, plain(status.store.fenced))?;
    let mut kinds = BTreeMap::new();
    for alarm in &status.alarms {
        *kinds.entry(alarm.kind.name()).or_insert(0_u64) += 1;
    }
    let alarms = kinds.into_iter().map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
    gauges(encoder, "alarms", "Conditions that an operator should know", alarms)
}

fn kept_back(encoder: &mut DescriptorEncoder<'_>, late: LateView) -> fmt::Result {
    let totals = [
        ("late_withheld", "What was not sent because the term was over by our clock", late.withheld),
        ("tor_locks_lost", "Times that another controller took a TOR's lock from us", late.locks_lost),
        ("tor_writes_refused", "Transactions without the lock, which a TOR refused", late.writes_refused),
    ];
    for (name, help, value) in totals {
        counters(encoder, name, help, plain(value))?;
    }
    Ok(())
}

fn decided(encoder: &mut DescriptorEncoder<'_>, scrape: &LogicalScrape) -> fmt::Result {
    let counted = &scrape.counters;
    let totals = [
        ("claims", "Reports of a MAC, told again or not", counted.claims),
        ("claims_told_again", "Reports that said nothing new", counted.told_again),
        ("claims_outdated", "Reports older than what was known", counted.outdated),
        ("claims_refused", "Claims above a quota", counted.refused),
        ("claims_set_aside", "Claims that the storm guard set aside", counted.set_aside),
        ("withdrawals", "Claims that were taken back", counted.withdrawals),
        ("withdrawals_kept", "Withdrawals that the mass-withdraw guard held up", counted.kept),
        ("decisions", "Decisions on a MAC", counted.decisions),
        ("moves", "Decisions that changed a master", counted.moves),
        ("duplicates", "MACs that were marked as duplicate", counted.duplicates),
        ("storms", "Times that the storm guard tripped", counted.storms),
        ("claims_fenced", "Words on a VTEP by a term that is over", counted.fenced),
        ("sightings", "What VTEPs saw of MACs elsewhere than at their master", counted.sightings),
        ("strange_messages", "Messages that this controller has nothing to do with", counted.strange),
        ("versions", "Versions of all tables", counted.versions),
        ("no_changes", "Reports that were answered by \"no change\"", counted.no_changes),
        ("resyncs_asked", "Times that a VTEP was asked to tell all", counted.resyncs_asked),
    ];
    for (name, help, value) in totals {
        counters(encoder, name, help, plain(value))?;
    }
    let pushes = |value: fn(&crate::logical::Pushes) -> u64| {
        counted.pushes.iter().map(move |(peer, pushes)| (vec![("peer", peer.to_string())], value(pushes)))
    };
    counters(encoder, "pushes", "Messages of tables", pushes(|pushes| pushes.messages))?;
    counters(encoder, "pushed_rows", "Rows of tables that were sent", pushes(|pushes| pushes.rows))?;
    counters(encoder, "pushed_snapshots", "Tables that were sent whole", pushes(|pushes| pushes.snapshots))?;
    let up = scrape.vteps.iter().map(|vtep| {
        let up = u64::from(vtep.session == Session::Up);
        (vec![("vtep", vtep.name.to_string())], up)
    });
    gauges(encoder, "vtep_up", "Whether the VTEP has a session", up)?;
    let macs = scrape.networks.iter().map(|network| (switch(&network.name), network.macs as u64));
    gauges(encoder, "table_macs", "MACs of a logical switch", macs)?;
    let lag = scrape.sync.iter().filter_map(|sync| Some((at(&sync.vtep, &sync.logical_switch), sync.lag?)));
    gauges(encoder, "lag_versions", "Versions that a VTEP does not forward by yet", lag)
}

fn served(encoder: &mut DescriptorEncoder<'_>, scrape: &PhysicalScrape) -> fmt::Result {
    let total = &scrape.counters;
    let totals = [
        ("physical_stale_messages", "Messages of sessions that had ended", total.stale_messages),
        ("physical_undeclared", "Sessions of VTEPs that nobody declares", total.undeclared),
        ("physical_merged", "Changes that a slow receiver was told as one", total.merged),
        ("physical_refused_tables", "Tables that were refused", total.refused_tables),
        ("physical_refused_welcomes", "Logical controllers of a term that is over", total.refused_welcomes),
        ("physical_refused_outlines", "Outlines that were refused", total.refused_outlines),
        ("physical_resyncs", "Snapshots that were asked for", total.resyncs),
        ("physical_sightings_lost", "What VTEPs saw, and found no room", total.sightings_lost),
    ];
    for (name, help, value) in totals {
        counters(encoder, name, help, plain(value))?;
    }
    let each = |value: fn(&crate::physical::Counters) -> u64| {
        total.vteps.iter().map(move |(vtep, counted)| (vec![("vtep", vtep.to_string())], value(counted)))
    };
    counters(encoder, "vtep_sessions", "Sessions that began", each(|vtep| vtep.sessions))?;
    counters(encoder, "vtep_claims", "Claims of the VTEP", each(|vtep| vtep.claims))?;
    counters(encoder, "vtep_withdrawals", "Claims that the VTEP took back", each(|vtep| vtep.withdrawals))?;
    counters(encoder, "vtep_records_refused", "Records that were set aside", each(|vtep| vtep.refused))?;
    counters(encoder, "vtep_pushes", "Parts of tables sent to the VTEP", each(|vtep| vtep.pushes))?;
    counters(encoder, "vtep_pushed_rows", "Rows of tables sent to the VTEP", each(|vtep| vtep.rows_pushed))?;
    counters(encoder, "vtep_sightings", "What the VTEP saw of others' MACs", each(|vtep| vtep.sightings))?;
    let up = scrape
        .vteps
        .iter()
        .map(|vtep| (vec![("vtep", vtep.vtep.to_string())], u64::from(vtep.session == Session::Up)));
    gauges(encoder, "session_up", "Whether the VTEP is connected here", up)?;
    let peers = scrape
        .peers
        .iter()
        .map(|peer| (vec![("peer", peer.logical_controller.to_string())], u64::from(peer.connected)));
    gauges(encoder, "peer_up", "Whether the logical controller is connected", peers)?;
    let lag = scrape.sync.iter().map(|sync| (at(&sync.vtep, &sync.logical_switch), sync.lag_ms));
    gauges(encoder, "lag_ms", "For how long the VTEP has been behind", lag)
}

fn switch(name: &vtep_api::LogicalSwitchName) -> Labels {
    vec![("logical_switch", name.to_string())]
}

fn at(vtep: &vtep_api::VtepName, name: &vtep_api::LogicalSwitchName) -> Labels {
    vec![("vtep", vtep.to_string()), ("logical_switch", name.to_string())]
}
