//! The kernel's side: maps and programs, pinned so that they outlive the process.
//!
//! [`Kernel::open`] adopts what an earlier agent left or makes it anew, [`Kernel::installed`] reads it back whole, and
//! [`Kernel::apply`] carries out one [`Step`] of a plan. Each map has one owner file below. All calls block, for
//! microseconds; only those that touch a large FDB take up to a second.

mod addresses;
mod applied;
mod bfd;
mod bpf;
mod capture;
mod error;
mod events;
mod fdb;
mod generation;
mod hooks;
mod layout;
mod log;
pub mod mactab;
mod meta;
mod networks;
mod pins;
mod ports;
mod programs;
mod rebuild;
mod ring;
mod seen;
mod settings;
mod tracer;
mod vteps;
mod write;

use std::borrow::Cow;
use std::io;
use std::path::Path;

use aya::programs::ProgramFd;
use caps::{CapSet, Capability};
use vtep_abi::{
    ABI_VERSION, BfdHeard, CaptureSettings, Counter, FdbKey, FdbValue, LocalPort, Meta, PortStats, PortValue,
    VERDICTS_MAX, VtepByIpKey, VtepStats, map,
};

pub use self::applied::{Applied, Entry, Reason, Refused};
pub use self::bfd::{Bfd, BfdPackets};
pub use self::bpf::{Hook, Mapped};
pub use self::capture::{Sample, Samples, Tally};
pub use self::error::{ApplyError, AttachError, KernelError};
pub use self::events::Events;
pub use self::fdb::Slots;
pub use self::hooks::{Occupant, Occupants};
pub use self::programs::{Attached, Attachment, Program, TestRun};
pub use self::seen::{SeenTimes, now, now_secs};
pub use self::settings::{MacTable, OBJECT, Settings, Sizes};
pub use self::tracer::{Behind, Entry as TraceEntry, Traced, Tracer};

use self::addresses::Addresses;
use self::bpf::{AnyMap, Direction};
use self::capture::Capture;
use self::fdb::Fdb;
use self::generation::Generations;
use self::layout::Pinned;
use self::mactab::Recovered;
use self::meta::Host;
use self::networks::Networks;
use self::pins::Pins;
use self::ports::Ports;
use self::programs::{Object, Programs};
use self::seen::Seen;
use self::vteps::Vteps;
use crate::dataplane::{Dataplane, Network, PortId, VtepRow};
use crate::plan::Step;
use crate::proof::Digests;

/// What the kernel's side needs: for maps and programs, for hooks and devices, for arithmetic on packet pointers.
pub const CAPABILITIES: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// What [`Kernel::open`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Maps of an earlier agent are in use.
    pub adopted: bool,
    /// Links of an earlier agent, which carry the present programs.
    pub links: usize,
    /// What was mended in the bucketed MAC table.
    pub mended: Recovered,
    /// Maps that had room for another number of entries: name, former room.
    pub resized: Vec<(&'static str, u32)>,
}

/// The maps and programs of this host, held by a lock against every other agent.
pub struct Kernel {
    maps: Maps,
    /// Every map of the ABI, by name: for [`Self::ensure_pinned`].
    held: Vec<(&'static str, AnyMap)>,
    programs: Programs,
    pins: Pins,
    /// For [`Self::tracer`].
    object: Cow<'static, [u8]>,
    mac_table: MacTable,
    layouts: Vec<layout::Layout>,
}

impl Kernel {
    /// Adopts the pinned maps and links, and makes what is missing. Links that are adopted forward without a gap.
    pub fn open(settings: &Settings) -> Result<(Self, Opened), KernelError> {
        let bytes = settings.object.as_deref().ok_or(KernelError::NoObject)?;
        let object = &Object { bytes, mac_table: settings.mac_table };
        let parsed = aya_obj::Object::parse(bytes).map_err(KernelError::Parse)?;
        let layouts = layout::layouts(&parsed, &settings.sizes, settings.mac_table)?;
        require_capabilities()?;
        require_tcx()?;

        let pins = Pins::lock(&settings.pin_root)?;
        pins.settle()?;
        pins.create_dirs()?;
        let (adopted, resized) = match layout::compare(&layouts, &pins.maps())? {
            Pinned::Fits { present } => (present == layouts.len(), Vec::new()),
            Pinned::Resized(resized) => (true, resized),
        };
        if adopted {
            check_version(&Host::open(&pins.maps())?.meta()?, &pins.maps())?;
        }
        let (mut programs, maps) = if resized.is_empty() {
            {
                let programs = Programs::load(object, &layouts, &pins.maps())?;
                (programs, Maps::open(&pins.maps(), settings.mac_table)?)
            }
        } else {
            rebuild::resize(&pins, object, &layouts, &resized)?
        };
        if !adopted {
            maps.host.set_meta(&Meta::new(ABI_VERSION))?;
        }
        let links = programs.adopt(&pins)?;
        if !resized.is_empty() {
            pins.promote_next_maps()?;
        }
        let held = hold(&pins.maps())?;
        let object = settings.object.clone().ok_or(KernelError::NoObject)?;
        let mended = maps.mended;
        let opened = Opened { adopted, links, mended, resized };
        Ok((Self { maps, held, programs, pins, object, mac_table: settings.mac_table, layouts }, opened))
    }

