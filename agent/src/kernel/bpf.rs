//! The one file of raw `bpf(2)` calls: map access in batches, which aya does not have, and links by interface number,
//! which aya binds by name only. Everything above it works on typed keys and values.
#![expect(unsafe_code, reason = "system calls take addresses of buffers; each block says why they hold")]

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use aya_obj::generated::{
    BPF_F_AFTER, BPF_F_MMAPABLE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type,
    bpf_map_info, bpf_map_type,
};
use bytemuck::Pod;

/// Entries per call. From about a thousand on, the cost of a call is lost in that of its entries.
const CHUNK: usize = 4096;

/// A map whose keys and values are copied as `K` and `V`.
#[derive(Debug)]
pub(super) struct Map<K, V> {
    fd: OwnedFd,
    capacity: u32,
    kind: PhantomData<fn(K) -> V>,
}

/// A batch that stopped: the entries before `done` were processed, the one at `done` met `error`.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) done: usize,
    pub(super) error: io::Error,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Refuses a map with keys or values of another size: the kernel copies as many bytes as the map says.
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        let fd = object(pin)?;
        let found = map_facts(fd.as_fd())?;
        if (found.key_size as usize, found.value_size as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the map has keys of {} and values of {} bytes", found.key_size, found.value_size),
            ));
        }
        Ok(Self { fd, capacity: found.max_entries, kind: PhantomData })
    }

    /// Entries the map has room for.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn lookup(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::zeroed();
        let mut attr = self.element(key);
        attr.__bindgen_anon_2.__bindgen_anon_1.value = address_mut(&mut value);
        // SAFETY: `key` and `value` outlive the call, and `open` compared their sizes with the map's.
        match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn update(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attr = self.element(key);
        attr.__bindgen_anon_2.__bindgen_anon_1.value = address(value);
        // SAFETY: as in `lookup`; the kernel only reads both.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Whether there was such an entry.
    pub(super) fn delete(&self, key: &K) -> io::Result<bool> {
        // SAFETY: as in `lookup`.
        match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut self.element(key)) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn dump(&self) -> io::Result<Vec<(K, V)>> {
        let mut rows = Vec::new();
        let mut chunk = CHUNK.min(self.capacity as usize).max(1);
        let (mut keys, mut values) = (vec![K::zeroed(); chunk], vec![V::zeroed(); chunk]);
        let mut cursor: Option<Cursor> = None;
        loop {
            let mut next = Cursor::default();
            let mut attr = self.batch(&keys, &values, chunk);
            attr.batch.in_batch = cursor.as_ref().map_or(0, address);
            attr.batch.out_batch = address_mut(&mut next);
            // SAFETY: `keys` and `values` hold `chunk` elements of the map's sizes and are ours to write; a cursor is
            // as large as the largest key, or as the bucket number that a hash writes.
            let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
            // SAFETY: the kernel writes the count of this member of the union and of no other.
            let count = unsafe { attr.batch.count } as usize;
            let end = match result {
                Ok(_) => false,
                // The end of the map, with a valid count of last entries (`generic_map_lookup_batch`).
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // A bucket of a hash has more entries than the chunk.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC) && chunk < self.capacity as usize =>
                {
                    chunk = (chunk * 2).min(self.capacity as usize);
                    keys.resize(chunk, K::zeroed());
                    values.resize(chunk, V::zeroed());
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            rows.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
            if end {
                return Ok(rows);
            }
            cursor = Some(next);
        }
    }

    /// Inserts or overwrites, in order.
    pub(super) fn update_batch(&self, keys: &[K], values: &[V]) -> Result<(), Stopped> {
        assert_eq!(keys.len(), values.len(), "each key has its value");
        self.in_chunks(bpf_cmd::BPF_MAP_UPDATE_BATCH, keys, Some(values))
    }

    /// Stops at a key that is not there.
    pub(super) fn delete_batch(&self, keys: &[K]) -> Result<(), Stopped> {
        self.in_chunks(bpf_cmd::BPF_MAP_DELETE_BATCH, keys, None)
    }

    fn in_chunks(&self, command: bpf_cmd, keys: &[K], values: Option<&[V]>) -> Result<(), Stopped> {
        let mut done = 0;
        while done < keys.len() {
            let end = (done + CHUNK).min(keys.len());
            let values = values.map_or(&[][..], |values| &values[done..end]);
            let mut attr = self.batch(&keys[done..end], values, end - done);
            // SAFETY: both slices hold as many elements of the map's sizes as the count says; a deletion reads keys
            // only. The kernel writes neither.
            let result = unsafe { bpf(command, &mut attr) };
            match result {
                Ok(_) => done = end,
                Err(error) => {
                    // SAFETY: the kernel writes the count of this member of the union and of no other. It does not
                    // when it refuses the whole call; then the count stands as it was given.
                    let count = unsafe { attr.batch.count } as usize;
                    let counted = if count < end - done { count } else { 0 };
                    return Err(Stopped { done: done + counted, error });
                }
            }
        }
        Ok(())
    }

    fn element(&self, key: &K) -> bpf_attr {
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_2.map_fd = raw(self.fd.as_fd());
        attr.__bindgen_anon_2.key = address(key);
        attr
    }

    fn batch(&self, keys: &[K], values: &[V], count: usize) -> bpf_attr {
        let mut attr = zeroed_attr();
        attr.batch.map_fd = raw(self.fd.as_fd());
        attr.batch.keys = keys.as_ptr() as u64;
        attr.batch.values = values.as_ptr() as u64;
        attr.batch.count = u32::try_from(count).expect("a chunk is small");
        attr
    }
}

/// Where a dump goes on: a key, or the number of a bucket.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
struct Cursor([u8; 32]);

/// The elements of an array that can be mapped, as words that programs read meanwhile.
#[derive(Debug)]
pub struct Mapped {
    words: NonNull<AtomicU64>,
    count: usize,
    bytes: usize,
}

impl Mapped {
    /// Refuses a map whose values have another size, or are not of whole words.
    pub fn open<V: Pod>(pin: &Path) -> io::Result<Self> {
        const { assert!(size_of::<V>().is_multiple_of(size_of::<AtomicU64>())) };
        let fd = object(pin)?;
        let found = map_facts(fd.as_fd())?;
        let is_array = found.type_ == bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        if !is_array || found.map_flags & BPF_F_MMAPABLE == 0 || found.value_size as usize != size_of::<V>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the map has type {}, flags {:#x} and values of {} bytes, expected an array to be mapped, of {}",
                    found.type_,
                    found.map_flags,
                    found.value_size,
                    size_of::<V>()
                ),
            ));
        }
        let bytes = found.max_entries as usize * size_of::<V>();
        // SAFETY: a mapping of its own; nothing that exists is replaced.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { words, count: bytes / size_of::<AtomicU64>(), bytes })
    }
}

