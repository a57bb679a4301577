//! The maps, and the typed lookups that the paths use. Sizes here are defaults: the agent sets those of its
//! configuration before it loads the object.
#![expect(
    unsafe_code,
    reason = "a map element is reached through a raw pointer; each use says why it is sound"
)]

use aya_ebpf::Global;
use aya_ebpf::bindings::bpf_timer;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_map_lookup_percpu_elem, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start,
};
use aya_ebpf::macros::btf_map;
use vtep_abi::global::{MAC_TABLE_BUCKETED, MAC_TABLE_HASH};
use vtep_abi::{
    ALLOWED_MAX, AddrBytes, AllowedKey, AllowedValue, BfdHeard, BfdReceived, BfdScratch, BfdSession,
    CaptureCpu, CaptureSettings, Captured, Config, Event, FdbKey, FdbValue, FloodKey, FloodScratch,
    FloodValue, Generation, LocalPort, MacKey, Meta, NEIGHBOURS_MAX, NeighbourKey, NeighbourValue,
    PortBuckets, PortKey, PortStats, PortValue, RECENT_PORTS, RECENT_SENDERS, RecentPort, RecentSender,
    SEEN_MARKS, SeenMark, SeenValue, VERDICTS_MAX, Verdict, VniBuckets, VniKey, VniStats, VniValue, VtepAdj,
    VtepAdmin, VtepByIpKey, VtepByIpValue, VtepOper, VtepStats, WitnessMarks,
};

use crate::context::Frame;
use crate::header::Mac;
use crate::mactab::{self, omit};

/// `BPF_F_NO_PREALLOC` of the kernel's `bpf.h`: few hosts learn as many MACs as there is room for.
const NO_PREALLOC: usize = 1;

/// The helpers that change a frame's length are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Which of the two tables of MACs there is. The verifier knows it, and drops the code of the other.
#[unsafe(no_mangle)]
static MAC_TABLE: Global<u32> = Global::new(MAC_TABLE_HASH);

#[btf_map]
static FDB: HashMap<FdbKey, FdbValue, 1_000_000> = HashMap::new();
#[btf_map]
static VTEP_ADJ: Array<VtepAdj, 8192> = Array::new();
#[btf_map]
static VTEP_ADMIN: Array<VtepAdmin, 4096> = Array::new();
#[btf_map]
static VTEP_OPER: Array<VtepOper, 4096> = Array::new();
#[btf_map]
static VTEP_BY_IP: HashMap<VtepByIpKey, VtepByIpValue, 65_536> = HashMap::new();
#[btf_map]
static VNI: HashMap<VniKey, VniValue, 1024> = HashMap::new();
#[btf_map]
static FLOOD: HashMap<FloodKey, FloodValue, 2048> = HashMap::new();
#[btf_map]
static PORT: HashMap<PortKey, PortValue, 4096> = HashMap::new();
#[btf_map]
static LOCAL_PORT: Array<LocalPort, 4096> = Array::new();
#[btf_map]
static STATS: PerCpuArray<VniStats, 1024> = PerCpuArray::new();
#[btf_map]
static VTEP_STATS: PerCpuArray<VtepStats, 4096> = PerCpuArray::new();
#[btf_map]
static PORT_STATS: PerCpuArray<PortStats, 4096> = PerCpuArray::new();
/// Of [`Event`]s. The type parameter would declare a value size, which libbpf refuses for a ring buffer.
#[btf_map]
static EVENTS: RingBuf<(), 262_144> = RingBuf::new();
/// Read and written by agents only; a map of the object so that it is typed, sized and pinned like the others.
#[btf_map]
static META: Array<Meta, 1> = Array::new();
#[btf_map]
static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
static NEIGH: HashMap<NeighbourKey, NeighbourValue, { NEIGHBOURS_MAX as usize }> = HashMap::new();
#[btf_map]
static ALLOWED: HashMap<AllowedKey, AllowedValue, { ALLOWED_MAX as usize }> = HashMap::new();
#[btf_map]
static SEEN: HashMap<FdbKey, SeenValue, 1_000_000, NO_PREALLOC> = HashMap::new();
#[btf_map]
static SEEN_CPU: PerCpuArray<SeenMark, { SEEN_MARKS as usize }> = PerCpuArray::new();
#[btf_map]
static GENERATION: Array<Generation, 1> = Array::new();
#[btf_map]
static PORT_CPU: PerCpuArray<RecentPort, { RECENT_PORTS as usize }> = PerCpuArray::new();
#[btf_map]
static SENDER_CPU: PerCpuArray<RecentSender, { RECENT_SENDERS as usize }> = PerCpuArray::new();
#[btf_map]
static PORT_BUCKETS: Array<PortBuckets, 4096> = Array::new();
#[btf_map]
static VNI_BUCKETS: Array<VniBuckets, 1024> = Array::new();
#[btf_map]
static WITNESSED: Array<WitnessMarks, 4096> = Array::new();
#[btf_map]
static CAPTURE_SET: Array<CaptureSettings, 1> = Array::new();
#[btf_map]
static CAPTURE_CPU: PerCpuArray<CaptureCpu, 1> = PerCpuArray::new();
/// Of [`Captured`]; the type parameter as for `EVENTS`.
#[btf_map]
static CAPTURE: RingBuf<(), 1_048_576> = RingBuf::new();

