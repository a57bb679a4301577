//! From facts to findings. Pure.

mod frames;
mod hooks;
mod port;
pub(super) mod room;
#[cfg(test)]
mod tests;
mod uplink;

use std::collections::BTreeSet;

use super::facts::{Facts, Host, KernelFacts};
use super::finding::{Finding, Group, Mend, Section};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel::CAPABILITIES;
use crate::links::Links;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    kernel(&facts.kernel, &mut Section::new(Group::Kernel, None, &mut findings));
    capabilities(&facts.capabilities, &mut Section::new(Group::Capabilities, None, &mut findings));
    let mut section = Section::new(Group::Config, None, &mut findings);
    let host = match &facts.config {
        Ok(host) => host,
        Err(error) => {
            section.problem("file", error.trim_end(), Mend::default());
            return findings;
        }
    };
    section.ok("file", "is taken");
    if host.daemon_runs {
        section.ok("daemon", "runs");
    } else {
        section.note("daemon", "does not answer; ports are those of the configuration and of its table file");
    }
    networks(host, &mut section);
    let links = match &host.links {
        Ok(links) => links,
        Err(error) => {
            section.problem("interfaces", error.as_str(), Mend::default());
            return findings;
        }
    };
    underlay(host, links, &mut Section::new(Group::Underlay, None, &mut findings));
    hooks::judge(host, &mut findings);
    uplink::judge(host, &mut findings);
    frames::judge(host, &mut findings);
    port::judge(host, &mut findings);
    findings
}

/// A host may take part in a network later: its section is no mistake, but it may be one of a digit.
fn networks(host: &Host, section: &mut Section<'_>) {
    let Some(vnis) = &host.table.vnis else { return };
    let listed = host.config.networks.iter().filter_map(|network| Some(network.vni?.as_u32()));
    let unused: BTreeSet<_> = listed.filter(|vni| !vnis.contains(vni)).collect();
    let mut names = unused.iter().map(|vni| format!("[[network]] of VNI {vni}"));
    let Some(first) = names.next() else { return };
    let names = names.fold(first, |names, name| format!("{names}, {name}"));
    section.note(
        "networks",
        format!("{names}: counts for nothing, for no logical switch of this host has the VNI"),
    );
}

fn kernel(facts: &KernelFacts, section: &mut Section<'_>) {
    section.ok("release", facts.release.as_str());
    if facts.type_information {
        section.ok("type_information", "present");
    } else {
        let mend = Mend::expected("/sys/kernel/btf/vmlinux").by("a kernel with CONFIG_DEBUG_INFO_BTF");
        section.problem("type_information", "missing", mend);
    }
    if facts.vxlan {
        section.ok("vxlan", "present");
    } else {
        section.problem("vxlan", "missing", Mend::expected("built in or a module").by("modprobe vxlan"));
    }
    match facts.jit.as_deref() {
        Some("0") => section.warning(
            "jit",
            "off: programs are interpreted, several times slower",
            Mend::expected("on").by("sysctl net.core.bpf_jit_enable=1"),
        ),
        Some(_) => section.ok("jit", "on"),
        None => section.note("jit", "not known: only the first network namespace shows it"),
    }
    for check in ["tcx", "bpf_filesystem", "programs"] {
        let mut refused = facts.refused.iter().filter(|refused| refused.check == check).peekable();
        if refused.peek().is_none() {
            section.ok(check, "as expected");
        }
        for refused in refused {
            section.problem(check, refused.message.as_str(), Mend::default());
        }
    }
}

fn capabilities(missing: &Result<Vec<String>, String>, section: &mut Section<'_>) {
    let missing = match missing {
        Ok(missing) => missing,
        Err(error) => return section.problem("capabilities", error.as_str(), Mend::default()),
    };
    for (capability, check) in CAPABILITIES.iter().zip(["cap_bpf", "cap_net_admin", "cap_perfmon"]) {
        if missing.contains(&capability.to_string()) {
            let remedy = format!("run as root, or with AmbientCapabilities={capability} in the unit");
            section.problem(check, "missing", Mend::expected("held").by(remedy));
        } else {
            section.ok(check, "held");
        }
    }
}

fn underlay(host: &Host, links: &Links, section: &mut Section<'_>) {
    let uplink = host.config.underlay.uplinks.first().map_or("UPLINK", vtep_api::PortName::as_str);
    for (address, is_here) in &host.addresses {
        if *is_here {
            section.ok("address", address.to_string());
        } else {
            let bits = if address.is_ipv4() { 24 } else { 64 };
            let remedy = format!("ip address add {address}/{bits} dev {uplink}, or another underlay.address");
            section.problem(
                "address",
                format!("no interface has {address}"),
                Mend::expected("an interface that has it").by(remedy),
            );
        }
    }
    udp_port(host, links, section);
}

/// One VXLAN device has the port, and with it the socket (`vxlan_sock_add` in the kernel's `vxlan_core.c`).
fn udp_port(host: &Host, links: &Links, section: &mut Section<'_>) {
    let port = host.config.underlay.udp_port.as_u16();
    let others: Vec<_> = links
        .by_name
        .iter()
        .filter(|(name, link)| {
            *name != TUNNEL_DEVICE && link.vxlan.is_some_and(|vxlan| vxlan.udp_port == port)
        })
        .collect();
    for (name, link) in &others {
        let value = format!("{port} is the port of VXLAN device {name}, too");
        let mend = Mend::expected(format!("no other VXLAN device on port {port}"))
            .by(format!("ip link delete {name}, or another underlay.udp_port"));
        if link.up {
            section.problem("udp_port", value, mend);
        } else {
            section.warning("udp_port", format!("{value}, which is down"), mend);
        }
    }
    if others.is_empty() {
        section.ok("udp_port", port.to_string());
    }
    let Some(link) = links.by_name.get(TUNNEL_DEVICE) else { return };
    match link.vxlan {
        Some(vxlan) if vxlan.collect_metadata => section.ok("tunnel_device", "is ours"),
        _ => section.problem(
            "tunnel_device",
            format!("{TUNNEL_DEVICE} is {}", link.kind.as_deref().unwrap_or("hardware")),
            Mend::expected("a VXLAN device with external control, or none")
                .by(format!("ip link delete {TUNNEL_DEVICE}")),
        ),
    }
}
