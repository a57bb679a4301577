//! Where each effective value came from: flag over environment over file over default.

use std::path::PathBuf;

use serde::Serialize;

use super::{Config, LogFormat, LogLevel};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

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

/// One effective value, as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    pub key: String,
    pub value: toml::Value,
    pub origin: Origin,
}

/// All effective values. `text` is the file that `config` came from.
pub fn settings(config: &Config, text: &str, overrides: &[Override]) -> Vec<Setting> {
    let mut effective = Vec::new();
    // Both were parsed before, so neither can fail; without the file all would count as default.
    if let Ok(value) = toml::Value::try_from(config) {
        flatten("", &value, &mut effective);
    }
    let mut written = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        flatten("", &toml::Value::Table(table), &mut written);
    }
    let origin = |key: &str| {
        let outside = overrides.iter().find(|setting| setting.key() == key).map(Override::origin);
        let bare = key.replace(".tls.", ".");
        let in_file = || written.iter().any(|(name, _)| *name == bare);
        outside.unwrap_or_else(|| if in_file() { Origin::File } else { Origin::Default })
    };
    effective.into_iter().map(|(key, value)| Setting { origin: origin(&key), key, value }).collect()
}

/// Tables and arrays of tables become dotted keys; everything else is a value.
fn flatten(prefix: &str, value: &toml::Value, found: &mut Vec<(String, toml::Value)>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&join(key), value, found)),
        toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}[{at}]"), item, found);
            }
        }
        value => found.push((prefix.to_owned(), value.clone())),
    }
}
