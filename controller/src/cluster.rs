//! More than one machine: who is a member, who holds which office, and by which term. etcd keeps it.
//!
//! An *office* is what one process at a time may do: be the logical controller of a shard of logical switches, or
//! the physical controller of a VTEP. Who holds it has its key in etcd, bound to his lease; the revision at which the key was created is the *term*, above all earlier
//! ones. The lease is a hint: what an office holder writes into etcd stands under the condition that the key is still the
//! one of his term, and receivers of his messages refuse lower terms than one that they obeyed.
//!
//! `view` reads the whole state at one revision, `plan` says what to do about it (pure), `member` does it, again and
//! again. What changed is never looked at, so that an event that is lost, late or told twice changes nothing.

pub(crate) mod etcd;
mod heard;
mod keys;
mod late;
mod member;
mod office;
mod plan;
mod raise;
mod reign;
mod tenure;
mod time;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use heard::Heard;
pub use heard::Outdated;
pub(crate) use late::Late;
pub use late::LateView;
pub use member::{Cluster, Declaration, JoinError, Standing};
pub(crate) use office::shard_name;
pub use office::{Office, shard_of};
pub use plan::{Bid, Me, bids, desired};
pub(crate) use raise::Raised;
pub use reign::{Reign, StateError};
pub use tenure::Tenure;
pub use view::{Holder, MemberEntry, Moved, Settings, View};
