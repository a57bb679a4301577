//! Log lines, to standard error.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
#[error("logging cannot start")]
pub struct LogError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Log {
    /// Lines of `targets` by the configured level, of everybody else's from `warn` on.
    pub fn start(&self, targets: &[&str]) -> Result<(), LogError> {
        let level = match self.level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        };
        let filter =
            targets.iter().fold("warn".to_owned(), |filter, target| format!("{filter},{target}={level}"));
        let filter = EnvFilter::try_new(filter).map_err(|error| LogError(error.into()))?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        // Said on standard error, where a line has just failed, it would be a panic: a full disk ends no daemon.
        let builder = builder.log_internal_errors(false);
        let result = match self.format {
            LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
        result.map_err(LogError)
    }
}