impl Deref for Mapped {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping lives as long as `self`, starts at a page, and holds `count` words. The kernel keeps the
        // map's memory for it, and whoever else writes there does so in whole words, as atomics allow.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached as atomics only.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`. It fails for bad addresses only.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}

/// Returns once no program runs that ran before the call. Takes tens of milliseconds.
pub(super) fn wait_for_programs() {
    /// `MEMBARRIER_CMD_GLOBAL` of the kernel's `membarrier.h`.
    const GLOBAL: libc::c_int = 1;
    /// Where the kernel does not offer it (`nohz_full`): longer than any program runs.
    const INSTEAD: Duration = Duration::from_secs(1);
    // `membarrier_global` in the kernel's `membarrier.c` is `synchronize_rcu`; with one CPU it is nothing, and no
    // program is interrupted by this process.
    // SAFETY: the call takes no address.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        thread::sleep(INSTEAD);
    }
}

/// A per-CPU array.
#[derive(Debug)]
pub(super) struct PerCpu<V> {
    fd: OwnedFd,
    cpus: usize,
    kind: PhantomData<fn() -> V>,
}

impl<V: Pod> PerCpu<V> {
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        // The kernel rounds each CPU's value up to eight bytes.
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let fd = object(pin)?;
        let found = map_facts(fd.as_fd())?;
        if (found.key_size, found.value_size as usize) != (4, size_of::<V>()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the map has keys of {} and values of {} bytes", found.key_size, found.value_size),
            ));
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(Self { fd, cpus, kind: PhantomData })
    }

    /// One value for each possible CPU, none beyond the end of the array.
    pub(super) fn lookup(&self, index: u32) -> io::Result<Option<Vec<V>>> {
        let mut values = vec![V::zeroed(); self.cpus];
        let mut attr = self.element(address(&index), values.as_mut_ptr() as u64);
        // SAFETY: `values` has room for one value of the map's size for each possible CPU, which is what is copied.
        match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(Some(values)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first value goes on at the second index, and the first index has zeros: in one call, between whose parts nobody is
    /// killed.
    pub(super) fn move_to(&self, [from, to]: [u32; 2], values: &[V]) -> io::Result<()> {
        let values: Vec<V> = values.iter().copied().chain(vec![V::zeroed(); self.cpus]).collect();
        if values.len() != 2 * self.cpus {
            return Err(self.miscounted(values.len() - self.cpus));
        }
        let keys = [to, from];
        let mut attr = zeroed_attr();
        attr.batch.map_fd = raw(self.fd.as_fd());
        attr.batch.keys = keys.as_ptr() as u64;
        attr.batch.values = values.as_ptr() as u64;
        attr.batch.count = 2;
        // SAFETY: two keys, and for each a value for each possible CPU, of which the kernel reads as many
        // (`generic_map_update_batch`).
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr) }.map(drop)
    }

    fn miscounted(&self, values: usize) -> io::Error {
        let message = format!("there are {values} values for {} CPUs", self.cpus);
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }

    /// Sets the value of every CPU to zeros. Counts of a program that runs meanwhile may be lost or survive.
    pub(super) fn clear(&self, index: u32) -> io::Result<()> {
        self.set(index, &vec![V::zeroed(); self.cpus])
    }

    /// One value for each possible CPU, as [`Self::lookup`] returns them.
    pub(super) fn set(&self, index: u32, values: &[V]) -> io::Result<()> {
        if values.len() != self.cpus {
            return Err(self.miscounted(values.len()));
        }
        let mut attr = self.element(address(&index), values.as_ptr() as u64);
        // SAFETY: as in `lookup`; the kernel only reads both.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    fn element(&self, key: u64, values: u64) -> bpf_attr {
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_2.map_fd = raw(self.fd.as_fd());
        attr.__bindgen_anon_2.key = key;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = values;
        attr
    }
}

