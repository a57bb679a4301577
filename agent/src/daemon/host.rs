//! What the daemon knows and has done: the inputs of the pure core, the mirror of the kernel, and the last outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{debug, error, info, warn};
use vtep_abi::{ABI_VERSION, FdbKey, Meta, Target};
use vtep_api::{LogicalSwitchName, MacAddr, Role, Term};
use vtep_bfd::State;

use super::complaints::Complaints;
use super::prove::forgive;
use super::refused;
use super::reseed::Reseeds;
use super::watchers::Watchers;
use crate::alarm::{Alarm, AlarmKind};
use crate::announced::Announced;
use crate::claims::{Claims, Known};
use crate::config::{self, Config};
use crate::contested::Contested;
use crate::control::view::{Moves, SourceStatus};
use crate::dataplane::{Dataplane, FdbTarget, PortId};
use crate::desired::{self, Allocation, Desired, Inputs, Present};
use crate::kernel::{Attachment, Kernel, now_secs};
use crate::learnt::Learnt;
use crate::links::Links;
use crate::liveness::{self, Findings, Wish, Wishes};
use crate::one_way::{OneWay, Traffic};
use crate::overheard::Overheard;
use crate::packet_rate::PacketRate;
use crate::plan::{Plan, Step, plan};
use crate::proof::Proof;
use crate::roles::{Roles, RolesError, Rule};
use crate::source::{Inherited, Macs, Report, SessionStatus, SourceEvent};
use crate::table::{LogicalSwitch, MacEntry, Table};
use crate::underlay::Underlay;
use crate::witness::Witness;

/// What became of an event of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It changes nothing in the kernel.
    Noted,
    /// The kernel has it; a comparison looks after the rest.
    Written,
    /// Only a comparison can tell.
    Hint,
}

pub(super) struct Host {
    pub(super) config: Config,
    pub(super) kernel: Kernel,
    pub(super) installed: Dataplane,
    allocation: Allocation,
    pub(super) learnt: Learnt,
    pub(super) overheard: Overheard,
    pub(super) witness: Witness,
    pub(super) announced: Announced,
    /// By interface, the last frame that was refused for its source.
    pub(super) refused_sources: BTreeMap<u32, String>,
    pub(super) claims: Claims,
    pub(super) roles: Roles,
    /// None until the source's first snapshot: what is absent from no table is not withdrawn.
    pub(super) table: Option<Arc<Table>>,
    pub(super) links: Links,
    pub(super) underlay: Underlay,
    /// The last desired state but for its tables, which are `installed` by now.
    pub(super) outcome: Desired,
    pub(super) kernel_alarms: BTreeSet<Alarm>,
    pub(super) attached: Vec<Attachment>,
    pub(super) packet_rate: PacketRate,
    pub(super) liveness: Arc<Findings>,
    one_way: OneWay,
    /// The VTEP whose failover is rehearsed.
    pub(super) drill: Option<u32>,
    pub(super) source: SourceStatus,
    meta: Meta,
    pub(super) started: Instant,
    pub(super) reconciles: u64,
    pub(super) last_reconcile: Duration,
    stale: bool,
    pub(super) proof: Proof,
    pub(super) complaints: Complaints,
    pub(super) watchers: Watchers,
    pub(super) moves: Moves,
    pub(super) contested: Contested,
    pub(super) reseeds: Reseeds,
}

impl Host {
    /// Takes over what an earlier agent left.
    pub(super) fn adopt(config: Config, mut kernel: Kernel) -> anyhow::Result<Self> {
        let installed = kernel.installed()?;
        let meta = kernel.meta()?;
        let attached = kernel.attached()?;
        let (kind, from) = match &config.source {
            config::Source::File(source) => ("file", source.path.display().to_string()),
            config::Source::Ovsdb(source) => ("ovsdb", source.remote.to_string()),
            config::Source::Controller(source) => ("controller", source.addresses.join(", ")),
        };
        info!(macs = installed.fdb.len(), vteps = installed.vteps.len(), "read the kernel's tables");
        Ok(Self {
            allocation: Allocation::recover(&installed, Instant::now()),
            learnt: Learnt::recover(&installed),
            overheard: Overheard::recover(&installed),
            witness: Witness::default(),
            announced: Announced::recover(&installed),
            refused_sources: BTreeMap::new(),
            claims: Claims::recover(&installed, rand::random()),
            roles: Roles::load(&config.agent.state)?,
            source: SourceStatus { kind: kind.to_owned(), from, ..SourceStatus::default() },
            config,
            kernel,
            proof: Proof::of(&installed),
            installed,
            table: None,
            links: Links::default(),
            underlay: Underlay::default(),
            outcome: Desired::default(),
            kernel_alarms: BTreeSet::new(),
            attached,
            packet_rate: PacketRate::default(),
            liveness: Arc::default(),
            one_way: OneWay::default(),
            drill: None,
            meta,
            started: Instant::now(),
            reconciles: 0,
            last_reconcile: Duration::ZERO,
            stale: false,
            complaints: Complaints::default(),
            watchers: Watchers::default(),
            moves: Moves::default(),
            contested: Contested::default(),
            reseeds: Reseeds::default(),
        })
    }

