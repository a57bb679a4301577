use std::net::IpAddr;
use std::path::Path;

pub(super) fn type_information() -> Result<(), String> {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    if path.exists() { Ok(()) } else { Err(format!("{} is missing (CONFIG_DEBUG_INFO_BTF)", path.display())) }
}

pub(super) fn address(address: IpAddr) -> Result<(), String> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| error.to_string())?;
    let found = interfaces.filter_map(|interface| interface.address).filter_map(|found| {
        let v4 = found.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| found.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
    });
    if found.into_iter().any(|found| found == address) {
        Ok(())
    } else {
        Err("no interface has it".to_owned())
    }
}

pub(super) fn interface(name: &str) -> Result<(), String> {
    nix::net::if_::if_nametoindex(name).map(|_| ()).map_err(|_| "no such interface".to_owned())
}