    /// Reads everything back, and clears what a process that was killed half-way has left.
    pub fn installed(&mut self) -> Result<Dataplane, ApplyError> {
        self.maps.networks.retire_left()?;
        let mut installed = self.installed_but_macs()?;
        installed.fdb = self.maps.fdb.installed(&installed.networks)?;
        installed.seen = self.maps.seen.installed()?;
        Ok(installed)
    }

    /// Reads back what is small, without tables of MACs.
    pub fn installed_but_macs(&mut self) -> Result<Dataplane, ApplyError> {
        Ok(Dataplane {
            config: self.maps.host.config()?,
            vteps: self.maps.vteps.installed()?,
            senders: self.maps.vteps.installed_senders()?,
            local_ports: self.maps.ports.installed_local()?,
            ports: self.maps.ports.installed()?,
            networks: self.maps.networks.installed()?,
            neighbours: self.maps.addresses.installed_neighbours()?,
            allowed: self.maps.addresses.installed_allowed()?,
            ..Dataplane::default()
        })
    }

    /// Of the MACs that the kernel holds.
    pub fn digests(&self) -> Result<Digests, ApplyError> {
        self.maps.fdb.digests()
    }

    /// Carries out one step.
    pub fn apply(&mut self, step: &Step) -> Result<Applied, ApplyError> {
        let maps = &mut self.maps;
        let Maps { generations, vteps, networks, ports, fdb, .. } = maps;
        match step {
            Step::PutSenders(rows) => generations.around(|| vteps.put_senders(rows)),
            Step::RemoveSenders(keys) => generations.around(|| vteps.remove_senders(keys)),
            Step::PutNetworks(rows) => {
                for (vni, network) in rows {
                    fdb.bind(*vni, network.bd);
                }
                generations.around(|| networks.put(rows))
            }
            Step::RemoveNetworks(vnis) => generations.around(|| networks.remove(vnis)),
            Step::PutPorts(rows) => generations.around(|| ports.put(rows)),
            Step::RemovePorts(ids) => generations.around(|| ports.remove(ids)),
            Step::SetConfig(config) => maps.host.set_config(config),
            Step::PutVteps(rows) => maps.vteps.put(rows),
            Step::PutLocalPorts(rows) => maps.ports.put_local(rows),
            Step::PutDomains(rows) => {
                for (vni, bd) in rows {
                    maps.fdb.bind(*vni, *bd);
                }
                Ok(Applied::written(rows.len()))
            }
            Step::PutFdb(rows) => maps.fdb.put(rows),
            Step::RemoveFdb(keys) => maps.fdb.remove(keys),
            Step::RemoveLocalPorts(indices) => maps.ports.remove_local(indices),
            Step::RemoveVteps(indices) => maps.vteps.remove(indices),
            Step::PutNeighbours(rows) => maps.addresses.put_neighbours(rows),
            Step::RemoveNeighbours(keys) => maps.addresses.remove_neighbours(keys),
            Step::Allow(keys) => maps.addresses.allow(keys),
            Step::Forbid(keys) => maps.addresses.forbid(keys),
            Step::PutSeen(rows) => maps.seen.put(rows),
            Step::RemoveSeen(keys) => maps.seen.remove(keys),
        }
    }

    pub fn meta(&self) -> Result<Meta, ApplyError> {
        self.maps.host.meta()
    }

