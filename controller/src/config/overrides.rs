//! What is said outside the file.

use std::path::PathBuf;

use vtep_api::daemon::{self, LogFormat, LogLevel, Origin, Setting};

use super::{Config, Role, StoreChoice};

/// A value from outside the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Override {
    Role(Role, Origin),
    State(PathBuf, Origin),
    Store(StoreChoice, Origin),
    Record(PathBuf, Origin),
    Socket(PathBuf, Origin),
    LogLevel(LogLevel, Origin),
    LogFormat(LogFormat, Origin),
}

impl Override {
    pub(super) fn apply(&self, config: &mut Config) {
        match self {
            Self::Role(role, _) => config.controller.role = *role,
            Self::State(path, _) => config.controller.state.clone_from(path),
            Self::Store(choice, _) => {
                config.store.kind = choice.kind;
                config.store.endpoints.clone_from(&choice.endpoints);
            }
            Self::Record(path, _) => config.controller.record = Some(path.clone()),
            Self::Socket(path, _) => config.control.socket.clone_from(path),
            Self::LogLevel(level, _) => config.log.level = *level,
            Self::LogFormat(format, _) => config.log.format = *format,
        }
    }

    fn origin(&self) -> (&'static str, Origin) {
        match self {
            Self::Role(_, origin) => ("controller.role", *origin),
            Self::State(_, origin) => ("controller.state", *origin),
            Self::Store(_, origin) => ("store.kind", *origin),
            Self::Record(_, origin) => ("controller.record", *origin),
            Self::Socket(_, origin) => ("control.socket", *origin),
            Self::LogLevel(_, origin) => ("log.level", *origin),
            Self::LogFormat(_, origin) => ("log.format", *origin),
        }
    }
}

/// All effective values. `text` is the file that `config` came from.
pub fn settings(config: &Config, text: &str, overrides: &[Override]) -> Vec<Setting> {
    let mut outside: Vec<_> = overrides.iter().map(Override::origin).collect();
    outside.extend(overrides.iter().filter_map(|setting| match setting {
        Override::Store(_, origin) => Some(("store.endpoints", *origin)),
        _ => None,
    }));
    daemon::settings(config, text, &outside)
}
