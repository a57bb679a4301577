//! What each map must look like: type, key and value as the ABI says, room as configured, flags as the object has them.

use std::path::Path;

use aya_obj::generated::{bpf_map_info, bpf_map_type};
use bytemuck::Pod;
use vtep_abi::{
    ALLOWED_MAX, AllowedKey, AllowedValue, BfdHeard, BfdScratch, BfdSession, CaptureCpu, CaptureSettings,
    Config, FdbKey, FdbValue, FloodKey, FloodScratch, FloodValue, Generation, LocalPort, MacBucket,
    MacTabControl, Meta, NEIGHBOURS_MAX, NeighbourKey, NeighbourValue, PortBuckets, PortKey, PortStats,
    PortValue, RECENT_PORTS, RECENT_SENDERS, RecentPort, RecentSender, SEEN_MARKS, SeenMark, SeenValue,
    VniBuckets, VniKey, VniStats, VniValue, VtepAdj, VtepAdmin, VtepByIpKey, VtepByIpValue, VtepOper,
    VtepStats, WitnessMarks, map,
};

use super::bpf::AnyMap;
use super::error::KernelError;
use super::mactab::buckets_for;
use super::{MacTable, Sizes};

/// The layout of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    kind: bpf_map_type,
    key_size: u32,
    value_size: u32,
    pub(super) capacity: u32,
    flags: u32,
}

/// How the pinned maps stand to the wanted ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// All that are there fit. After a first start that was cut short some may be missing.
    Fits { present: usize },
    /// These have room for another number of entries: name, room.
    Resized(Vec<(&'static str, u32)>),
}

/// The wanted maps. Refuses an object that was built for another ABI.
pub(super) fn layouts(
    object: &aya_obj::Object,
    sizes: &Sizes,
    mac_table: MacTable,
) -> Result<Vec<Layout>, KernelError> {
    let mut layouts = Vec::with_capacity(map::ALL.len());
    for mut layout in shapes(sizes, mac_table) {
        let built = object
            .maps
            .get(layout.name)
            .ok_or_else(|| KernelError::Object { what: format!("map {}", layout.name) })?;
        layout.flags = built.map_flags();
        if layout.kind == bpf_map_type::BPF_MAP_TYPE_RINGBUF {
            layout.capacity = built.max_entries();
        }
        let found = (built.map_type(), built.key_size(), built.value_size());
        let expected = (layout.kind as u32, layout.key_size, layout.value_size);
        if found != expected {
            let what = format!("map {} with (type, key, value) {expected:?}; it has {found:?}", layout.name);
            return Err(KernelError::Object { what });
        }
        layouts.push(layout);
    }
    Ok(layouts)
}

/// Compares before the first access: the kernel copies as many bytes as the pinned map has, whatever its reader thinks.
pub(super) fn compare(layouts: &[Layout], maps: &Path) -> Result<Pinned, KernelError> {
    let (mut present, mut resized) = (0, Vec::new());
    for layout in layouts {
        let pin = maps.join(layout.name);
        if !pin.exists() {
            continue;
        }
        let found = AnyMap::open(&pin)
            .and_then(|map| map.facts())
            .map_err(|source| KernelError::Path { path: pin, source })?;
        layout.check(&found)?;
        present += 1;
        if found.max_entries != layout.capacity {
            resized.push((layout.name, found.max_entries));
        }
    }
    Ok(if resized.is_empty() { Pinned::Fits { present } } else { Pinned::Resized(resized) })
}

impl Layout {
    fn check(&self, found: &bpf_map_info) -> Result<(), KernelError> {
        let fields = [
            ("type", found.type_, self.kind as u32),
            ("key size", found.key_size, self.key_size),
            ("value size", found.value_size, self.value_size),
            ("flags", found.map_flags, self.flags),
        ];
        match fields.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(()),
            Some((field, found, expected)) => Err(KernelError::Layout {
                map: self.name.to_owned(),
                field,
                found: found.to_string(),
                expected: expected.to_string(),
            }),
        }
    }
}

