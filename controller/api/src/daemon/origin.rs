//! Where each effective value came from: flag over environment over file over default.

use std::io::{self, Write};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

/// One effective value, as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    pub key: String,
    pub value: toml::Value,
    pub origin: Origin,
}

impl Origin {
    /// Of a value that did not come from the file.
    pub fn of_argument(matches: Option<&clap::ArgMatches>, id: &str) -> Self {
        match matches.and_then(|matches| matches.value_source(id)) {
            Some(clap::parser::ValueSource::EnvVariable) => Self::Environment,
            _ => Self::Flag,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// All effective values. `text` is the file that `config` came from, `outside` what was said elsewhere.
pub fn settings(config: &impl Serialize, text: &str, outside: &[(&str, Origin)]) -> Vec<Setting> {
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
        let outside = outside.iter().find(|(name, _)| *name == key).map(|(_, origin)| *origin);
        let bare = key.replace(".tls.", ".");
        let in_file = || written.iter().any(|(name, _)| *name == bare);
        outside.unwrap_or_else(|| if in_file() { Origin::File } else { Origin::Default })
    };
    effective.into_iter().map(|(key, value)| Setting { origin: origin(&key), key, value }).collect()
}

/// As lines of TOML, with `origin` as a comment.
pub fn print(out: &mut dyn Write, settings: &[Setting], origin: bool) -> io::Result<()> {
    for setting in settings {
        write!(out, "{} = {}", setting.key, setting.value)?;
        if origin {
            write!(out, "  # {}", setting.origin.as_str())?;
        }
        writeln!(out)?;
    }
    Ok(())
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
