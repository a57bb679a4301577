//! The contract with a `hardware_vtep` database (`vtep(5)`, schema 1.7.0 and our optional columns of 1.8.0).
//!
//! A [`Mirror`] holds the database as it was last told. From it a device derives what it should forward
//! ([`Mirror::device_view`]), and a [`Writer`] what is missing of what the database should say about the device
//! ([`DesiredDevice`]). Both compare whole states, so a first start, a reconnect and the steady state are one path.
//!
//! The controller's side is in [`controller`], the schema extension in [`schema`].
//!
//! How a device uses it, in one task:
//!
//! ```no_run
//! use hardware_vtep::{DATABASE, DesiredDevice, Mirror, Writer};
//! use ovsdb::{Event, Remote, SessionConfig, TransactError, session};
//!
//! async fn device(remote: Remote, desired: DesiredDevice) {
//!     let config = SessionConfig::new(remote, DATABASE, Mirror::monitor());
//!     let (handle, mut events) = session::spawn(config);
//!     let mut mirror = Mirror::default();
//!     let mut writer = Writer::default();
//!     let mut writing = None; // At most one transaction is under way.
//!     loop {
//!         if writing.is_none() {
//!             // Also after a change of `desired`. `None`: the database says what it should.
//!             writing = writer.next(&mirror, &desired).map(|batch| {
//!                 let handle = handle.clone();
//!                 Box::pin(async move { (handle.transact(batch.transaction().clone()).await, batch) })
//!             });
//!         }
//!         tokio::select! {
//!             event = events.recv() => {
//!                 let Some(event) = event else { return };
//!                 if let Event::Connected { .. } = event {
//!                     writer.retry_refused();
//!                 }
//!                 // Rows are staged; `Some` when an update has come in whole. After a disconnect the mirror stays.
//!                 if let Some(changes) = mirror.apply(&event) && !changes.is_empty() {
//!                     let view = mirror.device_view(&desired.name);
//!                     println!("{} switches, {} refused", view.logical_switches.len(), view.refusals.total());
//!                 }
//!             }
//!             // Replies come the way of the events: one that was committed is in the mirror by now. A task that
//!             // awaits a reply must go on receiving, as this `select!` does.
//!             (result, batch) = async { writing.as_mut().expect("the branch is on").await }, if writing.is_some() => {
//!                 writing = None;
//!                 match result {
//!                     Ok(_) => writer.landed(&batch),
//!                     Err(TransactError::Outcome(error)) => writer.failed(&batch, &error),
//!                     // Not connected, or the outcome is unknown: nothing is planned until the next dump shows it.
//!                     Err(TransactError::Request(_)) => {}
//!                 }
//!             }
//!         }
//!     }
//! }
//! ```

mod batch;
mod bisect;
pub mod controller;
pub mod device;
pub mod mirror;
pub mod rows;
pub mod schema;
pub mod tunnel;
pub mod view;

pub use device::{DesiredDevice, DesiredPort, LocalMac, Writer};
pub use mirror::{Changes, Mirror};
pub use view::{DeviceView, LogicalSwitchView, Reason, Refusal, Refusals, Replication, Role, UnicastEntry};

/// The database's name.
pub const DATABASE: &str = "hardware_vtep";
