use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use crate::config::Config;
use crate::daemon;
use crate::links::Links;
use crate::netlink::Netlink;
use crate::packet_rate::State;
use crate::source::file;

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

/// What becomes of packet-rate mode at each interface for which it is asked. Bindings are not known here.
pub(super) fn packet_rate(config: &Config) -> Vec<(String, Result<(), String>)> {
    let uplinks = config.underlay.packet_rate.iter();
    let ports = config.ports.iter().filter(|port| port.packet_rate).map(|port| &port.name);
    let names: Vec<String> = uplinks.chain(ports).map(ToString::to_string).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let links = match links() {
        Ok(links) => links,
        Err(error) => return names.into_iter().map(|name| (name, Err(error.clone()))).collect(),
    };
    let read = daemon::packet_rate::read(config, &links, &BTreeSet::new());
    let of = |name: &String| {
        let Some(link) = links.by_name.get(name) else { return Err("no such interface".to_owned()) };
        match read.state(link.ifindex) {
            Some(State::On { takes_none: None }) | None => Ok(()),
            Some(state) => Err(state.to_string()),
        }
    };
    names.into_iter().map(|name| (name.clone(), of(&name))).collect()
}

fn links() -> Result<Links, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let read = runtime.block_on(async { Netlink::open()?.links().await });
    read.map(|by_name| Links { by_name }).map_err(|error| file::chain(&error))
}
