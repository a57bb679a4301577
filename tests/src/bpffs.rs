//! A BPF file system of one test's own: pins of tests that run in parallel never meet.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// Unmounted in `Drop`; with it go its pins, and what only they held.
pub struct Bpffs {
    folder: TempDir,
}

impl Bpffs {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-bpffs-").tempdir()?;
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("bpffs cannot be mounted at {}", folder.path().display()))?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.folder.path(), MntFlags::MNT_DETACH) {
            eprintln!("bpffs at {} was left behind: {error}", self.folder.path().display());
        }
    }
}
