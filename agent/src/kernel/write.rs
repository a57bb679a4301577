//! Batches that go on where one entry is refused.

use std::io;

use bytemuck::Pod;

use super::bpf::{Map, Stopped};

/// Writes all it can. Returns the places of the entries for which the map is full; existing ones are overwritten even
/// then.
pub(super) fn upsert<K: Pod, V: Pod>(map: &Map<K, V>, keys: &[K], values: &[V]) -> io::Result<Vec<usize>> {
    let (mut from, mut full) = (0, Vec::new());
    while let Err(Stopped { done, error }) = map.update_batch(&keys[from..], &values[from..]) {
        if error.raw_os_error() != Some(libc::E2BIG) {
            return Err(error);
        }
        full.push(from + done);
        from += done + 1;
    }
    Ok(full)
}

/// Removes all of them. Returns how many there were.
pub(super) fn remove<K: Pod, V: Pod>(map: &Map<K, V>, keys: &[K]) -> io::Result<usize> {
    let (mut from, mut missing) = (0, 0);
    while let Err(Stopped { done, error }) = map.delete_batch(&keys[from..]) {
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
        missing += 1;
        from += done + 1;
    }
    Ok(keys.len() - missing)
}

/// Copies all entries, for a map of another capacity. False if they do not fit.
pub(super) fn copy<K: Pod, V: Pod + PartialEq>(from: &Map<K, V>, to: &Map<K, V>) -> io::Result<bool> {
    // The elements of an array are always there; what was never written needs no room.
    let rows = from.dump()?.into_iter().filter(|(_, value)| *value != V::zeroed());
    let (keys, values): (Vec<K>, Vec<V>) = rows.unzip();
    upsert(to, &keys, &values).map(|full| full.is_empty())
}
