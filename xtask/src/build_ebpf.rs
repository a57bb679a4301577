//! `build-ebpf`: the programs' object, at the one path where the agent's build script and the tests look for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bpf_toolchain::{BpfToolchain, Compiler, TARGET},
    command, workspace,
};

/// Build the BPF object
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Without logging, so that bpftool and libbpf can load it too: the default
    #[arg(long, conflicts_with = "debug_log")]
    release: bool,
    /// With aya-log
    #[arg(long)]
    debug_log: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = BpfToolchain::choose()?;
    println!("build-ebpf: {toolchain}");
    let built = match &toolchain {
        BpfToolchain::Given(object) => object.clone(),
        BpfToolchain::Compiler(compiler) => compile(compiler, args.debug_log)?,
    };
    let object = fs::read(&built).with_context(|| format!("{} cannot be read", built.display()))?;
    ensure!(is_bpf(&object), "{} is not a little-endian BPF object", built.display());
    let place = workspace::bpf_object();
    let change = if replace(&place, &object)? { "" } else { ", unchanged" };
    println!("build-ebpf: {} ({} bytes{change})", place.display(), object.len());
    Ok(())
}

fn compile(compiler: &Compiler, debug_log: bool) -> Result<PathBuf> {
    compiler.check_linker()?;
    let mut cargo = compiler.cargo("build");
    cargo
        .arg("--release")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", "-Cdebuginfo=2 -Clink-arg=--btf")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    if debug_log {
        cargo.args(["--features", "log"]);
    }
    command::run(&mut cargo)?;
    Ok(workspace::bpf_target_dir().join(TARGET).join("release/vtep"))
}

/// ELF, 64 bits, little-endian (`e_ident`), `EM_BPF` (`e_machine`).
fn is_bpf(object: &[u8]) -> bool {
    object.starts_with(b"\x7fELF\x02\x01") && object.get(18..20) == Some(&[247, 0])
}

/// An equal file keeps its time of change, so that nothing is built anew for it. Returns whether it was written.
fn replace(place: &Path, object: &[u8]) -> Result<bool> {
    if fs::read(place).is_ok_and(|present| present == object) {
        return Ok(false);
    }
    let folder = place.parent().expect("the object lies in a folder");
    let beside = place.with_extension("o.new");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&beside, object))
        .and_then(|()| fs::rename(&beside, place))
        .with_context(|| format!("{} cannot be written", place.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_little_endian_bpf_objects_are_taken() {
        #[track_caller]
        fn check(class: u8, order: u8, machine: [u8; 2], expected: bool) {
            let mut object = vec![0; 64];
            object[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            object[18..20].copy_from_slice(&machine);
            assert_eq!(is_bpf(&object), expected);
        }
        check(2, 1, [247, 0], true);
        check(2, 2, [0, 247], false);
        check(2, 1, [62, 0], false);
        assert!(!is_bpf(b"\x7fELF\x02\x01"));
    }

    #[test]
    fn an_equal_object_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("vtepd-object-{}", std::process::id()));
        let place = folder.join("bpf/vtep.o");
        assert!(replace(&place, b"one").unwrap());
        assert!(!replace(&place, b"one").unwrap());
        assert!(replace(&place, b"two").unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"two");
        fs::remove_dir_all(folder).unwrap();
    }
}