/// Where at an interface a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Traffic control, ingress, beside programs of others.
    Tcx,
    /// The driver's, which holds one program.
    Xdp,
}

/// One program at one hook of an interface.
#[derive(Debug)]
pub(super) struct HookLink(OwnedFd);

impl HookLink {
    /// At tcx after the programs that stand there already; EBUSY where XDP has one.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<Self> {
        /// Not in the generic mode, which makes an skb first.
        const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
        let (attach_type, flags) = match hook {
            Hook::Tcx => (bpf_attach_type::BPF_TCX_INGRESS, BPF_F_AFTER),
            Hook::Xdp => (bpf_attach_type::BPF_XDP, XDP_FLAGS_DRV_MODE),
        };
        let mut attr = zeroed_attr();
        attr.link_create.__bindgen_anon_1.prog_fd = raw(program);
        attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
        attr.link_create.attach_type = attach_type as u32;
        attr.link_create.flags = flags;
        // SAFETY: the call takes no address.
        unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).map(|fd| Self(owned(fd))) }
    }

    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        object(pin).map(Self)
    }

    /// The interface at which the link stands, 0 if that is gone; none if the link is of another kind.
    pub(super) fn ifindex(&self) -> io::Result<Option<u32>> {
        let found: bpf_link_info = facts(self.0.as_fd())?;
        // SAFETY: the type says which member of the union the kernel wrote.
        Ok(unsafe {
            if found.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
                Some(found.__bindgen_anon_1.tcx.ifindex)
            } else if found.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
                Some(found.__bindgen_anon_1.xdp.ifindex)
            } else {
                None
            }
        })
    }

    pub(super) fn program_id(&self) -> io::Result<u32> {
        facts::<bpf_link_info>(self.0.as_fd()).map(|found| found.prog_id)
    }

    /// Puts `program` in the place of the link's, between two packets.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr = zeroed_attr();
        attr.link_update.link_fd = raw(self.0.as_fd());
        attr.link_update.__bindgen_anon_1.new_prog_fd = raw(program);
        // SAFETY: the call takes no address.
        unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) }.map(drop)
    }

    /// Takes effect at once; the last reference's going would do so some time later.
    pub(super) fn detach(&self) -> io::Result<()> {
        let mut attr = zeroed_attr();
        attr.link_detach.link_fd = raw(self.0.as_fd());
        // SAFETY: the call takes no address.
        unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
    }

    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }
}