#[btf_map]
static BFD_SESSION: Array<BfdSession, 4096> = Array::new();
#[btf_map]
static BFD_HEARD: Array<BfdHeard, 4096> = Array::new();
/// Of [`BfdReceived`]; the type parameter as for `EVENTS`.
#[btf_map]
static BFD_RECEIVED: RingBuf<(), 262_144> = RingBuf::new();
#[btf_map]
static BFD_SCRATCH: PerCpuArray<BfdScratch, 1> = PerCpuArray::new();
#[btf_map]
static FLOOD_SCRATCH: PerCpuArray<FloodScratch, 1> = PerCpuArray::new();

/// Set to 1 before the verifier sees it, in the agent's instance for traces. In the one that forwards the verifier
/// knows the zero and removes what depends on it.
#[unsafe(no_mangle)]
static TRACING: u8 = 0;

/// Where a MAC of a network lives; `bd` is the bridge domain of `vni`.
#[inline(always)]
pub(crate) fn lookup<F: Frame>(bd: u32, vni: u32, mac: Mac) -> Option<FdbValue> {
    if MAC_TABLE.load() == MAC_TABLE_BUCKETED {
        let key = MacKey::of_mac_word(bd, mac.word())?;
        return value(if F::APART { find_apart(key) } else { mactab::find::<{ omit::NOTHING }>(key) });
    }
    // SAFETY: the element may be rewritten while it is copied only if it was deleted and its memory reused; agents
    // reuse what it names (VTEP and port indices) after a grace period only.
    let found = unsafe { FDB.get(FdbKey::new(vni, mac.bytes())) }.copied();
    // By its word, as the other table has it: what joins both must not read a value that was never set.
    value(found.map_or(0, FdbValue::word))
}

#[inline(never)]
fn find_apart(key: MacKey) -> u64 {
    mactab::find::<{ omit::NOTHING }>(key)
}

#[inline(always)]
fn value(word: u64) -> Option<FdbValue> {
    if word == 0 { None } else { Some(FdbValue::from_word(word)) }
}

#[inline(always)]
pub(crate) fn port(ifindex: u32, vlan: u16) -> Option<PortValue> {
    // SAFETY: as for `lookup`.
    let &PortValue { vni, bd, local_port, flags, flood, buckets, pad } =
        unsafe { PORT.get(PortKey::new(ifindex, vlan)) }?;
    // One by one: a copy of the whole is a call and a loop over bytes.
    Some(PortValue { vni, bd, local_port, flags, flood, buckets, pad })
}

#[inline(always)]
pub(crate) fn network(vni: u32) -> Option<VniValue> {
    // SAFETY: as for `lookup`.
    unsafe { VNI.get(vni) }.copied()
}

/// Not written again before it is deleted, and its memory is reused only when no program can be in it any more.
#[inline(always)]
pub(crate) fn flood_list(vni: u32, generation: u16) -> Option<&'static FloodValue> {
    // SAFETY: see above.
    unsafe { FLOOD.get(FloodKey::new(vni, generation)) }
}

