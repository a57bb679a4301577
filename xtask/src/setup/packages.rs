//! What Debian installs.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, bail};

use super::Need;
use crate::{
    command::{command, run},
    setup::is_root,
};

/// The compiler that brings `core` for BPF, what bpf-linker is built with, and what the tests run.
pub(super) const TEST: &[&str] = &[
    "bird2",
    "bpftool",
    "ca-certificates",
    "etcd-server",
    "ethtool",
    "g++",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "keepalived",
    "libpolly-22-dev",
    "libstd-rust-web-dev-bpf",
    "libzstd-dev",
    "llvm-22-dev",
    "nftables",
    "openssl",
    "openvswitch-common",
    "openvswitch-switch",
    "openvswitch-vtep",
    "rustc-web",
    "strace",
    "tshark",
    "zlib1g-dev",
];
/// The clippy that belongs to `rustc-web`, for the programs.
const LINT: &[&str] = &["rust-web-clippy"];
/// Only their programs are used; at the next boot their daemons would take ports that tests want.
const SERVICES: &[&str] = &["bird", "etcd", "keepalived", "nftables", "openvswitch-switch"];
const POLICY: &str = "/usr/sbin/policy-rc.d";

pub(super) struct Packages {
    missing: Vec<&'static str>,
}

impl Packages {
    pub(super) fn of(need: Need) -> Self {
        let lint: &[_] = if need == Need::Lint { LINT } else { &[] };
        let needed: Vec<_> = TEST.iter().chain(lint).copied().collect();
        // dpkg-query fails when one of them is unknown to it, and tells of the others all the same.
        let known = command("dpkg-query")
            .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
            .args(&needed)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        Self { missing: missing(&needed, &known) }
    }

    pub(super) fn ensure(&self) -> Result<()> {
        if self.missing.is_empty() {
            println!("setup: Debian's packages are there");
            return Ok(());
        }
        if !is_root() {
            bail!(
                "packages are missing, and only root can install them. Type\n  sudo apt-get update\n  \
                 sudo apt-get install --no-install-recommends {}",
                self.missing.join(" ")
            );
        }
        self.install()
    }

    /// By the name of its package.
    fn is_new(&self, service: &str) -> bool {
        let package = match service {
            "bird" => "bird2",
            "etcd" => "etcd-server",
            other => other,
        };
        self.missing.contains(&package)
    }

    fn install(&self) -> Result<()> {
        let apt = || {
            let mut apt = command("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        run(apt().arg("update"))?;
        let policy = ServicePolicy::deny()?;
        run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&self.missing))?;
        drop(policy);
        if !Path::new("/run/systemd/system").is_dir() {
            return Ok(());
        }
        let mut new = SERVICES.iter().filter(|service| self.is_new(service));
        new.try_for_each(|service| run(command("systemctl").args(["disable", &format!("{service}.service")])))
    }
}

fn missing(needed: &[&'static str], known: &str) -> Vec<&'static str> {
    let installed = |package: &str| known.lines().any(|line| line == format!("{package} installed"));
    needed.iter().copied().filter(|package| !installed(package)).collect()
}

/// While it lives, packages start no daemons (`invoke-rc.d` asks this file). One that was there stays.
struct ServicePolicy {
    ours: bool,
}

impl ServicePolicy {
    fn deny() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("{POLICY} cannot be written"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} could not be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wholly_installed_is_skipped() {
        let known = "g++ installed\nbpftool config-files\niperf3 not-installed\n";
        assert_eq!(
            missing(&["g++", "bpftool", "iperf3", "rustc-web"], known),
            ["bpftool", "iperf3", "rustc-web"]
        );
    }
}