    /// The VTEPs whose way should be known: those of the table, or those that are installed until there is one.
    pub(super) fn targets(&self) -> BTreeSet<IpAddr> {
        match &self.table {
            Some(table) => desired::targets(table, &self.config, &self.installed),
            None => self.installed.vteps.values().map(|row| desired::ip(row.adj.remote)).collect(),
        }
    }

    pub(super) fn take(&mut self, event: SourceEvent) -> Taken {
        match event {
            SourceEvent::Snapshot { table, refusals } => {
                self.source.snapshots += 1;
                self.source.lost = None;
                self.source.refused(&refusals);
                self.table = Some(table);
                Taken::Hint
            }
            SourceEvent::Delta { delta, refusals } => {
                self.source.deltas += u64::from(!delta.is_empty());
                self.source.lost = None;
                self.source.refused(&refusals);
                let Some(table) = &mut self.table else { return Taken::Hint };
                let macs = delta.outline.is_none().then(|| delta.macs.clone());
                Arc::make_mut(table).apply(delta);
                if macs.is_some_and(|macs| self.write_macs(&macs)) { Taken::Written } else { Taken::Hint }
            }
            SourceEvent::Obeys { controller, term } => {
                info!(%controller, term = term.0, "obeying the controller");
                self.source.lost = None;
                self.obey(term);
                Taken::Noted
            }
            SourceEvent::Lost { reason } => {
                self.source.lost = Some(reason);
                Taken::Noted
            }
        }
    }

    /// For whoever asks how the source does.
    pub(super) fn note_session(&mut self, session: &SessionStatus) {
        if matches!(self.config.source, config::Source::Controller(_)) {
            self.source.session = Some(session.clone());
        }
    }

    /// Remembered in the kernel, so that no restart of ours forgets it.
    fn obey(&mut self, term: Term) {
        if term.0 <= self.meta.term {
            return;
        }
        self.meta.term = term.0;
        if let Err(error) = self.kernel.set_meta(&self.meta) {
            warn!(error = &error as &dyn std::error::Error, "the term was not written");
        }
    }

    /// What the source should know of an earlier agent.
    pub(super) fn inherited(&self) -> Inherited {
        let mut macs = BTreeMap::<u32, Macs>::new();
        if matches!(self.config.source, config::Source::Controller(_)) {
            let fdb = self.installed.fdb.iter();
            let told =
                |target: &FdbTarget| !matches!(target.master, Target::LocalPort(_)) && !target.is_learnt();
            for (key, _) in fdb.filter(|(_, target)| told(target)) {
                macs.entry(key.vni).or_default().insert(MacAddr::new(key.mac));
            }
        }
        Inherited { obeyed: Term(self.meta.term), macs }
    }

    pub(super) fn set_role(&mut self, rule: Rule) -> Result<(), RolesError> {
        let roles = self.roles.with(rule)?;
        roles.store(&self.config.agent.state)?;
        self.roles = roles;
        self.revise_claims();
        Ok(())
    }

    /// Claims what is behind our ports by now.
    pub(super) fn revise_claims(&mut self) {
        let vnis = self.outcome.names.networks.iter().map(|(vni, name)| (name.clone(), *vni)).collect();
        let Self { roles, links, claims, learnt, .. } = self;
        let role = |name: &LogicalSwitchName, port: PortId| {
            roles.of(name, links.by_index(port.ifindex).map(|(name, _)| name))
        };
        let ips = self.announced.here();
        let known = Known { vnis: &vnis, ips: &ips, learnt };
        claims.revise(&self.outcome.local_macs, known, role, wall_ms());
    }

