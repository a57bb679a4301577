use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("state directory {path:?} cannot be made")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "state store {path:?} is in use by another process; expected one controller for each state directory"
    )]
    Taken { path: PathBuf },
    #[error(
        "state store {path:?} has schema {found}; expected {expected}: it was written by another release"
    )]
    Schema { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "state store {path:?} is damaged: the checksum of `{key}` is {found:08x}; expected {expected:08x}. \
         Move it away and apply the file again"
    )]
    Checksum { path: PathBuf, key: &'static str, found: u32, expected: u32 },
    #[error("state store {path:?} has a `{key}` that is not understood; it was written by another release")]
    Decode { path: PathBuf, key: &'static str, source: serde_json::Error },
    #[error("`{key}` cannot be written down")]
    Encode { key: &'static str, source: serde_json::Error },
    #[error("state store {path:?} has no room; what was there before is kept")]
    Full { path: PathBuf, source: std::io::Error },
    #[error("state store {path:?} failed")]
    Database { path: PathBuf, source: Box<redb::Error> },
}

/// What went wrong, before it is known where.
#[derive(Debug)]
pub(super) enum Failure {
    Database(Box<redb::Error>),
    Checksum { key: &'static str, found: u32, expected: u32 },
    Decode { key: &'static str, source: serde_json::Error },
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Checksum { found, expected, .. } => {
                write!(f, "its checksum is {found:08x}; expected {expected:08x}")
            }
            Self::Decode { source, .. } => write!(f, "it is not understood: {source}"),
        }
    }
}

impl Failure {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Checksum { key, found, expected } => StoreError::Checksum { path, key, found, expected },
            Self::Decode { key, source } => StoreError::Decode { path, key, source },
            Self::Database(error) => match *error {
                redb::Error::Io(source) if is_full(&source) => StoreError::Full { path, source },
                error => StoreError::Database { path, source: Box::new(error) },
            },
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
