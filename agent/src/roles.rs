//! As what this host claims the MACs behind its ports: their master, or a slave that stands by for another VTEP. An
//! operator, or keepalived's notify script, says so; it holds until something else is said, over restarts too.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vtep_api::{LogicalSwitchName, PortName, Role};

/// What is said of the MACs that a scope covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub role: Role,
    #[serde(flatten)]
    pub scope: Scope,
}

/// All that are given must hold. Without any: every MAC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_switch: Option<LogicalSwitchName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
}

impl Scope {
    fn covers(&self, other: &Self) -> bool {
        (self.logical_switch.is_none() || self.logical_switch == other.logical_switch)
            && (self.port.is_none() || self.port == other.port)
    }

    fn holds(&self, logical_switch: &LogicalSwitchName, port: Option<&str>) -> bool {
        self.logical_switch.as_ref().is_none_or(|name| name == logical_switch)
            && self.port.as_ref().is_none_or(|name| Some(name.as_str()) == port)
    }
}

/// The rules in the order in which they were given. The last that covers a MAC holds; without one it is master.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    rules: Vec<Rule>,
}

#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    #[error("roles in {path:?} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("roles in {path:?} are malformed; expected what `vtep-agent role set` wrote")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("roles cannot be written to {path:?}")]
    Write { path: PathBuf, source: io::Error },
    #[error("there are {count} roles; expected at most {}", Roles::RULES_MAX)]
    TooMany { count: usize },
}

impl Roles {
    pub const RULES_MAX: usize = 4096;
    const FILE: &str = "roles.json";

    /// What was kept in a directory; nothing, if nothing was.
    pub fn load(directory: &Path) -> Result<Self, RolesError> {
        let path = directory.join(Self::FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RolesError::Read { path, source }),
        };
        let rules = serde_json::from_slice(&text).map_err(|source| RolesError::Malformed { path, source })?;
        Ok(Self { rules })
    }

    /// A crash leaves the old file or the new one.
    pub fn store(&self, directory: &Path) -> Result<(), RolesError> {
        let path = directory.join(Self::FILE);
        let beside = directory.join("roles.json.new");
        let write = || {
            std::fs::create_dir_all(directory)?;
            let mut file = std::fs::File::create(&beside)?;
            serde_json::to_writer_pretty(&mut file, &self.rules)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        write().map_err(|source| RolesError::Write { path: path.clone(), source })
    }

    /// What was said before of any part of its scope alone holds no more.
    pub fn with(&self, rule: Rule) -> Result<Self, RolesError> {
        let mut rules: Vec<Rule> =
            self.rules.iter().filter(|before| !rule.scope.covers(&before.scope)).cloned().collect();
        rules.push(rule);
        if rules.len() > Self::RULES_MAX {
            return Err(RolesError::TooMany { count: rules.len() });
        }
        Ok(Self { rules })
    }

    pub fn of(&self, logical_switch: &LogicalSwitchName, port: Option<&str>) -> Role {
        let rule = self.rules.iter().rev().find(|rule| rule.scope.holds(logical_switch, port));
        rule.map_or(Role::Master, |rule| rule.role)
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(role: Role, logical_switch: Option<&str>, port: Option<&str>) -> Rule {
        let scope = Scope {
            logical_switch: logical_switch.map(|name| name.try_into().unwrap()),
            port: port.map(|name| name.try_into().unwrap()),
        };
        Rule { role, scope }
    }

    fn roles(rules: &[Rule]) -> Roles {
        rules.iter().fold(Roles::default(), |roles, rule| roles.with(rule.clone()).unwrap())
    }

    #[test]
    fn the_last_word_that_covers_a_mac_holds() {
        let blue = LogicalSwitchName::try_from("blue").unwrap();
        let red = LogicalSwitchName::try_from("red").unwrap();
        let (master, slave) = (Role::Master, Role::Slave);
        assert_eq!(Roles::default().of(&blue, None), master);
        let one = roles(&[rule(slave, None, None), rule(master, Some("blue"), None)]);
        assert_eq!((one.of(&blue, None), one.of(&red, Some("tap0"))), (master, slave));
        let two = roles(&[rule(slave, Some("blue"), None), rule(master, None, Some("tap0"))]);
        assert_eq!((two.of(&blue, Some("tap0")), two.of(&blue, Some("tap1"))), (master, slave));
    }

    #[test]
    fn a_wider_word_replaces_the_narrower_ones() {
        let narrow = [rule(Role::Slave, Some("blue"), Some("tap0")), rule(Role::Slave, None, Some("tap1"))];
        let wide = rule(Role::Master, None, None);
        assert_eq!(roles(&narrow).with(wide.clone()).unwrap().rules(), [wide]);
        let other = rule(Role::Master, Some("blue"), None);
        let both = roles(&narrow).with(other.clone()).unwrap();
        assert_eq!(both.rules(), [narrow[1].clone(), other]);
    }

    #[test]
    fn roles_come_back_as_they_were_kept_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Roles::load(folder.path()).unwrap(), Roles::default());
        let kept = roles(&[rule(Role::Slave, Some("blue"), Some("tap0"))]);
        let state = folder.path().join("state");
        kept.store(&state).unwrap();
        assert_eq!(Roles::load(&state).unwrap(), kept);
        std::fs::write(state.join("roles.json"), "[{\"role\": \"boss\"}]").unwrap();
        assert!(matches!(Roles::load(&state), Err(RolesError::Malformed { .. })));
    }
}
