//! Which compiler makes the object, why, and whether its LLVM and the linker's go together.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    command::{cargo, command, output},
    workspace,
};

pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// Rust 1.97 with LLVM 22, which the linker that `setup` installs can read.
const NIGHTLY: &str = "nightly-2026-05-20";
/// LLVM 22 is what Debian 12 has beside its compiler for the target.
pub(crate) const LINKER_INSTALL: &str = "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker@0.13.0 --locked \
     --no-default-features --features llvm-22";
const OBJECT_VARIABLE: &str = "VTEPD_EBPF_OBJECT";

pub(crate) enum BpfToolchain {
    /// Nothing is compiled.
    Given(PathBuf),
    Compiler(Compiler),
}

pub(crate) struct Compiler {
    origin: Origin,
    version: Version,
}

enum Origin {
    /// It brings `core` for the target.
    Precompiled { rustc: PathBuf },
    /// A nightly that builds `core` first.
    BuildStd { toolchain: String },
}

/// What `rustc -vV` says.
struct Version {
    release: String,
    llvm: u32,
}

impl BpfToolchain {
    pub(crate) fn choose() -> Result<Self> {
        if let Some(object) = env::var_os(OBJECT_VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(Self::Given(object.into()));
        }
        match Compiler::find() {
            Some(compiler) => Ok(Self::Compiler(compiler)),
            None => bail!("{}", missing()),
        }
    }
}

impl Compiler {
    pub(crate) fn find() -> Option<Self> {
        Self::precompiled().or_else(Self::build_std)
    }

    fn precompiled() -> Option<Self> {
        ["rustc", "/usr/bin/rustc"].map(PathBuf::from).into_iter().find_map(|rustc| {
            let sysroot = output(command(&rustc).args(["--print", "sysroot"])).ok()?;
            if !Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir() {
                return None;
            }
            let version = Version::of(command(&rustc).arg("-vV"))?;
            Some(Self { origin: Origin::Precompiled { rustc }, version })
        })
    }

    fn build_std() -> Option<Self> {
        [NIGHTLY, "nightly"].into_iter().find_map(|toolchain| {
            let rustc = |arguments: &[&str]| {
                let mut rustup = command("rustup");
                rustup.args(["run", toolchain, "rustc"]).args(arguments);
                rustup
            };
            let sysroot = output(&mut rustc(&["--print", "sysroot"])).ok()?;
            if !Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir() {
                return None;
            }
            let version = Version::of(&mut rustc(&["-vV"]))?;
            Some(Self { origin: Origin::BuildStd { toolchain: toolchain.to_owned() }, version })
        })
    }

    /// Cargo, told to compile for the target with this compiler.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        self.aimed(cargo(), verb)
    }

    /// None where no clippy of the same version lies beside the compiler.
    pub(crate) fn clippy(&self) -> Option<Command> {
        let program = || match &self.origin {
            Origin::Precompiled { rustc } => command(rustc.with_file_name("cargo-clippy")),
            Origin::BuildStd { toolchain } => {
                let mut cargo = cargo();
                cargo.env("RUSTUP_TOOLCHAIN", toolchain);
                cargo
            }
        };
        output(program().args(["clippy", "--version"])).ok()?;
        Some(self.aimed(program(), "clippy"))
    }

    fn aimed(&self, mut cargo: Command, verb: &str) -> Command {
        // These would take the place of the flags that are set for the target.
        for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
            cargo.env_remove(flags);
        }
        cargo.arg(verb);
        match &self.origin {
            // It is a stable compiler; what aya-ebpf needs of `core` for BPF is not.
            Origin::Precompiled { rustc } => cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1"),
            Origin::BuildStd { toolchain } => {
                cargo.env("RUSTUP_TOOLCHAIN", toolchain).arg("-Zbuild-std=core")
            }
        };
        cargo.args(["--package", "vtep-ebpf", "--target", TARGET]);
        cargo.arg("--target-dir").arg(workspace::bpf_target_dir());
        cargo
    }

    /// An older LLVM cannot read what a newer one wrote. True also where the linker does not tell.
    pub(crate) fn linker_fits(&self) -> bool {
        linker_llvm().is_none_or(|linker| linker >= self.version.llvm)
    }

    pub(crate) fn check_linker(&self) -> Result<()> {
        let ours = self.version.llvm;
        match linker_llvm() {
            Some(linker) if linker < ours => bail!(
                "bpf-linker has LLVM {linker}, older than the compiler's {ours}; install one that fits:\n  {LINKER_INSTALL}"
            ),
            Some(linker) => println!("build-ebpf: bpf-linker has LLVM {linker}, the compiler {ours}"),
            None => println!("build-ebpf: bpf-linker does not tell its LLVM, the compiler has {ours}"),
        }
        Ok(())
    }
}

impl fmt::Display for BpfToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(object) => write!(f, "{}, because {OBJECT_VARIABLE} names it", object.display()),
            Self::Compiler(compiler) => compiler.fmt(f),
        }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = &self.version.release;
        match &self.origin {
            Origin::Precompiled { rustc } => {
                write!(f, "{} ({release}), because it brings core for {TARGET}", rustc.display())
            }
            Origin::BuildStd { toolchain } => write!(
                f,
                "{toolchain} ({release}) with -Zbuild-std=core, because no stable compiler here brings core for {TARGET}"
            ),
        }
    }
}

impl Version {
    fn of(rustc: &mut Command) -> Option<Self> {
        Self::parse(&output(rustc).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let release = field("release: ")?.to_owned();
        let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { release, llvm })
    }
}

/// Known when bpf-linker loads LLVM as a shared library.
fn linker_llvm() -> Option<u32> {
    let path = output(command("sh").args(["-c", "command -v bpf-linker"])).ok()?;
    llvm_major(&output(command("ldd").arg(path)).ok()?)
}

/// Both `libLLVM.so.22.1` and `libLLVM-22.so.1` have been in use.
fn llvm_major(ldd: &str) -> Option<u32> {
    let (_, name) = ldd.split_once("libLLVM")?;
    let digits = name.trim_start_matches(".so.").trim_start_matches('-');
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

pub(crate) fn missing() -> String {
    format!(
        "no compiler for {TARGET} was found. One of these helps:\n\
         \x20 on Debian 12:\n\
         \x20   cargo xtask setup\n\
         \x20 elsewhere, with LLVM 22 in /usr/lib/llvm-22:\n\
         \x20   rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n\
         \x20   {LINKER_INSTALL}\n\
         \x20 with an object that was built before:\n\
         \x20   export {OBJECT_VARIABLE}=/path/to/vtep.o"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_its_llvm() {
        let version = Version::parse("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n").unwrap();
        assert_eq!((version.release.as_str(), version.llvm), ("1.96.0", 22));
    }

    #[test]
    fn the_linker_tells_its_llvm_by_the_library_it_loads() {
        #[track_caller]
        fn check(ldd: &str, expected: Option<u32>) {
            assert_eq!(llvm_major(ldd), expected);
        }
        check("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f)", Some(22));
        check("\tlibLLVM-19.so.1 => /lib/libLLVM-19.so.1", Some(19));
        check("\tlibc.so.6 => /lib/libc.so.6", None);
        check("\tstatically linked", None);
    }

    #[test]
    fn whoever_has_no_compiler_is_told_what_to_type() {
        let text = missing();
        for typed in
            ["cargo xtask setup", "--component rust-src", "cargo install bpf-linker@", "export VTEPD_"]
        {
            assert!(text.contains(typed), "{typed}");
        }
    }
}