    pub fn set_meta(&self, meta: &Meta) -> Result<(), ApplyError> {
        self.maps.host.set_meta(meta)
    }

    /// Attaches a program at the ingress of an interface, after those that stand there. Does nothing if it is there.
    pub fn attach(&mut self, ifindex: u32, program: Program) -> Result<Attached, AttachError> {
        self.programs.attach(&self.pins, ifindex, program)
    }

    /// Whether it was attached.
    pub fn detach(&mut self, ifindex: u32, program: Program) -> Result<bool, AttachError> {
        self.programs.detach(&self.pins, ifindex, program)
    }

    /// Our programs at the interfaces that exist.
    pub fn attached(&self) -> Result<Vec<Attachment>, AttachError> {
        self.programs.attached()
    }

    /// Forgets the links whose interfaces are gone, and returns them.
    pub fn drop_severed(&mut self) -> Result<Vec<(u32, Program)>, AttachError> {
        self.programs.drop_severed(&self.pins)
    }

    /// Pins again what was unpinned behind our back: a BPF filesystem was unmounted and another one mounted. Forwarding
    /// went on meanwhile. Returns how many pins were missing.
    pub fn ensure_pinned(&mut self) -> Result<usize, KernelError> {
        if !self.pins.are_in_place() {
            self.pins.lock_again()?;
        }
        self.pins.create_dirs()?;
        let mut made = self.programs.pin_again(&self.pins)?;
        for (name, map) in &self.held {
            let pin = self.pins.maps().join(name);
            if !pin.exists() {
                map.pin(&pin).map_err(|source| pins::failed(&pin, source))?;
                made += 1;
            }
        }
        Ok(made)
    }

    /// The one reader of the programs' events; none at the second call. Needs a tokio runtime.
    pub fn take_events(&mut self) -> Result<Option<Events>, KernelError> {
        self.programs.take_events().map(Events::open).transpose().map_err(KernelError::Events)
    }

    /// Logs what programs that were built with `--debug-log` say, for as long as it is polled; none for a release
    /// object. Needs a tokio runtime.
    pub fn take_log(
        &mut self,
    ) -> Result<Option<impl Future<Output = io::Result<()>> + Send + use<>>, KernelError> {
        log::forward(self.programs.ebpf()).map_err(KernelError::Events)
    }

    pub fn fdb_entry(&self, key: &FdbKey) -> Result<Option<FdbValue>, ApplyError> {
        self.maps.fdb.lookup(key)
    }

    /// When learnt MACs were last seen.
    pub fn seen_times(&self) -> Result<SeenTimes, ApplyError> {
        self.maps.seen.times()
    }

    /// When a learnt MAC was last seen.
    pub fn seen_time(&self, key: &FdbKey) -> Result<Option<u32>, ApplyError> {
        self.maps.seen.time(key)
    }

    /// How full the bucketed MAC table is; none for the hash.
    pub fn mac_table_slots(&self) -> Option<Slots> {
        self.maps.fdb.slots()
    }

    /// The counters of a bridge domain by verdict code; those of domain 0 belong to no VNI.
    pub fn vni_stats(&self, bd: u32) -> Result<[Counter; VERDICTS_MAX], ApplyError> {
        self.maps.networks.stats(bd)
    }

    /// The same of networks that are gone, together: with them sums over all bridge domains never fall.
    pub fn past_stats(&self) -> Result<[Counter; VERDICTS_MAX], ApplyError> {
        self.maps.networks.past_stats()
    }

    pub fn port_stats(&self, local_port: u32) -> Result<PortStats, ApplyError> {
        self.maps.ports.stats(local_port)
    }

    pub fn vtep_stats(&self, index: u32) -> Result<VtepStats, ApplyError> {
        self.maps.vteps.stats(index)
    }

    /// Whether the programs hold a VTEP for silent, and have found it so no oftener than `expired` times.
    pub fn vtep_stays_silent(&self, index: u32, expired: u64) -> Result<bool, ApplyError> {
        Ok(!self.maps.vteps.oper_up(index)? && self.maps.bfd.heard(index)?.expired == expired)
    }

    /// Whether the programs hold a VTEP for alive.
    pub fn vtep_oper_up(&self, index: u32) -> Result<bool, ApplyError> {
        self.maps.vteps.oper_up(index)
    }

