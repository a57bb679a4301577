//! The lock file: the version, and a digest of each file of the contract.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    io::Write as _,
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};

use super::code::Code;
use crate::command::command_in;

const PATH: &str = "ebpf/abi/abi.lock";

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Lock {
    pub(super) version: u32,
    digests: BTreeMap<String, String>,
}

impl Lock {
    pub(super) fn of(code: &Code, root: &Path) -> Result<Self> {
        let digests = code.files.iter().map(|(path, code)| Ok((path.clone(), digest(root, code)?)));
        Ok(Self { version: code.version, digests: digests.collect::<Result<_>>()? })
    }

    pub(super) fn read(root: &Path) -> Result<Self> {
        let advice = || format!("{PATH} cannot be read: type `cargo xtask abi-lock`");
        Self::parse(&fs::read_to_string(root.join(PATH)).with_context(advice)?).with_context(advice)
    }

    pub(super) fn write(&self, root: &Path) -> Result<()> {
        fs::write(root.join(PATH), self.to_string()).with_context(|| format!("{PATH} cannot be written"))
    }

    pub(super) fn changed_files<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let paths: BTreeSet<_> = self.digests.keys().chain(other.digests.keys()).collect();
        let changed = |path: &&String| self.digests.get(*path) != other.digests.get(*path);
        paths.into_iter().filter(changed).map(String::as_str).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let version =
            lines.next().and_then(|line| line.strip_prefix("version ")).context("its version is missing")?;
        let digests = lines.map(|line| {
            let (digest, path) =
                line.split_once(' ').with_context(|| format!("a line has no path: {line}"))?;
            Ok((path.to_owned(), digest.to_owned()))
        });
        Ok(Self { version: version.parse()?, digests: digests.collect::<Result<_>>()? })
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Written by `cargo xtask abi-lock`: the code of each ABI version, without comments and tests."
        )?;
        writeln!(f, "version {}", self.version)?;
        self.digests.iter().try_for_each(|(path, digest)| writeln!(f, "{digest} {path}"))
    }
}

/// Git is there wherever the lock is looked at, and has a digest that does not change with the compiler.
fn digest(root: &Path, code: &str) -> Result<String> {
    let mut git = command_in(root, "git")
        .args(["hash-object", "--stdin", "--no-filters"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("git could not be started")?;
    git.stdin.take().context("git has no standard input")?.write_all(code.as_bytes())?;
    let output = git.wait_with_output()?;
    ensure!(output.status.success(), "`git hash-object` failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_back() {
        let lock = Lock { version: 7, digests: BTreeMap::from([("a/b.rs".to_owned(), "0af3".to_owned())]) };
        assert_eq!(Lock::parse(&lock.to_string()).unwrap(), lock);
    }

    #[test]
    fn a_lock_without_version_is_refused() {
        assert!(Lock::parse("0af3 a/b.rs\n").is_err());
    }
}
