//! Network namespaces without a name: each lasts as long as somebody holds it, so that nothing of them outlives the
//! process, however it ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

#[derive(Debug)]
pub(super) struct Place(File);

/// Where a host of ours has its files: its own, for it has mounts of its own.
pub(super) const FILES: &str = "/run";
pub(super) const BPFFS: &str = "/run/bpf";

impl Place {
    /// Another host.
    pub(super) fn new() -> io::Result<Self> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::here()
        });
        made.join().unwrap_or_else(|_| Err(io::Error::other("the namespace's thread failed")))
    }

    /// Takes the calling thread, and those that it starts, to a host with files of its own. There is no way back.
    pub(super) fn enter_new() -> io::Result<Self> {
        const NOTHING: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?;
        mount(Some("tmpfs"), FILES, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))?;
        fs::create_dir(BPFFS)?;
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
        Self::here()
    }

    fn here() -> io::Result<Self> {
        File::open(Path::new("/proc/thread-self/ns/net")).map(Self)
    }

    /// On a thread of its own there. Sockets that it opens stay there.
    pub(super) fn within<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
    where
        T: Send,
        E: From<io::Error> + Send,
    {
        let inside = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            work()
        };
        let done = thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|_| Err(io::Error::other("a thread in the namespace failed").into()))
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
