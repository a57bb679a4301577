//! The rule that the kernel contract does not change under a version that is out: whoever changes `ebpf/abi`, or a map's
//! definition in the programs, raises `ABI_VERSION`, or pins of two layouts would meet in one directory.
//!
//! Two things are compared with the code as it lies there: the lock file beside it, which shows in every change's
//! diff, and the newest release, which no one can rewrite.

use std::path::Path;

use anyhow::{Result, bail};

use self::{
    code::{Code, SOURCES},
    lock::Lock,
};
use crate::command::{command_in, output};

mod code;
mod lock;

/// What is wrong, and what to do about it; nothing when the rule is kept.
pub(crate) fn check(root: &Path) -> Result<()> {
    let present = Code::of_tree(root)?;
    if let Some(tag) = newest_release(root) {
        let released = Code::of_commit(root, &tag)?;
        let changed = present.changed_files(&released);
        if present.version == released.version && !changed.is_empty() {
            bail!(
                "the ABI differs from release {tag} in {}, but ABI_VERSION is still {}: raise it in \
                 {SOURCES}/lib.rs, then type `cargo xtask abi-lock`",
                changed.join(", "),
                present.version
            );
        }
    }
    let lock = Lock::read(root)?;
    let actual = Lock::of(&present, root)?;
    if lock == actual {
        return Ok(());
    }
    let changed = lock.changed_files(&actual).join(", ");
    if lock.version == actual.version {
        bail!(
            "the ABI changed in {changed}, but ABI_VERSION is still {}: raise it in {SOURCES}/lib.rs, then type \
             `cargo xtask abi-lock` (or `cargo xtask abi-lock --unreleased`, as no release has that version yet)",
            lock.version
        );
    }
    bail!(
        "ABI_VERSION is {}, its lock is for {} (changed: {changed}): type `cargo xtask abi-lock`",
        actual.version,
        lock.version
    );
}

/// Makes the lock say what the code says, unless that would change a version in place.
pub(crate) fn relock(root: &Path, unreleased: bool) -> Result<()> {
    let present = Code::of_tree(root)?;
    let actual = Lock::of(&present, root)?;
    // The first lock, or one that cannot be read, protects nothing.
    if let Ok(lock) = Lock::read(root)
        && lock.version == actual.version
        && lock != actual
    {
        let changed = lock.changed_files(&actual).join(", ");
        let version = actual.version;
        if let Some(tag) = release_of(root, version)? {
            bail!(
                "release {tag} has ABI version {version}: raise ABI_VERSION in {SOURCES}/lib.rs ({changed} changed)"
            );
        }
        if !unreleased {
            bail!(
                "ABI version {version} would change in place ({changed}): raise ABI_VERSION in {SOURCES}/lib.rs, \
                 or add --unreleased while the version is still in the making"
            );
        }
    }
    actual.write(root)
}

fn newest_release(root: &Path) -> Option<String> {
    output(command_in(root, "git").args(["describe", "--tags", "--abbrev=0", "--match", "v*"])).ok()
}

/// A release with that ABI version, on whatever branch.
fn release_of(root: &Path, version: u32) -> Result<Option<String>> {
    let tags = output(command_in(root, "git").args(["tag", "--list", "v*"]))?;
    Ok(tags.lines().map(str::to_owned).find(|tag| {
        // A release from before the contract has no version.
        Code::of_commit(root, tag).is_ok_and(|code| code.version == version)
    }))
}

#[cfg(test)]
mod tests;
