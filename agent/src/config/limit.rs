use serde::{Deserialize, Serialize};

use super::Bounded;

/// How much may be flooded: broadcast, multicast and unknown unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloodLimit {
    /// Frames a second, in the long run.
    pub per_sec: Bounded<1, 10_000_000>,
    /// Frames at once, after a pause.
    #[serde(default = "vtep_api::daemon::preset::<{ FloodLimit::BURST }, 1, 1_000_000>")]
    pub burst: Bounded<1, 1_000_000>,
}

impl FloodLimit {
    const BURST: u32 = 100;

    pub fn limit(self) -> vtep_abi::Limit {
        vtep_abi::Limit::per_sec(self.per_sec.as_u32(), self.burst.as_u32())
    }
}
