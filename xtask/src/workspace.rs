//! Where things lie.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// A binary that `demo::prepare_release` built. `cargo run` would build its package alone, with other features of what
/// it shares with the others, and so all of it a second time.
pub(crate) fn release_binary(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("release").join(name)
}

/// The one place where the agent's build script and the tests look for the object.
pub(crate) fn bpf_object() -> PathBuf {
    bpf_target_dir().join("vtep.o")
}

/// Of its own, for another compiler writes it.
pub(crate) fn bpf_target_dir() -> PathBuf {
    root().join("target/bpf")
}
