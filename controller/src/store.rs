//! What outlives the process, in one small embedded database: the applied document, pins and frozen MACs, the term.
//!
//! Every write is one transaction that is on the disk before it returns, so a crash at any instant leaves the state
//! before it or the state after it. A write that fails changes nothing, and the next one tries anew.

mod envelope;
mod error;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vtep_api::{LogicalSwitchName, MacAddr, Term};

use crate::Declared;
use crate::declared::file::{self, FileError};
use crate::logical::{Durable, Remembered};

pub(crate) use envelope::Envelope;
pub use error::StoreError;

use error::Failure;

/// A document as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Applied {
    /// The file's text, comments and all.
    pub text: String,
    /// What the operator called the file.
    pub name: String,
    /// In milliseconds since the epoch.
    pub applied_at_ms: i64,
    pub declared: Arc<Declared>,
}

/// A document as it is written down: what it declares follows from its text.
#[derive(Serialize, Deserialize)]
struct Written {
    text: String,
    name: String,
    applied_at_ms: i64,
}

impl From<Applied> for Written {
    fn from(Applied { text, name, applied_at_ms, .. }: Applied) -> Self {
        Self { text, name, applied_at_ms }
    }
}

impl TryFrom<Written> for Applied {
    type Error = FileError;

    fn try_from(Written { text, name, applied_at_ms }: Written) -> Result<Self, FileError> {
        let declared = Arc::new(file::parse(&name, &text)?);
        Ok(Self { text, name, applied_at_ms, declared })
    }
}

/// `None`: it is not to be remembered any more.
pub type Masters = BTreeMap<(LogicalSwitchName, MacAddr), Option<Remembered>>;

#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// None: it failed, and is opened anew by the next who writes.
    database: Option<Database>,
    /// As it is on the disk: whoever reads needs no disk.
    term: Term,
    applied: Option<Applied>,
    durable: Durable,
    errors: u64,
    failing: Option<String>,
}

/// Of what is in it. Another one is refused.
const SCHEMA: u64 = 1;
const FILE: &str = "state.redb";
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
/// Who is master of a MAC that several claim alike. One row each: they come and go by thousands.
const MASTERS: TableDefinition<'_, (&str, [u8; 6]), &str> = TableDefinition::new("masters");
const CACHE_BYTES: usize = 4 << 20;

/// Where the store of a directory is.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

impl Store {
    /// Makes the directory and the store in it, if there is none. One process at a time has it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = path(directory);
        fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let mut store = Self {
            path,
            database: None,
            term: Term::default(),
            applied: None,
            durable: Durable::default(),
            errors: 0,
            failing: None,
        };
        match store.read::<u64>("schema")? {
            Some(SCHEMA) => {}
            Some(found) => return Err(StoreError::Schema { path: store.path, found, expected: SCHEMA }),
            None => store.write("schema", &SCHEMA)?,
        }
        store.term = store.read("term")?.unwrap_or_default();
        store.durable = store.read("durable")?.unwrap_or_default();
        store.durable.masters = store.masters()?;
        store.applied = store.read("declared")?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Operations that failed.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Why the last one failed, if it did.
    pub fn failing(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// The last one that was given out.
    pub fn term(&self) -> Term {
        self.term
    }

    /// One that is higher than all before: on the disk before it is told. A new store begins at the clock: receivers
    /// remember what they obeyed, and would refuse a controller that lost its store and counted from one again.
    pub fn next_term(&mut self, clock: u64) -> Result<Term, StoreError> {
        let next = if self.term == Term::default() { clock.max(1) } else { self.term.0 + 1 };
        let next = Term(next);
        self.write("term", &next)?;
        self.term = next;
        Ok(next)
    }

    pub fn declared(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    pub fn put_declared(&mut self, applied: Applied) -> Result<(), StoreError> {
        self.write("declared", &applied)?;
        self.applied = Some(applied);
        Ok(())
    }

    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    pub fn put_durable(&mut self, durable: &Durable) -> Result<(), StoreError> {
        self.write("durable", durable)?;
        let masters = std::mem::take(&mut self.durable.masters);
        self.durable = Durable { masters, ..durable.clone() };
        Ok(())
    }

    /// Changes of `Durable::masters`, all or none.
    pub fn put_masters(&mut self, masters: &Masters) -> Result<(), StoreError> {
        self.attempt(|database| {
            let transaction = database.begin_write()?;
            let mut table = transaction.open_table(MASTERS)?;
            for ((network, mac), master) in masters {
                let key = (network.as_str(), mac.octets());
                match master {
                    Some(master) => table.insert(key, master.to_text().as_str())?,
                    None => table.remove(key)?,
                };
            }
            drop(table);
            transaction.commit()?;
            Ok(())
        })
    }

    fn masters(&mut self) -> Result<BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, Remembered>>, StoreError> {
        self.attempt(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(MASTERS) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                Err(error) => return Err(error.into()),
            };
            let mut masters: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let (network, mac) = key.value();
                // Names were checked before they were written.
                let network = LogicalSwitchName::try_from(network).ok();
                let named = network.zip(Remembered::from_text(value.value()));
                if let Some((network, master)) = named {
                    masters.entry(network).or_default().insert(MacAddr::new(mac), master);
                }
            }
            Ok(masters)
        })
    }

    fn read<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, StoreError> {
        self.attempt(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(STATE) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let Some(value) = table.get(key)? else { return Ok(None) };
            Ok(Some(envelope::open(key, value.value())?))
        })
    }

    fn write(&mut self, key: &'static str, value: &impl Serialize) -> Result<(), StoreError> {
        let sealed = envelope::seal(value).map_err(|source| StoreError::Encode { key, source })?;
        self.attempt(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(STATE)?.insert(key, sealed.as_slice())?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn attempt<T>(&mut self, run: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, StoreError> {
        let result = self.attempt_once(run);
        match &result {
            Ok(_) => self.failing = None,
            Err(error) => {
                self.errors += 1;
                self.failing = Some(vtep_api::daemon::chain(error));
            }
        }
        result
    }

    fn attempt_once<T>(
        &mut self,
        run: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopened()?,
        };
        let result = run(&database);
        // After an error of the disk it would refuse everything; what is on the disk is whole.
        if !matches!(result, Err(Failure::Database(_))) {
            self.database = Some(database);
        }
        result.map_err(|failure| failure.at(&self.path))
    }

    fn reopened(&self) -> Result<Database, StoreError> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path);
        opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Taken { path: self.path.clone() },
            error => Failure::from(error).at(&self.path),
        })
    }
}

#[cfg(test)]
mod tests;
