use std::path::Path;

use crate::tunnel_address::TunnelAddress;

pub(super) fn type_information() -> Result<(), String> {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    if path.exists() { Ok(()) } else { Err(format!("{} is missing (CONFIG_DEBUG_INFO_BTF)", path.display())) }
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
