//! What is said outside the file.

use std::path::PathBuf;

use vtep_api::daemon::{self, Origin, Setting};

use super::{Config, LogFormat, LogLevel};

/// A value from outside the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Override {
    Socket(PathBuf, Origin),
    LogLevel(LogLevel, Origin),
    LogFormat(LogFormat, Origin),
}

impl Override {
    pub(super) fn apply(&self, config: &mut Config) {
        match self {
            Self::Socket(path, _) => config.control.socket.clone_from(path),
            Self::LogLevel(level, _) => config.log.level = *level,
            Self::LogFormat(format, _) => config.log.format = *format,
        }
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Socket(..) => "control.socket",
            Self::LogLevel(..) => "log.level",
            Self::LogFormat(..) => "log.format",
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Socket(_, origin) | Self::LogLevel(_, origin) | Self::LogFormat(_, origin) => *origin,
        }
    }
}

/// All effective values. `text` is the file that `config` came from.
pub fn settings(config: &Config, text: &str, overrides: &[Override]) -> Vec<Setting> {
    let outside: Vec<_> = overrides.iter().map(|setting| (setting.key(), setting.origin())).collect();
    daemon::settings(config, text, &outside)
}