#[inline(always)]
pub(crate) fn with_flood_scratch<T>(update: impl FnOnce(&mut FloodScratch) -> T) -> Option<T> {
    // SAFETY: the pointer is this CPU's element, and programs on one CPU do not preempt each other at tcx.
    FLOOD_SCRATCH.get_ptr_mut(0).map(|scratch| update(unsafe { &mut *scratch }))
}

/// The VTEP with this address if it takes part in `vni`; VNI 0 asks for any.
#[inline(always)]
pub(crate) fn sender(vni: u32, address: [u8; 16]) -> Option<u32> {
    // SAFETY: as for `lookup`.
    unsafe { VTEP_BY_IP.get(VtepByIpKey { vni, address }) }.map(|sender| sender.vtep)
}

/// A bound port of `vni`: an index that was reused for another network is none.
#[inline(always)]
pub(crate) fn local_port(index: u32, vni: u32) -> Option<&'static LocalPort> {
    LOCAL_PORT.get(index).filter(|port| port.ifindex != 0 && port.vni == vni)
}

/// Whether a VTEP may be sent to at all: the agent's word.
#[inline(always)]
pub(crate) fn vtep_is_up(vtep: u32) -> bool {
    VTEP_ADMIN.get(vtep).is_some_and(|admin| admin.is_up())
}

/// Whether, beside that, nothing speaks against it.
#[inline(always)]
pub(crate) fn vtep_is_sound(vtep: u32) -> bool {
    let admin = VTEP_ADMIN.get(vtep).is_some_and(|admin| admin.is_up() && !admin.is_suspect());
    admin && VTEP_OPER.get(vtep).is_some_and(|oper| oper.is_up())
}

#[inline(always)]
pub(crate) fn adjacency(vtep: u32) -> Option<&'static VtepAdj> {
    let admin = VTEP_ADMIN.get(vtep)?;
    VTEP_ADJ.get(admin.adj_index(vtep))
}

/// The same of a VTEP that may be sent to at all, and where it is.
#[inline(always)]
pub(crate) fn adjacency_if_up(vtep: u32) -> Option<(u32, &'static VtepAdj)> {
    let index = VTEP_ADMIN.get(vtep).filter(|admin| admin.is_up())?.adj_index(vtep);
    Some((index, VTEP_ADJ.get(index)?))
}

/// The one that is there if it serves, or else the VTEP's other one, for as long as the agent does not write a third one.
#[inline(always)]
pub(crate) fn adjacency_at(index: u32, serves: impl Fn(&VtepAdj) -> bool) -> Option<&'static VtepAdj> {
    let other = u32::from(!VTEP_ADJ.get(index).is_some_and(&serves));
    // One look-up for both: the verifier would walk what follows once for each.
    VTEP_ADJ.get(index ^ other).filter(|adj| serves(adj))
}

#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

#[inline(always)]
pub(crate) fn count(bd: u32, verdict: Verdict, bytes: u32) {
    // The compiler knows that a verdict is in bounds, the verifier wants to see it of one that a call returned.
    let code = core::hint::black_box(verdict as u32) as usize;
    if code >= VERDICTS_MAX {
        return;
    }
    if let Some(stats) = STATS.get_ptr_mut(bd) {
        // SAFETY: the pointer is this CPU's element, programs on one CPU do not preempt each other at tcx, and `code`
        // is in bounds.
        unsafe { &mut (*stats).verdicts[code] }.count(bytes);
    }
}

#[inline(always)]
pub(crate) fn with_vtep_stats(vtep: u32, update: impl FnOnce(&mut VtepStats)) {
    if let Some(stats) = VTEP_STATS.get_ptr_mut(vtep) {
        // SAFETY: the pointer is this CPU's element, and programs on one CPU do not preempt each other at tcx.
        update(unsafe { &mut *stats });
    }
}

#[inline(always)]
pub(crate) fn with_port_stats(local_port: u32, update: impl FnOnce(&mut PortStats)) {
    if let Some(stats) = PORT_STATS.get_ptr_mut(local_port) {
        // SAFETY: as for `with_vtep_stats`.
        update(unsafe { &mut *stats });
    }
}

#[inline(never)]
pub(crate) fn count_from_port_apart(local_port: u32, bytes: u32, dropped: bool) {
    count_from_port(local_port, bytes, dropped);
}

#[inline(always)]
pub(crate) fn count_from_port(local_port: u32, bytes: u32, dropped: bool) {
    with_port_stats(local_port, |stats| {
        stats.received.count(bytes);
        if dropped {
            stats.dropped.count(bytes);
        }
    });
}

