//! Where things lie.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// The one place where the agent's build script and the tests look for the object.
pub(crate) fn bpf_object() -> PathBuf {
    bpf_target_dir().join("vtep.o")
}

/// Of its own, for another compiler writes it.
pub(crate) fn bpf_target_dir() -> PathBuf {
    root().join("target/bpf")
}