    /// Stops forwarding: detaches every program of ours and removes every pin. Returns how many pins there were.
    pub fn remove(self) -> Result<usize, KernelError> {
        let Self { maps, held, programs, pins, .. } = self;
        drop((maps, held, programs));
        remove_pins(&pins)
    }

    pub fn tracer(&self) -> Tracer {
        let (object, layouts) = (self.object.clone(), self.layouts.clone());
        Tracer { object, mac_table: self.mac_table, layouts, maps: self.pins.maps() }
    }

    pub fn port(&self, id: PortId) -> Result<Option<PortValue>, ApplyError> {
        self.maps.ports.lookup(id)
    }

    pub fn local_port(&self, index: u32) -> Result<Option<LocalPort>, ApplyError> {
        self.maps.ports.lookup_local(index)
    }

    pub fn network(&self, vni: u32) -> Result<Option<Network>, ApplyError> {
        self.maps.networks.lookup(vni)
    }

    pub fn vtep(&self, index: u32) -> Result<Option<VtepRow>, ApplyError> {
        self.maps.vteps.lookup(index)
    }

    /// The VTEP that may send into a VNI from an address.
    pub fn sender(&self, key: &VtepByIpKey) -> Result<Option<u32>, ApplyError> {
        self.maps.vteps.lookup_sender(key)
    }

    /// The one reader of the programs' copies of frames; none at the second call. Needs a tokio runtime.
    pub fn take_samples(&mut self) -> Result<Option<Samples>, KernelError> {
        self.programs.take_samples().map(Samples::open).transpose().map_err(KernelError::Events)
    }

    /// What the programs heard of a VTEP.
    pub fn bfd_heard(&self, vtep: u32) -> Result<BfdHeard, ApplyError> {
        self.maps.bfd.heard(vtep)
    }

    /// The sessions of BFD, by handles of their own.
    pub fn bfd(&self) -> Result<Bfd, ApplyError> {
        Bfd::open(&self.pins.maps())
    }

    /// The one reader of control packets; none at the second call. Needs a tokio runtime.
    pub fn take_bfd_packets(&mut self) -> Result<Option<BfdPackets>, KernelError> {
        self.programs.take_bfd().map(BfdPackets::open).transpose().map_err(KernelError::Events)
    }

    /// Says which frames the programs copy.
    pub fn set_capture(&self, settings: &CaptureSettings) -> Result<(), ApplyError> {
        self.maps.capture.set(settings)
    }

    pub fn capture_tally(&self) -> Result<Tally, ApplyError> {
        self.maps.capture.tally()
    }

    /// How many instructions the verifier walked to admit a program, of at most a million.
    pub fn verified_instructions(&self, program: Program) -> Result<u32, KernelError> {
        self.programs.verified_instructions(program)
    }

    /// A loaded program, for tests that call it from one of their own.
    pub fn program(&self, program: Program) -> Result<&ProgramFd, KernelError> {
        self.programs.program(program)
    }

