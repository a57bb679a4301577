//! A value on the disk: its checksum, then its JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Failure;

const CHECKSUM_BYTES: usize = 4;

pub(super) fn seal(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut sealed = vec![0; CHECKSUM_BYTES];
    serde_json::to_writer(&mut sealed, value)?;
    let checksum = crc32fast::hash(&sealed[CHECKSUM_BYTES..]);
    sealed[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
    Ok(sealed)
}

pub(super) fn open<T: DeserializeOwned>(key: &'static str, sealed: &[u8]) -> Result<T, Failure> {
    let short = Failure::Checksum { key, found: 0, expected: 0 };
    let (checksum, json) = sealed.split_first_chunk::<CHECKSUM_BYTES>().ok_or(short)?;
    let (found, expected) = (crc32fast::hash(json), u32::from_be_bytes(*checksum));
    if found != expected {
        return Err(Failure::Checksum { key, found, expected });
    }
    serde_json::from_slice(json).map_err(|source| Failure::Decode { key, source })
}

/// The same for what is kept elsewhere than on this disk.
pub(crate) struct Envelope;

impl Envelope {
    pub(crate) fn seal(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        seal(value)
    }

    pub(crate) fn open<T: DeserializeOwned>(sealed: &[u8]) -> Result<T, String> {
        open("value", sealed).map_err(|failure| failure.to_string())
    }
}
