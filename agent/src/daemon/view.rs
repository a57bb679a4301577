//! What is known, for commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use hashbrown::HashMap;
use vtep_abi::{FdbKey, PortValue, Target, Verdict, VniValue, VtepAdj, VtepStats};
use vtep_api::{MacAddr, VtepName};

use super::host::Host;
use crate::alarm::{Alarm, AlarmKind};
use crate::config::{BfdOrigin, Port, Source};
use crate::control::view::{
    AttachedRow, BfdRow, CountRow, Counts, FdbDump, FdbEnd, Labels, PortRow, PortStatsRow, PortTraffic,
    StatsRow, Status, VniCounters, VniRow, VtepRow,
};
use crate::control::{ErrorKind, FdbFilter, Reply, Request};
use crate::dataplane::{FdbTarget, PortId};
use crate::desired::{self, TUNNEL_DEVICE};
use crate::kernel::{self, Program, Slots};
use crate::links::Link;
use crate::liveness::Known;

/// `dataplane.macs_max` entries are 0.90 of the slots, and new ones are refused from 0.95 on.
const MAC_TABLE_LOAD_MAX: f64 = 0.92;

impl Host {
    pub(super) fn answer(&self, request: &Request, metrics: Option<SocketAddr>) -> Reply {
        match request {
            Request::Status => Reply::rows([self.status(metrics)]),
            Request::FdbShow { filter } => match self.matching(filter) {
                Ok(entries) => Reply::stream(FdbDump { entries, labels: self.labels() }.into_rows()),
                Err((kind, message)) => Reply::error(kind, message),
            },
            Request::FdbCount { filter } => match self.matching(filter) {
                Ok(entries) => Reply::rows([CountRow { macs: entries.len() }]),
                Err((kind, message)) => Reply::error(kind, message),
            },
            Request::FdbGet { vni, mac } => self.fdb_get(*vni, mac),
            Request::VniShow { vni } => found(self.vni_rows(*vni), vni.as_ref(), |vni| no_vni(*vni)),
            Request::VtepShow { vtep } => {
                found(self.vtep_rows(vtep.as_deref()), vtep.as_ref(), |vtep| no_vtep(vtep))
            }
            Request::BfdShow { vtep } => found(self.bfd_rows(vtep.as_deref()), vtep.as_ref(), |vtep| {
                format!(
                    "there is no session with a VTEP {vtep:?}; `vtep-agent bfd show` lists those that are"
                )
            }),
            Request::PortShow { port } => {
                found(self.port_rows(port.as_deref()), port.as_ref(), |port| no_port(port))
            }
            Request::PortStats { vni } => found(self.port_stats_rows(*vni), vni.as_ref(), |vni| {
                format!("no port is bound to VNI {vni}")
            }),
            Request::Stats { vni, drops } => match self.stats_rows(*vni, *drops) {
                Some(rows) => Reply::rows(rows),
                None => found(Vec::<StatsRow>::new(), vni.as_ref(), |vni| no_vni(*vni)),
            },
            Request::RoleShow => Reply::rows(self.roles.rules()),
            // The loop takes them before.
            Request::RoleSet { .. }
            | Request::Release { .. }
            | Request::BfdRestore { .. }
            | Request::Drill { .. }
            | Request::Trace { .. }
            | Request::Diff { .. }
            | Request::Monitor { .. }
            | Request::Capture { .. } => Reply::error(ErrorKind::Failed, "the agent is stopping"),
            Request::Detach => Reply::error(ErrorKind::Failed, "the agent is detaching already"),
        }
    }

    pub(super) fn status(&self, metrics: Option<SocketAddr>) -> Status {
        let alarms = self.alarms();
        let waits_for = self.waits_for();
        Status {
            name: self.config.agent.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            ready: waits_for.is_empty(),
            waits_for,
            source: self.source.clone(),
            metrics,
            address: self.config.underlay.address.to_string(),
            epoch: self.epoch(),
            reconciles: self.reconciles,
            last_reconcile_ms: self.last_reconcile.as_secs_f64() * 1000.0,
            counts: Counts {
                macs: self.installed.fdb.len(),
                macs_max: self.config.dataplane.macs_max.as_usize(),
                macs_pending: self.outcome.pending,
                macs_refused: self.outcome.refused,
                macs_learnt: self.learnt.len(),
                macs_overheard: self.overheard.len(),
                vteps: self.installed.vteps.len(),
                vnis: self.installed.networks.len(),
                ports: self.installed.ports.len(),
                alarms: alarms.len(),
            },
            learning: self.tally(),
            moves: self.moves,
            witness: self.witness.tally,
            proof: self.proof_status(),
            drill: self
                .drill
                .and_then(|index| self.installed.vteps.get(&index))
                .map(|row| crate::desired::ip(row.adj.remote).to_string()),
            attached: self.attached_rows(),
            alarms,
        }
    }

