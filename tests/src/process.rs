//! Programs that run beside a test.

use std::{
    env, fs,
    fs::File,
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::NamedTempFile;

use crate::deadline::wait_for;

/// Killed in `Drop`, by its own number; its log is shown when the test has failed.
pub struct Daemon {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Daemon {
    /// What it prints, both ways, goes to [`Self::log`].
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&log)?)
            .stderr(append(&log)?)
            .spawn()
            .with_context(|| format!("{name} could not be started: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Result<String> {
        let mut bytes = Vec::new();
        File::open(self.log.path())?.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory")?;
        let kib: u64 = line.split_whitespace().next().context("an empty field")?.parse()?;
        Ok(kib * 1024)
    }

    /// Processor time that it has used (`proc(5)`, `stat`).
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// None while it runs.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Until the condition holds. Fails early when the daemon has ended, and shows its log.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let mut ended = None;
        let held = wait_for(what, within, || {
            if let Some(answer) = condition() {
                return Some(Some(answer));
            }
            ended = self.child.try_wait().ok().flatten();
            ended.is_some().then_some(None)
        });
        match held {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => bail!("{} ended ({ended:?}) before {what}; its log:\n{}", self.name, self.log()?),
            Err(error) => Err(error.context(format!("{} runs; its log:\n{}", self.name, self.log()?))),
        }
    }

    pub fn wait_for_log(&mut self, text: &str, within: Duration) -> Result<()> {
        let path = self.log.path().to_owned();
        self.wait_for(&format!("{text:?} in the log"), within, || {
            let log = fs::read(&path).ok()?;
            String::from_utf8_lossy(&log).contains(text).then_some(())
        })
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.nix_pid()?, signal).with_context(|| format!("{} cannot be sent {signal}", self.name))
    }

    /// Asks it to end by SIGTERM.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(within)
    }

    /// Until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        wait_for(&format!("the end of {}", self.name), within, || self.child.try_wait().ok().flatten())
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn nix_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.pid().try_into()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of {}:\n{}", self.name, self.log().unwrap_or_default());
        }
    }
}

/// Each handle writes behind what the other wrote, as a shell's `2>&1` does.
fn append(log: &NamedTempFile) -> Result<File> {
    Ok(File::options().append(true).open(log.path())?)
}

/// A binary of the workspace, which was built beside this one: `target/debug/NAME` for `target/debug/deps/test-…`.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = env::current_exe()?;
    let folder = own.parent().context("a binary lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let binary = folder.join(name);
    ensure!(binary.is_file(), "{} is not there; `cargo xtask test` builds it", binary.display());
    Ok(binary)
}
