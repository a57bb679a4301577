use std::fs;
use std::path::Path;

use nix::sys::statfs::{self, FsType};

use crate::tunnel_address::TunnelAddress;

/// tcx came with Linux 6.6.
pub(super) fn kernel() -> Result<(), String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    match version(&release) {
        Some(found) if found >= (6, 6) => Ok(()),
        _ => Err(format!("Linux {}; expected 6.6 or later, for tcx", release.trim())),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn type_information() -> Result<(), String> {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    if path.exists() { Ok(()) } else { Err(format!("{} is missing (CONFIG_DEBUG_INFO_BTF)", path.display())) }
}

/// Loaded, built in, or to be found when it is asked for.
pub(super) fn vxlan() -> Result<(), String> {
    if Path::new("/sys/module/vxlan").exists() {
        return Ok(());
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let directory = Path::new("/lib/modules").join(release.trim());
    let lists = ["modules.builtin", "modules.dep"].map(|list| directory.join(list));
    let listed = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("/vxlan.ko"));
    if lists.iter().any(|path| listed(path)) {
        return Ok(());
    }
    Err("the module vxlan is neither loaded nor installed; type `modprobe vxlan`".to_owned())
}

/// The directory itself is made by `run`; what it will lie in decides.
pub(super) fn bpffs(pins: &Path) -> Result<(), String> {
    const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);
    let present = pins.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = statfs::statfs(present).map_err(|error| format!("{}: {error}", present.display()))?;
    if found.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let mount = pins.parent().unwrap_or(pins).display();
    Err(format!("{} is on no BPF filesystem; type `mount -t bpf bpf {mount}`", pins.display()))
}

pub(super) fn address(address: TunnelAddress) -> Result<(), String> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| error.to_string())?;
    let mut found = interfaces.filter_map(|interface| interface.address);
    let ours = found.any(|found| found.as_sockaddr_in().is_some_and(|found| found.ip() == address.v4()));
    if ours { Ok(()) } else { Err("no interface has it".to_owned()) }
}

pub(super) fn interface(name: &str) -> Result<(), String> {
    nix::net::if_::if_nametoindex(name).map(|_| ()).map_err(|_| "no such interface".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_begins_with_two_numbers() {
        assert_eq!(version("6.18.44-cloud-amd64\n"), Some((6, 18)));
        assert_eq!(version("6.6"), Some((6, 6)));
        assert_eq!(version("linux"), None);
    }
}