    pub(super) fn summary(&self) -> String {
        let waits = self.waits_for();
        let state =
            if waits.is_empty() { "ready".to_owned() } else { format!("waits for {}", waits.join(", ")) };
        format!("{state}; {} MACs, {} VTEPs", self.installed.fdb.len(), self.installed.vteps.len())
    }

    /// What is missing before frames are forwarded by the source's table.
    pub(super) fn waits_for(&self) -> Vec<String> {
        let mut waits = Vec::new();
        // A table that came may wait for the ways to its VTEPs.
        if !self.outcome.complete {
            waits.push("the source's first table".to_owned());
        }
        if !self.tunnel_is_up() {
            waits.push(format!("the tunnel device {TUNNEL_DEVICE} to be up"));
        }
        let at = |program| self.attached.iter().any(|attachment| attachment.program == program);
        for program in [Program::UplinkIn, Program::TunnelIn] {
            if !at(program) {
                waits.push(format!("program {program} to be attached"));
            }
        }
        let missing = self.installed.ports.keys().filter(|port| {
            !self.attached.iter().any(|at| at.ifindex == port.ifindex && at.program == Program::PortIn)
        });
        waits.extend(missing.map(|port| format!("port {} to be attached", self.interface(port.ifindex))));
        waits
    }

    fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.outcome.alarms.clone();
        alarms.extend(self.kernel_alarms.iter().cloned());
        let slots = self.kernel.mac_table_slots();
        alarms.extend(slots.and_then(|slots| load_alarm(slots, &self.config.agent.name)));
        if let Some(reason) = &self.source.lost {
            alarms.insert(Alarm::new(AlarmKind::SourceLost, &self.source.from, reason.as_str()));
        }
        for table in
            self.source.session.iter().flat_map(|session| &session.tables).filter(|table| table.held > 0)
        {
            let message = format!(
                "{} MACs of VNI {} stay that a snapshot lacks; `vtep-agent release {}` lets them go",
                table.held, table.vni, table.vni
            );
            alarms.insert(Alarm::new(AlarmKind::RemovalsHeld, &table.logical_switch, message));
        }
        if self.source.rows_refused > 0 {
            let message = format!("{} rows are refused", self.source.rows_refused);
            alarms.insert(Alarm::new(AlarmKind::RowsRefused, &self.source.from, message));
        }
        alarms.into_iter().collect()
    }

    fn attached_rows(&self) -> Vec<AttachedRow> {
        let row = |attachment: &crate::kernel::Attachment| AttachedRow {
            interface: self.interface(attachment.ifindex),
            ifindex: attachment.ifindex,
            program: attachment.program.to_string(),
            foreign: attachment.foreign.clone(),
        };
        self.attached.iter().map(row).collect()
    }

    fn fdb_get(&self, vni: u32, mac: &str) -> Reply {
        let mac: MacAddr = match mac.parse() {
            Ok(mac) => mac,
            Err(error) => return Reply::error(ErrorKind::Usage, format!("{error}")),
        };
        let key = FdbKey::new(vni, mac.octets());
        // From the kernel itself: what is looked up one by one can be.
        match self.kernel.fdb_entry(&key) {
            Ok(Some(value)) => {
                let target = FdbTarget { master: value.master(), slave: value.slave(), flags: value.flags() };
                Reply::rows([self.labels().row(&key, &target)])
            }
            Ok(None) => Reply::error(ErrorKind::NotFound, format!("VNI {vni} has no MAC {mac}")),
            Err(error) => Reply::error(ErrorKind::Failed, error.to_string()),
        }
    }

    /// Sorted by VNI and MAC.
    fn matching(&self, filter: &FdbFilter) -> Result<Vec<(FdbKey, FdbTarget)>, (ErrorKind, String)> {
        let mac = filter
            .mac
            .as_deref()
            .map(str::parse::<MacAddr>)
            .transpose()
            .map_err(|error| (ErrorKind::Usage, error.to_string()))?;
        self.known(filter).map_err(|message| (ErrorKind::NotFound, message))?;
        let vteps: Option<Vec<u32>> = filter.vtep.as_deref().map(|vtep| self.vteps_called(vtep));
        let ports: Option<Vec<u32>> = filter.port.as_deref().map(|port| self.local_ports_called(port));
        let is_in = |wanted: &Option<Vec<u32>>, target: &FdbTarget, index: fn(Target) -> Option<u32>| {
            wanted.as_ref().is_none_or(|wanted| {
                [target.master, target.slave]
                    .into_iter()
                    .filter_map(index)
                    .any(|index| wanted.contains(&index))
            })
        };
        let matches = |key: &FdbKey, target: &FdbTarget| {
            filter.vni.is_none_or(|vni| vni == key.vni)
                && mac.is_none_or(|mac| mac.octets() == key.mac)
                && is_in(&vteps, target, vtep_index)
                && is_in(&ports, target, port_index)
        };
        let entries = self.installed.fdb.iter().filter(|(key, target)| matches(key, target));
        let mut entries: Vec<_> = entries.map(|(key, target)| (*key, *target)).collect();
        entries.sort_unstable_by_key(|(key, _)| (key.vni, key.mac));
        entries.truncate(filter.limit.unwrap_or(usize::MAX));
        Ok(entries)
    }

    /// Whether there could be entries.
    fn known(&self, filter: &FdbFilter) -> Result<(), String> {
        if let Some(vni) = filter.vni.filter(|vni| !self.installed.networks.contains_key(vni)) {
            return Err(no_vni(vni));
        }
        let in_table = |name: &str| {
            let table = self.table.as_ref();
            table.is_some_and(|table| table.vteps.keys().any(|known| known.as_str() == name))
        };
        if let Some(vtep) = &filter.vtep
            && self.vteps_called(vtep).is_empty()
            && !in_table(vtep)
        {
            return Err(no_vtep(vtep));
        }
        let configured = |name: &str| self.config.ports.iter().any(|port| port.name.as_str() == name);
        match &filter.port {
            Some(port) if self.local_ports_called(port).is_empty() && !configured(port) => Err(no_port(port)),
            _ => Ok(()),
        }
    }

    pub(super) fn vteps_called(&self, text: &str) -> Vec<u32> {
        let table = self.table.as_ref();
        let named = table.and_then(|table| table.vteps.iter().find(|(name, _)| name.as_str() == text));
        let address = named.map(|(_, vtep)| vtep.address).or_else(|| text.parse().ok());
        let rows = self.installed.vteps.iter();
        rows.filter(|(_, row)| Some(desired::ip(row.adj.remote)) == address)
            .map(|(&index, _)| index)
            .collect()
    }

    fn local_ports_called(&self, name: &str) -> Vec<u32> {
        let rows = self.installed.local_ports.iter();
        rows.filter(|(_, port)| self.interface(port.ifindex) == name).map(|(&index, _)| index).collect()
    }

    pub(super) fn labels(&self) -> Labels {
        let names = &self.outcome.names;
        let vteps = self.installed.vteps.iter().map(|(&index, row)| {
            let name = names.vteps.get(&index).map(ToString::to_string);
            let address = desired::ip(row.adj.remote).to_string();
            (index, FdbEnd::Vtep { index, name, address, up: row.up })
        });
        let ports = self.installed.local_ports.iter().map(|(&index, port)| {
            let name = self.links.by_index(port.ifindex).map(|(name, _)| name.to_owned());
            (index, FdbEnd::Port { index, name, vlan: port.vlan })
        });
        Labels {
            networks: names.networks.iter().map(|(&vni, name)| (vni, name.to_string())).collect(),
            vteps: vteps.collect(),
            ports: ports.collect(),
        }
    }

    fn vni_rows(&self, vni: Option<u32>) -> Vec<VniRow> {
        let mut macs = BTreeMap::<u32, usize>::new();
        self.installed.fdb.keys().for_each(|key| *macs.entry(key.vni).or_default() += 1);
        let labels = self.labels();
        let wanted =
            self.installed.networks.iter().filter(|(present, _)| vni.is_none_or(|vni| vni == **present));
        let neighbours = |vni| {
            self.installed.neighbours.keys().filter(|key: &&vtep_abi::NeighbourKey| key.vni == vni).count()
        };
        let row = |(&vni, network): (&u32, &crate::dataplane::Network)| VniRow {
            vni,
            logical_switch: labels.networks.get(&vni).cloned(),
            bridge_domain: network.bd,
            unknown_unicast: if network.flags & VniValue::DROP_UNKNOWN == 0 { "flood" } else { "drop" }
                .to_owned(),
            neighbours: (network.flags & VniValue::SUPPRESS != 0).then(|| neighbours(vni)),
            macs: macs.get(&vni).copied().unwrap_or(0),
            in_sync_since: self.proof.vni_since(vni).map(super::prove::unix_secs),
            flood: network.flood.iter().map(|target| label(&labels, *target)).collect(),
        };
        wanted.map(row).collect()
    }

    fn vtep_rows(&self, vtep: Option<&str>) -> Vec<VtepRow> {
        let mut macs = HashMap::<u32, (usize, usize), foldhash::fast::RandomState>::default();
        for target in self.installed.fdb.values() {
            if let Target::Vtep(index) = target.master {
                macs.entry(index).or_default().0 += 1;
            }
            if let Target::Vtep(index) = target.slave {
                macs.entry(index).or_default().1 += 1;
            }
        }
        let wanted = vtep.map(|vtep| self.vteps_called(vtep));
        let rows = self.installed.vteps.iter();
        let rows = rows.filter(|(index, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(index)));
        let row = |(&index, row): (&u32, &crate::dataplane::VtepRow)| {
            // Counters that cannot be read show as zero.
            let stats = self.kernel.vtep_stats(index).unwrap_or_default();
            let (macs, macs_as_slave) = macs.get(&index).copied().unwrap_or_default();
            let adj = &row.adj;
            VtepRow {
                index,
                name: self.outcome.names.vteps.get(&index).map(ToString::to_string),
                address: desired::ip(adj.remote).to_string(),
                up: row.up,
                alive: self.kernel.vtep_oper_up(index).unwrap_or(false),
                suspect: row.suspect,
                bfd: self.liveness.get(&index).map(|known| known.state.to_string()),
                routed: adj.is(VtepAdj::ROUTED),
                resolved: adj.is(VtepAdj::RESOLVED),
                interface: adj.is(VtepAdj::ROUTED).then(|| self.interface(adj.ifindex)),
                next_hop: adj.is(VtepAdj::RESOLVED).then(|| MacAddr::new(adj.dst_mac())),
                mtu: adj.mtu,
                inner_mtu: adj.room(),
                macs,
                macs_as_slave,
                sent_packets: stats.sent.packets,
                sent_bytes: stats.sent.bytes,
                received_packets: stats.received.packets,
                received_bytes: stats.received.bytes,
                served_as_slave: stats.served_as_slave,
                copy_errors: stats.copy_errors,
                copies_too_big: stats.copies_too_big,
                last_seen_secs: last_seen(&stats),
            }
        };
        rows.map(row).collect()
    }

    pub(super) fn bfd_rows(&self, vtep: Option<&str>) -> Vec<BfdRow> {
        let wanted = vtep.map(|vtep| self.vteps_called(vtep));
        let known = self.liveness.iter();
        let known = known.filter(|(index, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(index)));
        let millis = |time: Option<std::time::Duration>| {
            time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let row = |(&index, known): (&u32, &Known)| {
            // Counters that cannot be read show as zero.
            let heard = self.kernel.bfd_heard(index).unwrap_or_else(|_| bytemuck::Zeroable::zeroed());
            BfdRow {
                vtep: known.address.to_string(),
                name: self.outcome.names.vteps.get(&index).map(ToString::to_string),
                transport: known.settings.transport.name().to_owned(),
                state: known.state.to_string(),
                remote_state: known.remote_state.to_string(),
                diagnostic: known.diagnostic.to_string(),
                standing: known.standing.to_owned(),
                suspect: known.suspect,
                detection_ms: millis(known.detection),
                interval_ms: millis(known.interval),
                failures: known.failures,
                heard: heard.heard,
                answered: heard.answered,
                expired: heard.expired,
                complaint: known.complaint.clone(),
                min_tx_ms: known.settings.parameters.desired_min_tx_us() / 1000,
                min_rx_ms: known.settings.parameters.required_min_rx_us() / 1000,
                multiplier: known.settings.parameters.detect_mult(),
                configured_by: self.configured_by(known.settings.origin),
            }
        };
        known.map(row).collect()
    }

    fn configured_by(&self, origin: BfdOrigin) -> String {
        let source = match self.config.source {
            Source::File(_) => "table file",
            Source::Ovsdb(_) => "database",
            Source::Controller(_) => "controller",
        };
        match origin {
            BfdOrigin::General | BfdOrigin::File => "agent file".to_owned(),
            BfdOrigin::Source => source.to_owned(),
            BfdOrigin::FileAndSource => format!("agent file over {source}"),
        }
    }

    /// Every binding of the table, whether its interface exists or not.
    fn port_rows(&self, port: Option<&str>) -> Vec<PortRow> {
        let Some(table) = &self.table else { return Vec::new() };
        let mut macs = BTreeMap::<u32, Vec<(MacAddr, bool)>>::new();
        for (key, target) in &self.installed.fdb {
            if let Target::LocalPort(index) = target.master {
                let learnt = target.is_learnt();
                macs.entry(index).or_default().push((MacAddr::new(key.mac), learnt));
            }
        }
        let wanted =
            table.bindings.iter().filter(|((name, _), _)| port.is_none_or(|port| port == name.as_str()));
        let mut rows = Vec::new();
        for ((name, vlan), logical_switch) in wanted {
            let ifindex = self.links.by_name.get(name.as_str()).map(|link| link.ifindex);
            let id = ifindex.map(|ifindex| PortId { ifindex, vlan: vlan.as_u16() });
            let bound = id.and_then(|id| self.installed.ports.get(&id));
            let mut macs = bound.and_then(|bound| macs.remove(&bound.local_port)).unwrap_or_default();
            macs.sort_unstable();
            let at = |ifindex| {
                self.attached.iter().any(|at| at.ifindex == ifindex && at.program == Program::PortIn)
            };
            let listed = self.config.ports.named(name).cloned();
            let settings = listed.unwrap_or_else(|| Port::unnamed(name.clone()));
            let link = self.links.by_name.get(name.as_str());
            let decap =
                link.map(|link| desired::decap::choose(&self.config, &settings, link, &self.packet_rate));
            let deliver = link
                .and_then(|link| desired::deliver::to_peer(&settings, link, &self.packet_rate))
                .map(|passed_by| match passed_by {
                    Ok(()) => "peer".to_owned(),
                    Err(reason) => format!("interface: {reason}"),
                });
            rows.push(PortRow {
                port: name.to_string(),
                traffic: bound.map(|bound| self.port_traffic(bound.local_port)).unwrap_or_default(),
                ifindex,
                vlan: vlan.as_u16(),
                vni: bound.map(|bound| bound.vni),
                logical_switch: logical_switch.to_string(),
                attached: ifindex.is_some_and(at),
                packet_rate: ifindex
                    .and_then(|ifindex| self.packet_rate.state(ifindex))
                    .map(ToString::to_string),
                packet_rate_unseen: link
                    .filter(|link| self.packet_rate.is_on(link.ifindex))
                    .and_then(crate::packet_rate::unseen)
                    .map(str::to_owned),
                by_device_packets: bound.map(|bound| self.by_device(bound.bd)).unwrap_or_default(),
                promiscuous: link.and_then(Link::takes_others),
                decap: decap.as_ref().map(|decap| decap.way.name().to_owned()),
                decap_why: decap.map(|decap| decap.why),
                deliver,
                unbound_tag: settings.unbound_tag,
                keep_tag: settings.keep_tag,
                inner_tag: settings.inner_tag,
                learning: bound.is_some_and(|bound| bound.flags & PortValue::LEARN != 0),
                refused_source: ifindex.and_then(|ifindex| self.refused_sources.get(&ifindex).cloned()),
                mtu: self.links.by_name.get(name.as_str()).map(|link| link.mtu),
                path_mtu: bound.and_then(|bound| desired::path_mtu(&self.installed, bound.vni)),
                macs_learnt: macs.iter().filter(|(_, learnt)| *learnt).count(),
                macs: macs.into_iter().map(|(mac, _)| mac).collect(),
            });
        }
        rows
    }

    fn port_stats_rows(&self, vni: Option<u32>) -> Vec<PortStatsRow> {
        let bound = self.installed.ports.iter().filter(|(_, bound)| vni.is_none_or(|vni| bound.vni == vni));
        let row = |(id, bound): (&PortId, &PortValue)| {
            let port = self
                .links
                .by_index(id.ifindex)
                .map_or_else(|| "gone".to_owned(), |(name, _)| name.to_owned());
            let traffic = self.port_traffic(bound.local_port);
            PortStatsRow { port, vlan: id.vlan, vni: bound.vni, traffic }
        };
        let mut rows: Vec<_> = bound.map(row).collect();
        rows.sort_by(|a, b| (&a.port, a.vlan).cmp(&(&b.port, b.vlan)));
        rows
    }

    fn by_device(&self, bd: u32) -> u64 {
        self.kernel.vni_stats(bd).map_or(0, |verdicts| verdicts[Verdict::Admitted as usize].packets)
    }

    /// Counters that cannot be read show as zero.
    pub(super) fn port_traffic(&self, local_port: u32) -> PortTraffic {
        self.kernel.port_stats(local_port).unwrap_or_default().into()
    }

    fn stats_rows(&self, vni: Option<u32>, drops: bool) -> Option<Vec<StatsRow>> {
        if vni.is_some_and(|vni| !self.installed.networks.contains_key(&vni)) {
            return None;
        }
        let counted = self.counters().into_iter().filter(|counters| vni.is_none() || counters.vni == vni);
        let rows = counted.flat_map(|VniCounters { vni, verdicts }| {
            let counters = verdicts.into_iter().filter(|(verdict, _)| !drops || verdict.is_drop());
            counters.map(move |(verdict, counter)| StatsRow {
                vni,
                verdict: verdict.name().to_owned(),
                drop: verdict.is_drop(),
                packets: counter.packets,
                bytes: counter.bytes,
            })
        });
        Some(rows.collect())
    }
}

