use std::{
    fs,
    path::PathBuf,
    process::id,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;
use crate::command::output;

/// A repository with a contract of one file beside `lib.rs`.
struct Repository(PathBuf);

impl Repository {
    /// With a lock that fits.
    fn new(version: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let repository = Self(std::env::temp_dir().join(format!("vtepd-abi-{}-{count}", id())));
        fs::create_dir_all(repository.0.join(SOURCES)).unwrap();
        repository.git(&["init", "--quiet"]);
        repository.set_version(version);
        repository.write("fdb.rs", "pub struct Key {\n    pub vni: u32,\n}\n");
        fs::create_dir_all(repository.0.join("ebpf/src")).unwrap();
        fs::write(repository.0.join("ebpf/src/mactab.rs"), "").unwrap();
        repository.write_maps("#[btf_map]\nstatic FDB: HashMap<Key, Value, 9> = HashMap::new();\n");
        repository.relock(false).unwrap();
        repository.commit();
        repository
    }

    fn git(&self, arguments: &[&str]) {
        let names = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
        output(command_in(&self.0, "git").args(names).args(arguments)).unwrap();
    }

    fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--message", "test"]);
    }

    fn release(&self, tag: &str) {
        self.git(&["tag", tag]);
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(SOURCES).join(name), text).unwrap();
    }

    fn write_maps(&self, text: &str) {
        fs::write(self.0.join("ebpf/src/maps.rs"), text).unwrap();
    }

    fn set_version(&self, version: u32) {
        self.write("lib.rs", &format!("pub const ABI_VERSION: u32 = {version};\n"));
    }

    fn change_code(&self) {
        self.write("fdb.rs", "pub struct Key {\n    pub vni: u64,\n}\n");
    }

    fn check(&self) -> Result<()> {
        check(&self.0)
    }

    fn relock(&self, unreleased: bool) -> Result<()> {
        relock(&self.0, unreleased)
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn refused(result: Result<()>, parts: &[&str]) {
    let text = format!("{:#}", result.unwrap_err());
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn unchanged_code_passes() {
    Repository::new(1).check().unwrap();
}

#[test]
fn changed_comments_and_tests_pass() {
    let repository = Repository::new(1);
    repository.release("v0.1.0");
    repository.write(
        "fdb.rs",
        "//! The table.\n\npub struct Key {\n  pub vni: u32,\n}\n\n#[cfg(test)]\nmod tests {}\n",
    );
    repository.check().unwrap();
}

#[test]
fn changed_code_under_the_same_version_is_refused_by_file() {
    let repository = Repository::new(1);
    repository.change_code();
    refused(repository.check(), &["ebpf/abi/src/fdb.rs", "ABI_VERSION is still 1", "cargo xtask abi-lock"]);
    repository.commit();
    refused(repository.check(), &["ebpf/abi/src/fdb.rs"]);
}

#[test]
fn another_kind_of_map_is_a_change_and_another_program_is_none() {
    let repository = Repository::new(1);
    repository.release("v0.1.0");
    repository
        .write_maps("#[btf_map]\nstatic FDB: HashMap<Key, Value, 9> = HashMap::new();\nfn lookup() {}\n");
    repository.check().unwrap();
    repository.write_maps("#[btf_map]\nstatic FDB: LruHashMap<Key, Value, 9> = LruHashMap::new();\n");
    refused(repository.check(), &["v0.1.0", "ebpf/src/maps.rs"]);
}

#[test]
fn a_removed_file_is_a_change() {
    let repository = Repository::new(1);
    repository.release("v0.1.0");
    fs::remove_file(repository.0.join(SOURCES).join("fdb.rs")).unwrap();
    refused(repository.check(), &["v0.1.0", "ebpf/abi/src/fdb.rs"]);
}

#[test]
fn a_raised_version_passes_once_it_is_locked() {
    let repository = Repository::new(1);
    repository.release("v0.1.0");
    repository.change_code();
    repository.set_version(2);
    refused(repository.check(), &["ABI_VERSION is 2", "lock is for 1"]);
    repository.relock(false).unwrap();
    repository.check().unwrap();
}

#[test]
fn a_version_in_the_making_changes_only_when_told_so() {
    let repository = Repository::new(1);
    repository.change_code();
    refused(repository.relock(false), &["--unreleased", "ebpf/abi/src/fdb.rs"]);
    repository.relock(true).unwrap();
    repository.check().unwrap();
}

#[test]
fn a_released_version_never_changes() {
    let repository = Repository::new(1);
    repository.release("v0.1.0");
    repository.change_code();
    refused(repository.relock(true), &["v0.1.0", "ABI version 1"]);
    // Nor by a lock that was made by hand.
    fs::remove_file(repository.0.join("ebpf/abi/abi.lock")).unwrap();
    repository.relock(false).unwrap();
    refused(repository.check(), &["release v0.1.0", "ebpf/abi/src/fdb.rs"]);
}

#[test]
fn a_missing_lock_says_what_to_type() {
    let repository = Repository::new(1);
    fs::remove_file(repository.0.join("ebpf/abi/abi.lock")).unwrap();
    refused(repository.check(), &["ebpf/abi/abi.lock", "cargo xtask abi-lock"]);
}