#[inline(always)]
pub(crate) fn count_to_port(local_port: u32, bytes: u32) {
    with_port_stats(local_port, |stats| stats.sent.count(bytes));
}

/// A frame that the port's interface would not have taken.
#[inline(always)]
pub(crate) fn count_too_big(local_port: u32) {
    with_port_stats(local_port, |stats| stats.too_big += 1);
}

#[inline(always)]
pub(crate) fn count_no_headroom(local_port: u32) {
    with_port_stats(local_port, |stats| stats.no_headroom += 1);
}

/// The MAC that answers for an address.
#[inline(always)]
pub(crate) fn neighbour(vni: u32, address: AddrBytes) -> Option<[u8; 6]> {
    // SAFETY: as for `lookup`.
    unsafe { NEIGH.get(NeighbourKey { vni, address }) }.map(|neighbour| neighbour.mac)
}

#[inline(always)]
pub(crate) fn is_allowed(key: AllowedKey) -> bool {
    // SAFETY: the value is not read.
    unsafe { ALLOWED.get(key) }.is_some()
}

/// A token bucket, which all CPUs share.
#[derive(Clone, Copy)]
pub(crate) struct Bucket(*mut u64);

impl Bucket {
    #[inline(always)]
    pub(crate) fn read(self) -> u64 {
        // SAFETY: the pointer is that of an aligned field of a map element, which outlives the program.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn write(self, value: u64) {
        // SAFETY: see `read`. A store of 8 aligned bytes is one.
        unsafe { self.0.write_volatile(value) }
    }
}

/// Of an interface, the bucket of frames that are flooded.
#[inline(always)]
pub(crate) fn port_flood_bucket(index: u32) -> Option<Bucket> {
    // SAFETY: only the field's address is taken; so for the other buckets.
    PORT_BUCKETS.get_ptr_mut(index).map(|buckets| Bucket(unsafe { &raw mut (*buckets).flood_ns }))
}

/// Of an interface, the bucket of ICMP errors.
#[inline(always)]
pub(crate) fn too_big_bucket(index: u32) -> Option<Bucket> {
    // SAFETY: see `port_flood_bucket`.
    PORT_BUCKETS.get_ptr_mut(index).map(|buckets| Bucket(unsafe { &raw mut (*buckets).too_big_ns }))
}

/// Of an interface, the bucket of events.
#[inline(always)]
pub(crate) fn events_bucket(index: u32) -> Option<Bucket> {
    // SAFETY: see `port_flood_bucket`.
    PORT_BUCKETS.get_ptr_mut(index).map(|buckets| Bucket(unsafe { &raw mut (*buckets).events_ns }))
}

/// Of an interface, the bucket of learnt MACs.
#[inline(always)]
pub(crate) fn port_learn_bucket(index: u32) -> Option<Bucket> {
    // SAFETY: see `port_flood_bucket`.
    PORT_BUCKETS.get_ptr_mut(index).map(|buckets| Bucket(unsafe { &raw mut (*buckets).learn_ns }))
}

/// Of a VNI, the bucket of MACs that are learnt from the underlay.
#[inline(always)]
pub(crate) fn vni_learn_bucket(bd: u32) -> Option<Bucket> {
    // SAFETY: see `port_flood_bucket`.
    VNI_BUCKETS.get_ptr_mut(bd).map(|buckets| Bucket(unsafe { &raw mut (*buckets).learn_ns }))
}

/// Of a VNI, the bucket of frames that are flooded.
#[inline(always)]
pub(crate) fn vni_flood_bucket(bd: u32) -> Option<Bucket> {
    // SAFETY: see `port_flood_bucket`.
    VNI_BUCKETS.get_ptr_mut(bd).map(|buckets| Bucket(unsafe { &raw mut (*buckets).flood_ns }))
}