    /// A MAC that moves should not wait for a comparison with all others. Whether it is dealt with.
    fn write_macs(&mut self, macs: &[(LogicalSwitchName, MacAddr, Option<MacEntry>)]) -> bool {
        let Some(table) = self.table.as_ref().filter(|_| self.outcome.complete && !self.stale) else {
            return false;
        };
        let macs_max = self.config.dataplane.macs_max.as_usize();
        let Desired { names, room, .. } = &self.outcome;
        let present = Present { names, learnt: &self.learnt, installed: &self.installed, room };
        match desired::shortcut(macs, table, present, macs_max) {
            Some((plan, room)) if self.outcome.pending == 0 => {
                self.outcome.room = room;
                tokio::task::block_in_place(|| self.carry_out(plan))
            }
            _ => false,
        }
    }

    /// What the source may say about this host, once a table was installed.
    pub(super) fn report(&self) -> Option<Report> {
        self.table.as_ref().filter(|_| self.outcome.complete)?;
        let found = |is: &dyn Fn(&liveness::Known) -> bool| {
            self.liveness.values().filter(|known| is(known)).map(|known| known.address).collect()
        };
        Some(Report {
            ports: self.config.ports.iter().map(|port| port.name.clone()).collect(),
            local_macs: Arc::clone(self.claims.made()),
            reachable: found(&|known| known.state == State::Up),
            unreachable: found(&|known| known.state == State::Down && known.suspect),
            macs_exhausted: self.outcome.pending > 0,
            tunnels: self.tunnels(),
        })
    }

    /// The sessions with VTEPs, for a source that tells of them.
    fn tunnels(&self) -> BTreeMap<IpAddr, Option<Arc<liveness::Known>>> {
        let Some(table) =
            self.table.as_ref().filter(|_| matches!(self.config.source, config::Source::Ovsdb(_)))
        else {
            return BTreeMap::new();
        };
        let known: BTreeMap<IpAddr, _> = self.liveness.values().map(|known| (known.address, known)).collect();
        let addresses = table.vteps.values().map(|vtep| vtep.address);
        let session = |address| known.get(&address).map(|&known| Arc::new(known.clone()));
        addresses.map(|address| (address, session(address))).collect()
    }

    /// The sessions of BFD that should be. `None`: no table says yet which VTEPs there are.
    pub(super) fn wishes(&self) -> Option<Wishes> {
        if !self.outcome.complete {
            return None;
        }
        let Config { bfd, underlay, .. } = &self.config;
        let wish = |(&index, name)| {
            let said = self.table.as_ref()?.vteps.get(name)?;
            let settings = bfd.of(name, &said.bfd, &said.tunnel)?;
            let address = desired::ip(self.installed.vteps.get(&index)?.adj.remote);
            let local = underlay.address.toward(address)?;
            Some((index, Wish { address, local, udp_port: underlay.udp_port.as_u16(), settings }))
        };
        Some(self.outcome.names.vteps.iter().filter_map(wish).collect())
    }

    /// Takes what can change while running. Whether that is all that differs.
    pub(super) fn reconfigure(&mut self, config: &Config) -> bool {
        self.config.ports = config.ports.clone();
        self.config.networks = config.networks.clone();
        self.config.bfd = config.bfd.clone();
        self.config.underlay.uplinks.clone_from(&config.underlay.uplinks);
        self.config.underlay.packet_rate.clone_from(&config.underlay.packet_rate);
        self.config.underlay.ttl = config.underlay.ttl;
        self.config.underlay.dscp = config.underlay.dscp;
        self.config.underlay.df = config.underlay.df;
        self.config.underlay.reserved_bits = config.underlay.reserved_bits;
        if self.config.underlay.one_way_secs != config.underlay.one_way_secs {
            self.config.underlay.one_way_secs = config.underlay.one_way_secs;
            self.one_way = OneWay::default();
        }
        self.config.dataplane.decap = config.dataplane.decap;
        self.config == *config
    }

