//! The directories of pins, and the lock that lets one agent in: `ROOT/v1/maps/FDB`, `ROOT/v1/links/7-port_in`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::{major, minor};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use vtep_abi::ABI_VERSION;

use super::Program;
use super::error::KernelError;

/// The pins of this host's agent, and nobody else's as long as this lives.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    version: PathBuf,
    /// Released by the kernel when the process dies, however it dies.
    lock: File,
}

impl Pins {
    pub(super) fn lock(root: &Path) -> Result<Self, KernelError> {
        require_bpffs(root)?;
        let lock = lock(root)?;
        let ours = format!("v{ABI_VERSION}");
        for name in names(root)? {
            if is_version(&name) && name != ours {
                return Err(KernelError::OtherVersion { path: root.to_owned(), found: name });
            }
        }
        Ok(Self { root: root.to_owned(), version: root.join(ours), lock })
    }

    /// Whether the locked directory still bears its name: the file system may have been unmounted.
    pub(super) fn are_in_place(&self) -> bool {
        self.lock.metadata().is_ok_and(|locked| is_at(&locked, &self.root))
    }

    pub(super) fn lock_again(&mut self) -> Result<(), KernelError> {
        *self = Self::lock(&self.root)?;
        Ok(())
    }

    pub(super) fn create_dirs(&self) -> Result<(), KernelError> {
        for path in [self.version.clone(), self.maps(), self.links()] {
            create(&path)?;
        }
        Ok(())
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// Where maps of another size are filled before they take the place of the others.
    pub(super) fn next_maps(&self) -> PathBuf {
        self.version.join("maps_next")
    }

    fn last_maps(&self) -> PathBuf {
        self.version.join("maps_last")
    }

    fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    pub(super) fn link(&self, ifindex: u32, program: Program) -> PathBuf {
        self.links().join(format!("{ifindex}-{program}"))
    }

    /// Interface and program of every pinned link; names of another form are not ours.
    pub(super) fn pinned_links(&self) -> Result<Vec<(u32, Program)>, KernelError> {
        if !self.links().exists() {
            return Ok(Vec::new());
        }
        let parse = |name: &str| {
            let (ifindex, program) = name.split_once('-')?;
            Some((ifindex.parse().ok()?, program.parse().ok()?))
        };
        Ok(names(&self.links())?.iter().filter_map(|name| parse(name)).collect())
    }

    /// Clears what a process that was killed while it resized has left, at whichever step that was.
    pub(super) fn settle(&self) -> Result<(), KernelError> {
        if !self.maps().exists() && self.next_maps().exists() {
            rename(&self.next_maps(), &self.maps())?;
        }
        remove_dir(&self.next_maps())?;
        remove_dir(&self.last_maps()).map(drop)
    }

    pub(super) fn create_next_maps(&self) -> Result<(), KernelError> {
        create(&self.next_maps())
    }

    /// The programs run on the next maps: these take their place.
    pub(super) fn promote_next_maps(&self) -> Result<(), KernelError> {
        rename(&self.maps(), &self.last_maps())?;
        rename(&self.next_maps(), &self.maps())?;
        remove_dir(&self.last_maps()).map(drop)
    }

    /// Removes every pin, links first, and the directories. A link without a pin or a holder detaches.
    pub(super) fn remove_all(&self) -> Result<usize, KernelError> {
        let mut removed = remove_dir(&self.links())?;
        for maps in [self.maps(), self.next_maps(), self.last_maps()] {
            removed += remove_dir(&maps)?;
        }
        for path in [&self.version, &self.root] {
            match fs::remove_dir(path) {
                // Somebody else's pins are in it, or there was none.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                }
                result => result.map_err(|source| failed(path, source))?,
            }
        }
        Ok(removed)
    }
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
}

pub(super) fn require_bpffs(root: &Path) -> Result<(), KernelError> {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = statfs(existing).map_err(|source| failed(existing, source.into()))?;
    if found.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let usual = Path::new("/sys/fs/bpf");
    let mount = if root.starts_with(usual) { usual } else { root.parent().unwrap_or(root) };
    Err(KernelError::NotBpffs { path: root.to_owned(), mount: mount.to_owned() })
}

/// How long a predecessor that is just exiting, or a child of it that has not executed its program yet, may hold the
/// lock.
const PATIENCE: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_millis(20);

/// An advisory lock on the directory itself: it needs no file, and dies with the process.
fn lock(root: &Path) -> Result<File, KernelError> {
    let end = Instant::now() + PATIENCE;
    loop {
        create(root)?;
        let dir = match File::open(root) {
            Ok(dir) => dir,
            // Another agent detached between the two calls.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(root, source)),
        };
        let opened = dir.metadata().map_err(|source| failed(root, source))?;
        match dir.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(INTERVAL);
                continue;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(KernelError::Locked { path: root.to_owned(), pid: holder(&opened) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(root, source)),
        }
        // The lock is on the directory that bears the name now, not on one that was removed meanwhile.
        if is_at(&opened, root) {
            return Ok(dir);
        }
    }
}

fn is_at(dir: &fs::Metadata, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (dir.dev(), dir.ino()))
}

/// Who holds a lock, by `/proc/locks` (proc(5)).
fn holder(dir: &fs::Metadata) -> Option<u32> {
    let inode = format!("{:02x}:{:02x}:{}", major(dir.dev()), minor(dir.dev()), dir.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip_while(|field| *field != "FLOCK").skip(3);
        let pid = fields.next()?;
        (fields.next()? == inode).then(|| pid.parse().ok())?
    })
}

fn create(path: &Path) -> Result<(), KernelError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(failed(path, source)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), KernelError> {
    fs::rename(from, to).map_err(|source| failed(from, source))
}

/// How many pins were in it; none if there is no such directory.
fn remove_dir(path: &Path) -> Result<usize, KernelError> {
    if !path.exists() {
        return Ok(0);
    }
    let names = names(path)?;
    for name in &names {
        let pin = path.join(name);
        fs::remove_file(&pin).map_err(|source| failed(&pin, source))?;
    }
    fs::remove_dir(path).map_err(|source| failed(path, source))?;
    Ok(names.len())
}

fn names(dir: &Path) -> Result<Vec<String>, KernelError> {
    let entries = fs::read_dir(dir).map_err(|source| failed(dir, source))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(|source| failed(dir, source))
}

pub(super) fn failed(path: &Path, source: io::Error) -> KernelError {
    KernelError::Path { path: path.to_owned(), source }
}
