//! Notices that a file was written, renamed over, or taken away.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Watches the directory, for a file that is replaced by a rename is another file.
#[derive(Debug)]
pub(super) struct Changes {
    directory: PathBuf,
    inotify: Option<AsyncFd<Notices>>,
}

impl Changes {
    pub(super) fn of(path: &Path) -> Self {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let inotify = watch(&directory);
        if inotify.is_none() {
            tracing::warn!(directory = %directory.display(), "no change notices for this directory; polling");
        }
        Self { directory, inotify }
    }

    /// Returns once something changed and then nothing for `quiet`.
    pub(super) async fn next(&mut self, quiet: Duration) {
        self.any().await;
        while tokio::time::timeout(quiet, self.any()).await.is_ok() {}
    }

    async fn any(&mut self) {
        let Some(inotify) = &self.inotify else { return std::future::pending().await };
        let Ok(mut ready) = inotify.readable().await else { return std::future::pending().await };
        while let Ok(events) = inotify.get_ref().0.read_events() {
            let gone =
                AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
            if events.iter().any(|event| event.mask.intersects(gone)) {
                self.inotify = watch(&self.directory);
                return;
            }
        }
        ready.clear_ready();
    }
}

#[derive(Debug)]
struct Notices(Inotify);

impl AsRawFd for Notices {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe for the sake of types that do not own their descriptor"
)]
fn watch(directory: &Path) -> Option<AsyncFd<Notices>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let written = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE_SELF;
    inotify.add_watch(directory, written).ok()?;
    AsyncFd::new(Notices(inotify)).ok()
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        let stamp =
            |meta: fs::Metadata| (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        Self(fs::metadata(path).ok().map(stamp))
    }
}
