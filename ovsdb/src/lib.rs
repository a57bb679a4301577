//! An OVSDB (RFC 7047) client.
//!
//! A [`session`] keeps a connection to one server, follows the tables that a [`Monitor`] names and gives one stream of
//! [`Event`]s, whichever of the three monitor methods the server knows: rows in batches, then what they mean. A
//! [`Table`] per followed table turns them into typed rows (see [`row!`]) and tells what changed. It knows nothing of
//! what is in the tables.

mod cell;
pub mod framer;
mod message;
mod monitor;
pub mod remote;
mod row;
mod schema;
pub mod session;
mod table;
pub mod tls;
pub mod transact;
pub mod transport;
mod uuid;
mod word;

pub use cell::{Atom, Cell, Mode};
pub use framer::RowBatch;
pub use monitor::{Monitor, MonitorMethod, SchemaError};
pub use remote::{Remote, RemoteError};
pub use row::{CellSeed, Row, RowError};
pub use schema::Schema;
pub use session::{
    Commit, Disconnect, Event, Events, Handle, LockChange, RequestError, SessionConfig, TransactError,
};
pub use table::{Changed, Table};
pub use tls::Tls;
pub use transact::{Cells, Conditions, Datum, Mutation, Operation, Reference, Transaction};
pub use uuid::{Uuid, UuidError};

/// What [`row!`] names in the code it writes.
#[doc(hidden)]
pub mod reexport {
    pub use serde::de::MapAccess;
}