fn shapes(sizes: &Sizes, mac_table: MacTable) -> [Layout; 35] {
    use bpf_map_type::{
        BPF_MAP_TYPE_ARRAY as ARRAY, BPF_MAP_TYPE_HASH as HASH, BPF_MAP_TYPE_PERCPU_ARRAY as PER_CPU,
        BPF_MAP_TYPE_RINGBUF as RING,
    };
    // Index 0 of the arrays means none.
    let vteps = sizes.vteps_max + 1;
    // The table that is not in use is as small as a map can be.
    let (hashed, buckets) = match mac_table {
        MacTable::Bucketed => (1, buckets_for(sizes.macs_max)),
        MacTable::Hash => (sizes.macs_max, 1),
    };
    [
        shape::<FdbKey, FdbValue>(map::FDB, HASH, hashed),
        shape::<u32, MacBucket>(map::MACTAB, ARRAY, buckets),
        shape::<u32, MacTabControl>(map::MACCTL, ARRAY, 1),
        shape::<u32, VtepAdj>(map::VTEP_ADJ, ARRAY, 2 * vteps),
        shape::<u32, VtepAdmin>(map::VTEP_ADMIN, ARRAY, vteps),
        shape::<u32, VtepOper>(map::VTEP_OPER, ARRAY, vteps),
        shape::<VtepByIpKey, VtepByIpValue>(map::VTEP_BY_IP, HASH, sizes.senders_max),
        shape::<VniKey, VniValue>(map::VNI, HASH, sizes.vnis_max),
        shape::<FloodKey, FloodValue>(map::FLOOD, HASH, sizes.flood_max),
        shape::<PortKey, PortValue>(map::PORT, HASH, sizes.ports_max),
        shape::<u32, LocalPort>(map::LOCAL_PORT, ARRAY, sizes.ports_max + 1),
        shape::<u32, VniStats>(map::STATS, PER_CPU, sizes.vnis_max + 2),
        shape::<u32, VtepStats>(map::VTEP_STATS, PER_CPU, vteps),
        shape::<u32, PortStats>(map::PORT_STATS, PER_CPU, sizes.ports_max + 1),
        Layout { name: map::EVENTS, kind: RING, key_size: 0, value_size: 0, capacity: 0, flags: 0 },
        shape::<u32, Meta>(map::META, ARRAY, 1),
        shape::<u32, Config>(map::CONFIG, ARRAY, 1),
        shape::<u32, CaptureSettings>(map::CAPTURE_SET, ARRAY, 1),
        shape::<u32, CaptureCpu>(map::CAPTURE_CPU, PER_CPU, 1),
        Layout { name: map::CAPTURE, kind: RING, key_size: 0, value_size: 0, capacity: 0, flags: 0 },
        shape::<u32, PortBuckets>(map::PORT_BUCKETS, ARRAY, sizes.ports_max + 1),
        shape::<u32, VniBuckets>(map::VNI_BUCKETS, ARRAY, sizes.vnis_max + 1),
        shape::<u32, WitnessMarks>(map::WITNESSED, ARRAY, vteps),
        shape::<NeighbourKey, NeighbourValue>(map::NEIGH, HASH, NEIGHBOURS_MAX),
        shape::<AllowedKey, AllowedValue>(map::ALLOWED, HASH, ALLOWED_MAX),
        shape::<FdbKey, SeenValue>(map::SEEN, HASH, sizes.macs_max),
        shape::<u32, SeenMark>(map::SEEN_CPU, PER_CPU, SEEN_MARKS),
        shape::<u32, BfdSession>(map::BFD_SESSION, ARRAY, vteps),
        shape::<u32, BfdHeard>(map::BFD_HEARD, ARRAY, vteps),
        Layout { name: map::BFD_RECEIVED, kind: RING, key_size: 0, value_size: 0, capacity: 0, flags: 0 },
        shape::<u32, BfdScratch>(map::BFD_SCRATCH, PER_CPU, 1),
        shape::<u32, FloodScratch>(map::FLOOD_SCRATCH, PER_CPU, 1),
        shape::<u32, Generation>(map::GENERATION, ARRAY, 1),
        shape::<u32, RecentPort>(map::PORT_CPU, PER_CPU, RECENT_PORTS),
        shape::<u32, RecentSender>(map::SENDER_CPU, PER_CPU, RECENT_SENDERS),
    ]
}

fn shape<K: Pod, V: Pod>(name: &'static str, kind: bpf_map_type, capacity: u32) -> Layout {
    let size = |bytes| u32::try_from(bytes).expect("keys and values are small");
    Layout {
        name,
        kind,
        key_size: size(size_of::<K>()),
        value_size: size(size_of::<V>()),
        capacity,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_of_the_abi_has_a_layout() {
        let names = shapes(&Sizes::default(), MacTable::default()).map(|layout| layout.name);
        assert_eq!(names, map::ALL);
    }

    #[test]
    fn index_zero_takes_no_room_from_what_was_configured() {
        let sizes = Sizes { vteps_max: 3, ..Sizes::default() };
        let room = |name| {
            shapes(&sizes, MacTable::Hash)
                .into_iter()
                .find(|layout| layout.name == name)
                .map(|layout| layout.capacity)
        };
        assert_eq!((room(map::VTEP_ADMIN), room(map::VTEP_ADJ)), (Some(4), Some(8)));
    }

    #[test]
    fn the_table_in_use_has_room_for_the_macs_and_the_other_for_nothing() {
        let room = |mac_table, name| {
            let mut layouts = shapes(&Sizes { macs_max: 900, ..Sizes::default() }, mac_table).into_iter();
            layouts.find(|layout| layout.name == name).map(|layout| layout.capacity)
        };
        assert_eq!((room(MacTable::Hash, map::FDB), room(MacTable::Hash, map::MACTAB)), (Some(900), Some(1)));
        let bucketed = (room(MacTable::Bucketed, map::FDB), room(MacTable::Bucketed, map::MACTAB));
        assert_eq!(bucketed, (Some(1), Some(250)), "a thousand slots in buckets of four");
    }
}
