//! Embeds the programs' object if it has been built. Without it everything compiles, and `run` says what to type.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=VTEPD_EBPF_OBJECT");
    let object = object_path();
    // A path that does not exist counts as changed at every build, so its directory is watched until it does. That
    // may have to be made: watching all of `target` would again be a change at every build.
    let parent = object.parent().unwrap_or(Path::new("."));
    let watched = if object.exists() || fs::create_dir_all(parent).is_err() { &object } else { parent };
    println!("cargo::rerun-if-changed={}", watched.display());

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("object.rs");
    fs::write(out, embed(&object)).expect("cargo's own directory can be written");
}

fn object_path() -> PathBuf {
    if let Some(path) = env::var_os("VTEPD_EBPF_OBJECT").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    Path::new(&package).parent().expect("the package lies in the workspace").join("target/bpf/vtep.o")
}

fn embed(object: &Path) -> String {
    let Ok(object) = object.canonicalize() else { return "None".to_owned() };
    format!("Some(aya::include_bytes_aligned!({:?}))", object.display().to_string())
}
