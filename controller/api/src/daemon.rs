//! What every daemon of ours does alike: settings and where they came from, log lines, metrics, the service manager.

pub mod exposition;
mod listen;
mod log;
mod notify;
mod origin;
pub mod probes;

pub use crate::bounded::{Bounded, BoundedError, preset};
pub use crate::tls::TlsFiles;
pub use listen::{Metrics, RemoteListenError};
pub use log::{Log, LogError, LogFormat, LogLevel};
pub use notify::Notify;
pub use origin::{Origin, Setting, print, settings};

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
