//! What cargo and rustup install.

use anyhow::Result;

use crate::{
    bpf_toolchain::{Compiler, LINKER_INSTALL},
    command::{command, output, run},
};

#[derive(Clone, Copy)]
pub(super) enum Tool {
    Clippy,
    Rustfmt,
    BpfLinker,
    CargoDeny,
}

impl Tool {
    pub(super) fn ensure(self) -> Result<()> {
        match self.present() {
            Some(version) => {
                println!("setup: {version} is there");
                Ok(())
            }
            None => run(command("sh").args(["-c", self.install()])),
        }
    }

    fn present(self) -> Option<String> {
        let (program, arguments): (_, &[&str]) = match self {
            Self::Clippy => ("cargo", &["clippy", "--version"]),
            Self::Rustfmt => ("cargo", &["fmt", "--version"]),
            Self::BpfLinker => ("bpf-linker", &["--version"]),
            Self::CargoDeny => ("cargo", &["deny", "--version"]),
        };
        let version = output(command(program).args(arguments)).ok()?;
        let fits = match self {
            Self::BpfLinker => Compiler::find().is_none_or(|compiler| compiler.linker_fits()),
            Self::Clippy | Self::Rustfmt | Self::CargoDeny => true,
        };
        fits.then_some(version)
    }

    fn install(self) -> &'static str {
        match self {
            Self::Clippy => "rustup component add clippy",
            Self::Rustfmt => "rustup component add rustfmt",
            Self::BpfLinker => LINKER_INSTALL,
            // The newest whose rust-version (1.88) is not above ours. Only its offline checks are used.
            Self::CargoDeny => "cargo install cargo-deny@0.20.2 --locked --no-default-features",
        }
    }
}
