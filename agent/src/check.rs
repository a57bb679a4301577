//! Whether everything is there that `run` needs. Nothing is touched.

mod host;

use std::path::Path;

use vtep_api::grpc::{self, Protection};

use crate::config::{self, Config, ControllerSource, Source};
use crate::roles::Roles;
use crate::source::file;
use crate::table::Table;
use crate::{daemon, kernel, links};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    /// None: as it should be.
    pub problem: Option<String>,
}

pub fn check(path: &Path) -> Vec<Finding> {
    let name = format!("configuration {}", path.display());
    let config = Config::load(path, &[]);
    let bpffs = config
        .as_ref()
        .map_or_else(|_| config::Dataplane::default().bpffs, |config| config.dataplane.bpffs.clone());
    let settings = config.as_ref().map_or_else(|_| kernel::Settings::new(bpffs), daemon::settings);

    let mut findings = vec![finding("kernel type information", host::type_information())];
    let vxlan = if links::has_vxlan() { Ok(()) } else { Err(links::TunnelError::NoVxlan.to_string()) };
    findings.push(finding("VXLAN", vxlan));
    let refused = kernel::check(&settings);
    if refused.is_empty() {
        findings.push(finding("programs, capabilities, kernel and BPF filesystem", Ok(())));
    }
    findings.extend(refused.iter().map(|error| finding("kernel tables", Err(file::chain(error)))));
    match config {
        Err(error) => findings.push(finding(name, Err(file::chain(&error)))),
        Ok(config) => {
            findings.push(finding(name, Ok(())));
            configured(&config, &mut findings);
        }
    }
    findings
}

fn configured(config: &Config, findings: &mut Vec<Finding>) {
    for address in config.underlay.address.iter() {
        findings.push(finding(format!("address {address}"), host::address(address)));
    }
    for uplink in &config.underlay.uplinks {
        findings.push(finding(format!("uplink {uplink}"), host::interface(uplink.as_str())));
    }
    for (name, state) in host::packet_rate(config) {
        findings.push(finding(format!("packet-rate mode of {name}"), state));
    }
    let roles = Roles::load(&config.agent.state).map(drop).map_err(|error| file::chain(&error));
    findings.push(finding(format!("state {}", config.agent.state.display()), roles));
    match &config.source {
        Source::File(source) => table(&source.path, config, findings),
        Source::Controller(source) => controller(source, findings),
        Source::Ovsdb(_) => {}
    }
}

/// Nobody is connected to.
fn controller(source: &ControllerSource, findings: &mut Vec<Finding>) {
    for address in &source.addresses {
        let protection = source.protection(address).map_err(|error| file::chain(&error));
        let result = protection.and_then(|protection| {
            let tls = source.tls.as_ref().filter(|_| protection == Protection::Tls);
            grpc::endpoint(address, tls).map(drop).map_err(|error| file::chain(&error))
        });
        findings.push(finding(format!("controller {address}"), result));
    }
}

fn table(path: &Path, config: &Config, findings: &mut Vec<Finding>) {
    let name = format!("table {}", path.display());
    match file::load(path, config.underlay.address, &Table::default()) {
        Err(error) => findings.push(finding(name, Err(file::chain(&error)))),
        Ok((table, refusals)) => {
            for refusal in refusals.first() {
                findings.push(finding(name.clone(), Err(refusal.to_string())));
            }
            let more = refusals.count() - refusals.first().len();
            if more > 0 {
                findings.push(finding(name.clone(), Err(format!("{more} more rows are refused"))));
            }
            let macs: usize = table.logical_switches.values().map(|switch| switch.macs.len()).sum();
            let macs_max = config.dataplane.macs_max.as_usize();
            let room = if macs > macs_max {
                Err(format!("{macs} MACs; expected at most {macs_max} (dataplane.macs_max)"))
            } else {
                Ok(())
            };
            findings.push(finding(format!("{name}, {macs} MACs"), room));
        }
    }
}

fn finding(subject: impl Into<String>, result: Result<(), String>) -> Finding {
    Finding { subject: subject.into(), problem: result.err() }
}