    /// Runs a program on a built frame that is said to have come in at `ifindex`, an interface of the calling thread's
    /// network namespace. For tests and benches.
    pub fn test_run(
        &mut self,
        program: Program,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<TestRun, KernelError> {
        self.programs.test_run(program, frame, ifindex, repeat)
    }

    /// The same of an XDP program, on a frame with metadata in front of it, which takes of its headroom.
    pub fn test_run_behind(
        &mut self,
        program: Program,
        metadata: &[u8],
        frame: &[u8],
        ifindex: u32,
    ) -> Result<TestRun, KernelError> {
        self.programs.test_run_behind(program, metadata, frame, ifindex)
    }
}

/// Everything that [`Kernel::open`] would refuse, except what another agent has pinned. Touches nothing.
pub fn check(settings: &Settings) -> Vec<KernelError> {
    let object = settings.object.as_deref().ok_or(KernelError::NoObject).and_then(|object| {
        let parsed = aya_obj::Object::parse(object).map_err(KernelError::Parse)?;
        layout::layouts(&parsed, &settings.sizes, settings.mac_table).map(drop)
    });
    let checks = [object, require_capabilities(), require_tcx(), pins::require_bpffs(&settings.pin_root)];
    checks.into_iter().filter_map(Result::err).collect()
}

/// [`Kernel::remove`] for a host on which no agent runs. Nothing is loaded.
pub fn remove(pin_root: &Path) -> Result<usize, KernelError> {
    if !pin_root.exists() {
        return Ok(0);
    }
    remove_pins(&Pins::lock(pin_root)?)
}

fn remove_pins(pins: &Pins) -> Result<usize, KernelError> {
    programs::detach_pinned(pins)?;
    pins.remove_all()
}

/// All maps but the events, which only the loader can hand over.
struct Maps {
    host: Host,
    vteps: Vteps,
    bfd: Bfd,
    networks: Networks,
    ports: Ports,
    fdb: Fdb,
    addresses: Addresses,
    seen: Seen,
    capture: Capture,
    generations: Generations,
    mended: Recovered,
}

impl Maps {
    fn open(maps: &Path, mac_table: MacTable) -> Result<Self, ApplyError> {
        let networks = Networks::open(maps)?;
        let (mut fdb, mended) = Fdb::open(maps, mac_table)?;
        fdb.adopt(networks.domains()?);
        Ok(Self {
            host: Host::open(maps)?,
            vteps: Vteps::open(maps)?,
            bfd: Bfd::open(maps)?,
            networks,
            ports: Ports::open(maps)?,
            fdb,
            mended,
            addresses: Addresses::open(maps)?,
            seen: Seen::open(maps)?,
            capture: Capture::open(maps)?,
            generations: Generations::open(maps)?,
        })
    }

    /// The name of the map in which the entries have no room, if there is one.
    fn copy_to(&mut self, other: &mut Self) -> Result<Option<&'static str>, ApplyError> {
        if let Some(config) = self.host.config()? {
            other.host.set_config(&config)?;
        }
        other.host.set_meta(&self.host.meta()?)?;
        if let Some(full) = self.vteps.copy_to(&other.vteps)? {
            return Ok(Some(full));
        }
        if !self.bfd.copy_to(&other.bfd)? {
            return Ok(Some(map::BFD_SESSION));
        }
        if let Some(full) = self.ports.copy_to(&other.ports)? {
            return Ok(Some(full));
        }
        if let Some(full) = self.addresses.copy_to(&other.addresses)? {
            return Ok(Some(full));
        }
        if let Some(full) = self.seen.copy_to(&other.seen)? {
            return Ok(Some(full));
        }
        if !self.fdb.copy_to(&mut other.fdb, &self.networks.installed()?)? {
            return Ok(Some(other.fdb.map_name()));
        }
        self.networks.copy_to(&other.networks)
    }
}

fn hold(maps: &Path) -> Result<Vec<(&'static str, AnyMap)>, KernelError> {
    let hold = |map| {
        let held = AnyMap::open(&maps.join(map));
        held.map(|held| (map, held)).map_err(|source| KernelError::Map { call: "opening", map, source })
    };
    map::ALL.into_iter().map(hold).collect()
}

fn check_version(meta: &Meta, maps: &Path) -> Result<(), KernelError> {
    // Zero: a first start was cut short before it wrote it.
    if meta.abi_version == ABI_VERSION || meta.abi_version == 0 {
        return Ok(());
    }
    Err(KernelError::OtherVersion { path: maps.to_owned(), found: meta.abi_version.to_string() })
}

/// Asked first, for what lacks them fails in ways that look like an old kernel.
fn require_capabilities() -> Result<(), KernelError> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    // `bpf_capable` and `perfmon_capable` in the kernel's `capability.h`.
    let held = |capability: &Capability| {
        has(*capability) || (*capability != Capability::CAP_NET_ADMIN && has(Capability::CAP_SYS_ADMIN))
    };
    let missing: Vec<String> =
        CAPABILITIES.iter().filter(|capability| !held(capability)).map(ToString::to_string).collect();
    if missing.is_empty() { Ok(()) } else { Err(KernelError::Capabilities { missing }) }
}

/// Asks for the programs at the loopback interface's tcx ingress, which an older kernel does not know.
fn require_tcx() -> Result<(), KernelError> {
    const LOOPBACK: u32 = 1;
    match bpf::tcx_programs(LOOPBACK, Direction::Ingress) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err(KernelError::TooOld { feature: "tcx, a multi-program traffic control hook", since: "6.6" })
        }
        _ => Ok(()),
    }
}