/// Whether nothing was told of this MAC's mark in the present unit of time, of which the caller tells then. CPUs that ask at
/// the same time may both tell.
#[inline(always)]
pub(crate) fn is_witness_due(vtep: u32, vni: u32, mac: u64, now: u32) -> bool {
    let Some(marks) = WITNESSED.get_ptr_mut(vtep) else { return false };
    // SAFETY: the pointer is that of a map element, which outlives the program; its fields are aligned, and loads and
    // stores of 4 bytes are one each. The index is below their count.
    unsafe {
        let mark = (&raw mut (*marks).at).cast::<u32>().add(WitnessMarks::of(vni, mac));
        if mark.read_volatile() == now {
            return false;
        }
        mark.write_volatile(now);
    }
    true
}

/// When a learnt MAC was last seen.
#[derive(Clone, Copy)]
pub(crate) struct Seen(*mut SeenValue);

impl Seen {
    #[inline(always)]
    pub(crate) fn at(self) -> u32 {
        // SAFETY: see `write`.
        unsafe { (&raw const (*self.0).at).read_volatile() }
    }

    /// Whether the MAC was learnt where it is seen; the time is written only then.
    #[inline(always)]
    pub(crate) fn write(self, seen: SeenValue) -> bool {
        // SAFETY: the element outlives the program's run, its fields are aligned, and loads and stores of 4 bytes are one
        // each. An element that is freed and used again meanwhile gets the time of another MAC, now.
        unsafe {
            if (&raw const (*self.0).target).read_volatile() != seen.target {
                return false;
            }
            (&raw mut (*self.0).at).write_volatile(seen.at);
        }
        true
    }
}

#[inline(always)]
pub(crate) fn seen(key: &FdbKey) -> Option<Seen> {
    SEEN.get_ptr_mut(key).map(Seen)
}

/// What this CPU wrote last of the MACs that share a mark.
#[inline(always)]
pub(crate) fn seen_mark(at: u32) -> Option<&'static mut SeenMark> {
    // SAFETY: the pointer is this CPU's element, programs on one CPU do not preempt each other at their hooks, and the one
    // caller lets it go.
    SEEN_CPU.get_ptr_mut(at).map(|mark| unsafe { &mut *mark })
}

/// Under which what is looked up next may be kept; 0: not at all.
#[inline(always)]
pub(crate) fn generation() -> u64 {
    let Some(generation) = GENERATION.get_ptr(0) else { return 0 };
    // SAFETY: the pointer is that of an element, aligned. Volatile, and before the lookup: a change between the two must show.
    let generation = Generation { number: unsafe { (&raw const (*generation).number).read_volatile() } };
    if generation.is_settled() { generation.number } else { 0 }
}

/// What this CPU looked up last of the ports that share an element.
#[inline(always)]
pub(crate) fn recent_port(ifindex: u32) -> Option<&'static mut RecentPort> {
    // SAFETY: as for `seen_mark`.
    PORT_CPU.get_ptr_mut(ifindex % RECENT_PORTS).map(|port| unsafe { &mut *port })
}

/// In the order that the code has, for whoever interrupts this CPU between.
#[inline(always)]
pub(crate) fn publish(generation: &mut u64, number: u64) {
    // SAFETY: a reference is valid.
    unsafe { core::ptr::write_volatile(generation, number) }
}

/// The same for senders.
#[inline(always)]
pub(crate) fn recent_sender(at: u32) -> Option<&'static mut RecentSender> {
    // SAFETY: as for `seen_mark`.
    SENDER_CPU.get_ptr_mut(at % RECENT_SENDERS).map(|sender| unsafe { &mut *sender })
}

/// A full ring loses the event, not the frame; the next frame brings it again.
#[inline(always)]
pub(crate) fn report(event: Event) {
    let _ = EVENTS.output_untyped::<Event>(event, 0);
}

#[inline(always)]
pub(crate) fn is_tracing() -> bool {
    // SAFETY: the address is that of a static. The read is volatile for the compiler must not rely on its value.
    unsafe { core::ptr::read_volatile(&raw const TRACING) != 0 }
}

#[inline(always)]
pub(crate) fn capture_settings() -> Option<&'static CaptureSettings> {
    CAPTURE_SET.get(0)
}

#[inline(always)]
pub(crate) fn capture_cpu() -> Option<&'static mut CaptureCpu> {
    // SAFETY: the pointer is this CPU's element, and programs on one CPU do not preempt each other at their hooks; each
    // caller lets it go before it calls another.
    CAPTURE_CPU.get_ptr_mut(0).map(|cpu| unsafe { &mut *cpu })
}