    /// Reads the kernel's tables back, for the mirror may be wrong.
    pub(super) fn reread(&mut self) {
        match self.kernel.ensure_pinned() {
            Ok(0) => {}
            Ok(pins) => warn!(pins, "pins were gone and are there again"),
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "pins are gone; a restart would not adopt");
            }
        }
        match self.kernel.installed() {
            Ok(mut installed) => {
                forgive(&mut installed, &self.installed);
                if installed != self.installed {
                    self.correct(installed);
                }
                self.stale = false;
            }
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the kernel's tables cannot be read");
                self.stale = true;
            }
        }
    }

    /// Makes the kernel equal to what is wanted. Whether nothing is left to be tried again.
    pub(super) fn reconcile(&mut self, now: Instant) -> bool {
        if self.stale {
            self.reread();
        }
        self.kernel_alarms.clear();
        self.complaints.turn();
        self.read_packet_rate();
        self.acquit();
        let table = self.table.clone();
        let settled = if let Some(table) = &table {
            self.reconcile_table(table, now)
        } else {
            let mut alarms = BTreeSet::new();
            let plan = self.inputs(&Table::default(), now).without_table(&mut alarms);
            self.outcome.alarms = alarms;
            self.carry_out(plan)
        };
        let attached = self.attach(table.is_some());
        self.reconciles += 1;
        self.last_reconcile = now.elapsed();
        settled && attached && !self.stale
    }

    /// What the programs hold against a VTEP whose session is judged otherwise, that judgement included, is to be taken
    /// back, though we never wrote it: a session may fail and return between two comparisons.
    fn acquit(&mut self) {
        for (index, known) in self.liveness.iter().filter(|(_, known)| !known.suspect) {
            let Some(row) = self.installed.vteps.get_mut(index) else { continue };
            if row.suspect || crate::desired::ip(row.adj.remote) != known.address {
                continue;
            }
            match self.kernel.vtep_stays_silent(*index, known.expired) {
                Ok(silent) => row.suspect = silent,
                Err(error) => warn!(%error, "what the programs hold of a VTEP cannot be read"),
            }
        }
    }

    /// How long nothing has to come from a VTEP. None: nobody wants to know.
    pub(super) fn one_way_window(&self) -> Option<Duration> {
        let secs = self.config.underlay.one_way_secs.as_u32();
        (secs > 0).then(|| Duration::from_secs(secs.into()))
    }

    /// Whether what is to be told of VTEPs that answer nothing is another than before.
    pub(super) fn look_for_answers(&mut self, now: Instant) -> bool {
        let Some(window) = self.one_way_window() else { return false };
        let all = self.installed.vteps.iter().filter_map(|(index, row)| {
            let stats = self.kernel.vtep_stats(*index).ok()?;
            let (sent, received) = (stats.sent.packets, stats.received.packets);
            Some(Traffic { vtep: crate::desired::ip(row.adj.remote), sent, received })
        });
        self.one_way.look(all, window, now)
    }

    fn reconcile_table(&mut self, table: &Table, now: Instant) -> bool {
        self.revise_learnt(table);
        let vnis: BTreeSet<u32> = table.logical_switches.values().map(|switch| switch.vni.as_u32()).collect();
        self.announced.revise(|vni| vnis.contains(&vni));
        let links = &self.links;
        self.refused_sources.retain(|ifindex, _| links.by_index(*ifindex).is_some());
        let mut allocation = std::mem::take(&mut self.allocation);
        let mut desired = self.inputs(table, now).desired(&mut allocation);
        self.allocation = allocation;
        let dataplane = std::mem::take(&mut desired.dataplane);
        let plan = plan(&dataplane, &self.installed);
        drop(dataplane);
        if self.outcome.alarms != desired.alarms {
            for alarm in desired.alarms.difference(&self.outcome.alarms).take(10) {
                warn!(kind = alarm.kind.name(), subject = alarm.subject, message = alarm.message, "alarm");
            }
        }
        self.outcome = desired;
        self.revise_claims();
        let waits = self.outcome.alarms.iter().any(|alarm| alarm.kind.waits_for_a_number());
        self.carry_out(plan) && !(waits && self.allocation.is_resting())
    }

    fn inputs<'a>(&'a self, table: &'a Table, now: Instant) -> Inputs<'a> {
        Inputs {
            config: &self.config,
            table,
            links: &self.links,
            underlay: &self.underlay,
            learnt: &self.learnt,
            overheard: &self.overheard,
            announced: &self.announced,
            installed: &self.installed,
            packet_rate: &self.packet_rate,
            liveness: &self.liveness,
            one_way: &self.one_way,
            drill: self.drill,
            now,
        }
    }

    fn revise_learnt(&mut self, table: &Table) {
        if self.learnt.is_empty() && self.overheard.is_empty() {
            return;
        }
        let bound = table.bindings.iter().filter_map(|((name, vlan), logical_switch)| {
            let port =
                PortId { ifindex: self.links.by_name.get(name.as_str())?.ifindex, vlan: vlan.as_u16() };
            Some((port, table.logical_switches.get(logical_switch)?.vni.as_u32()))
        });
        let bound: BTreeMap<PortId, u32> = bound.collect();
        self.learnt.revise(|port| bound.get(&port).copied());
        let switches = table.logical_switches.iter();
        let names: BTreeMap<u32, (&LogicalSwitchName, &LogicalSwitch)> =
            switches.map(|(name, switch)| (switch.vni.as_u32(), (name, switch))).collect();
        let Self { overheard, learnt, config, roles, links, .. } = self;
        learnt.outvote(now_secs(), |key, port| {
            let (name, switch) = names.get(&key.vni)?;
            let entry = switch.macs.get(&MacAddr::new(key.mac))?;
            let port = || links.by_index(port.ifindex).map(|(name, _)| name);
            let is_master = roles.rules().is_empty() || roles.of(name, port()) == Role::Master;
            is_master.then_some(&entry.master)
        });
        let of_table = |vtep| table.vteps.values().any(|there| there.address == desired::ip(vtep));
        overheard.revise(|key, vtep| {
            config.networks.of(key.vni).learn_underlay
                && !learnt.contains(key)
                && !matches!(said(names.get(&key.vni).map(|(_, switch)| *switch), key), Said::Elsewhere)
                && (table.partial || of_table(vtep))
        });
    }

    /// Writes a plan to the kernel and to the mirror. Whether all of it was taken.
    pub(super) fn carry_out(&mut self, plan: Plan) -> bool {
        if plan.steps.is_empty() {
            return true;
        }
        let epoch = self.meta.epoch + 1;
        let mut taken = true;
        for step in plan.steps {
            let wanted = step.len();
            match self.write(&step) {
                Ok(applied) => {
                    debug!(entries = applied.written, "wrote a step");
                    if let Some(first) = applied.refused.first() {
                        taken = false;
                        let message = format!("{} of {wanted}, such as {first:?}", applied.refused.len());
                        self.kernel_alarms.insert(Alarm::new(AlarmKind::KernelRefused, step.name(), message));
                    }
                    let step = refused::without(step, &applied.refused);
                    self.watch_step(&step);
                    self.count_moves(&step);
                    self.proof.follow(&step, &self.installed);
                    self.installed.apply(step);
                }
                Err(error) => {
                    if self.complaints.is_news(step.name(), &error) {
                        error!(error = &error as &dyn std::error::Error, step = step.name(), "a step failed");
                    }
                    self.kernel_alarms.insert(Alarm::new(
                        AlarmKind::KernelRefused,
                        step.name(),
                        format!("{error}: {}", error.source),
                    ));
                    // What was written is known only by reading it back; later steps rely on this one.
                    self.stale = true;
                    return false;
                }
            }
        }
        self.meta.epoch = epoch;
        self.meta.abi_version = ABI_VERSION;
        self.meta.digest = self.proof.digest();
        if let Err(error) = self.kernel.set_meta(&self.meta) {
            warn!(error = &error as &dyn std::error::Error, "the epoch was not written");
        }
        taken
    }

    fn count_moves(&mut self, step: &Step) {
        let Step::PutFdb(rows) = step else { return };
        if self.installed.fdb.is_empty() {
            return;
        }
        for (key, target) in rows {
            if let Some(last) = self.installed.fdb.get(key) {
                self.moves.note(last.master, target.master);
            }
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.meta.epoch
    }
}

/// What the table says of a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It may lack the MAC, for it is not whole.
    Unknown,
    Nothing,
    Elsewhere,
}

pub(super) fn said(switch: Option<&LogicalSwitch>, key: &FdbKey) -> Said {
    let Some(switch) = switch else { return Said::Unknown };
    match switch.macs.contains_key(&MacAddr::new(key.mac)) {
        true => Said::Elsewhere,
        false if switch.partial => Said::Unknown,
        false => Said::Nothing,
    }
}

fn wall_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
