//! What the process may do: three capabilities, and nothing else once it has started.

use caps::{CapSet, Capability, CapsHashSet};

use crate::kernel::CAPABILITIES;

#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    #[error("{} {} missing; run as root, or with these capabilities", names(.missing), if .missing.len() == 1 { "is" } else { "are" })]
    Missing { missing: Vec<Capability> },
    #[error("capabilities cannot be read or changed")]
    Call(#[from] caps::errors::CapsError),
}

fn names(capabilities: &[Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Those of [`CAPABILITIES`] that the process lacks.
pub fn missing() -> Result<Vec<Capability>, CapabilityError> {
    let present = caps::read(None, CapSet::Effective)?;
    Ok(CAPABILITIES.into_iter().filter(|capability| !present.contains(capability)).collect())
}

/// Keeps [`CAPABILITIES`] and gives up the rest, also for programs that this thread might execute. Threads inherit it: to be
/// called before there are any.
pub fn reduce() -> Result<(), CapabilityError> {
    let missing = missing()?;
    if !missing.is_empty() {
        return Err(CapabilityError::Missing { missing });
    }
    let needed: CapsHashSet = CAPABILITIES.into_iter().collect();
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::runtime::thread_all_supported() {
            if !needed.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)?;
    Ok(())
}