/// Whether the ring had room.
#[inline(always)]
pub(crate) fn capture(fill: impl FnOnce(&mut Captured)) -> bool {
    let Some(mut entry) = CAPTURE.reserve_untyped::<Captured>(0) else { return false };
    // SAFETY: the ring's memory holds zeros or what was in it before, and any bytes make integers.
    fill(unsafe { &mut *entry.as_mut_ptr() });
    entry.submit(0);
    true
}

#[inline(always)]
pub(crate) fn bfd_session(vtep: u32) -> Option<&'static BfdSession> {
    BFD_SESSION.get(vtep)
}

/// What was heard of a VTEP. CPUs may write at the same time: each word is whole, and they say nearly the same.
#[inline(always)]
pub(crate) fn with_heard<T>(vtep: u32, update: impl FnOnce(&mut BfdHeard) -> T) -> Option<T> {
    // SAFETY: the pointer is that of an element, which outlives the program.
    BFD_HEARD.get_ptr_mut(vtep).map(|heard| update(unsafe { &mut *heard }))
}

/// Has `expired` called when nothing called this again for that long. The timer lives as long as the map, which is pinned.
#[inline(always)]
pub(crate) fn expect_again(vtep: u32, within_ns: u64, expired: Expired) {
    const CLOCK_MONOTONIC: u64 = 1;
    let Some(heard) = BFD_HEARD.get_ptr_mut(vtep) else { return };
    // SAFETY: the timer is a field of the element, which belongs to the map that is named. The kernel refuses to
    // initialize it twice, which changes nothing; the callback is set each time, for that of an older program goes with it.
    unsafe {
        let timer: *mut bpf_timer = (&raw mut (*heard).timer).cast();
        let _ = bpf_timer_init(timer, (&raw const BFD_HEARD).cast_mut().cast(), CLOCK_MONOTONIC);
        if bpf_timer_set_callback(timer, expired as *mut c_void) == 0 {
            let _ = bpf_timer_start(timer, within_ns, 0);
        }
    }
}

/// From the timer's own callback, which is called once more.
#[inline(always)]
pub(crate) fn wait_again(heard: &mut BfdHeard) {
    // SAFETY: as in `expect_again`; the callback runs because the timer was initialized.
    let _ = unsafe { bpf_timer_start((&raw mut heard.timer).cast(), heard.detect_ns, 0) };
}

/// By all CPUs.
#[inline(always)]
pub(crate) fn received_frames(vtep: u32) -> u64 {
    /// Beyond them nothing is summed: the verifier goes through every round.
    const CPUS_MAX: u32 = 1024;
    let mut frames = 0u64;
    for cpu in 0..CPUS_MAX {
        // SAFETY: the kernel returns null beyond its CPUs, and else an element, which another CPU may count in meanwhile.
        let stats = unsafe {
            let map = (&raw const VTEP_STATS).cast_mut().cast();
            bpf_map_lookup_percpu_elem(map, (&raw const vtep).cast(), cpu).cast::<VtepStats>().as_ref()
        };
        let Some(stats) = stats else { break };
        frames = frames.wrapping_add(stats.received.packets);
    }
    frames
}

/// Called with the map, the VTEP's index, and what was heard of it.
pub(crate) type Expired = extern "C" fn(*mut c_void, &u32, &mut BfdHeard) -> u64;

/// Whether it was up before. A trace takes nobody down: it has timers of its own, and the live byte.
#[inline(always)]
pub(crate) fn take_down(vtep: u32) -> bool {
    if is_tracing() {
        return false;
    }
    let Some(oper) = VTEP_OPER.get_ptr_mut(vtep) else { return false };
    // SAFETY: the pointer is that of an element of one byte.
    unsafe {
        let was_up = (*oper).is_up();
        (*oper).bits |= VtepOper::DOWN;
        was_up
    }
}

#[inline(always)]
pub(crate) fn bfd_scratch() -> Option<&'static mut BfdScratch> {
    // SAFETY: the pointer is this CPU's element, programs on one CPU do not preempt each other at tcx, and each run asks
    // for it once.
    BFD_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// A full ring loses the packet; the peer sends another.
#[inline(always)]
pub(crate) fn hand_up(received: &BfdReceived) {
    let _ = BFD_RECEIVED.output_untyped::<BfdReceived>(received, 0);
}
