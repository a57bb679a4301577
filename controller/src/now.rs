//! Time, as the pure core is told it.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Now {
    /// Since the process began. Timers go by this: it never jumps.
    pub mono_ms: u64,
    /// Since the epoch. Only what is shown, and what claims are stamped with.
    pub wall_ms: i64,
}