fn load_alarm(slots: Slots, agent: &VtepName) -> Option<Alarm> {
    let load = slots.load();
    let message = format!(
        "{:.0} % of the MAC table's slots are taken; raise dataplane.macs_max, and restart",
        load * 100.0
    );
    (load > MAC_TABLE_LOAD_MAX).then(|| Alarm::new(AlarmKind::MacTableLoad, agent, message))
}

/// None of those that were asked for is an error.
fn found<T: serde::Serialize, A>(rows: Vec<T>, asked: Option<&A>, none: impl Fn(&A) -> String) -> Reply {
    match asked {
        Some(asked) if rows.is_empty() => Reply::error(ErrorKind::NotFound, none(asked)),
        _ => Reply::rows(rows),
    }
}

fn no_vni(vni: u32) -> String {
    format!("there is no VNI {vni} at this host; `vtep-agent vni show` lists those that are")
}

fn no_vtep(vtep: &str) -> String {
    format!(
        "there is no VTEP {vtep:?}, neither by name nor by address; `vtep-agent vtep show` lists those that are"
    )
}

fn no_port(port: &str) -> String {
    format!("there is no port {port:?}; `vtep-agent port show` lists those that are")
}

pub(super) fn last_seen(stats: &VtepStats) -> Option<u64> {
    let last = (stats.last_received_ns != 0).then(|| Duration::from_nanos(stats.last_received_ns))?;
    Some(kernel::now().saturating_sub(last).as_secs())
}

fn vtep_index(target: Target) -> Option<u32> {
    if let Target::Vtep(index) = target { Some(index) } else { None }
}

fn port_index(target: Target) -> Option<u32> {
    if let Target::LocalPort(index) = target { Some(index) } else { None }
}

fn label(labels: &Labels, target: Target) -> String {
    let end = match target {
        Target::None => None,
        Target::Vtep(index) => labels.vteps.get(&index),
        Target::LocalPort(index) => labels.ports.get(&index),
    };
    end.map_or_else(|| "gone".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_table_that_is_fuller_than_it_is_made_for_is_an_alarm() {
        let agent = VtepName::try_from("host-1".to_owned()).unwrap();
        let alarm = |taken| load_alarm(Slots { taken, all: 1000 }, &agent);
        assert_eq!(alarm(900), None, "macs_max entries");
        assert_eq!(alarm(920), None);
        let full = alarm(940).unwrap();
        assert_eq!((full.kind, full.subject.as_str()), (AlarmKind::MacTableLoad, "host-1"));
        assert!(full.message.starts_with("94 % of the MAC table's slots are taken"), "{}", full.message);
    }
}