/// A map of any kind, held beside its pin.
#[derive(Debug)]
pub(super) struct AnyMap(OwnedFd);

impl AnyMap {
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        object(pin).map(Self)
    }

    pub(super) fn facts(&self) -> io::Result<bpf_map_info> {
        map_facts(self.0.as_fd())
    }

    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }
}

fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = raw(fd);
    // SAFETY: `path` ends in a zero byte and outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Of frames at a tcx hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// Identifiers of the programs at an interface's tcx hook, in the order in which they run.
pub(super) fn tcx_programs(ifindex: u32, direction: Direction) -> io::Result<Vec<u32>> {
    let attach_type = match direction {
        Direction::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        Direction::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    };
    // `BPF_MPROG_MAX` in the kernel's `bpf_mprog.h`.
    let mut ids = [0_u32; 64];
    let mut attr = zeroed_attr();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = attach_type as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.count = 64;
    // SAFETY: `ids` has room for as many as the count says.
    match unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) } {
        Ok(_) => {}
        // No program was ever there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    // SAFETY: every member of this union is the same count.
    let count = unsafe { attr.query.__bindgen_anon_2.count } as usize;
    Ok(ids[..count.min(ids.len())].to_vec())
}

fn object(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: `path` ends in a zero byte and outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(|fd| owned(fd)) }
}

fn map_facts(fd: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    facts(fd)
}

/// `T` is the kernel's structure for the kind of object; see the two uses.
fn facts<T: Facts>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: `Facts` is for structures of integers only.
    let mut found = unsafe { mem::zeroed::<T>() };
    let mut attr = zeroed_attr();
    attr.info.bpf_fd = raw(fd);
    attr.info.info = address_mut(&mut found);
    attr.info.info_len = u32::try_from(size_of::<T>()).expect("structures are small");
    // SAFETY: `found` is as large as said; the kernel writes no more, and any bytes make integers.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(found)
}

/// # Safety
///
/// Any bytes, zeros included, are a valid value.
unsafe trait Facts {}

// SAFETY: integers and arrays of them.
unsafe impl Facts for bpf_map_info {}
// SAFETY: integers, and a union of structures of integers.
unsafe impl Facts for bpf_link_info {}

fn zeroed_attr() -> bpf_attr {
    // SAFETY: a union of structures of integers; and the kernel wants what a command does not use to be zero.
    unsafe { mem::zeroed() }
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

fn address_mut<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value) as u64
}

#[expect(clippy::cast_sign_loss, reason = "an open descriptor is not negative")]
fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// # Safety
///
/// `fd` is the descriptor that a call has just returned.
unsafe fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the caller's promise; nobody else knows the descriptor. It is closed on exec, as all of `bpf(2)` are.
    unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd).expect("descriptors are small")) }
}

/// # Safety
///
/// The addresses in `attr` are those that `command` takes, of buffers as large as it reads or writes.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the size is that of `attr`.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
