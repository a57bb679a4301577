//! Whether everything is there that `run` needs. Nothing is touched.

mod host;

use std::path::Path;

use crate::config::{Config, Source};
use crate::source::file;
use crate::table::Table;
use crate::{capabilities, kernel};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    /// None: as it should be.
    pub problem: Option<String>,
}

pub fn check(path: &Path) -> Vec<Finding> {
    let mut findings = vec![
        finding("programs", built_in()),
        finding("capabilities", capable()),
        finding("kernel", host::kernel()),
        finding("kernel type information", host::type_information()),
        finding("VXLAN", host::vxlan()),
    ];
    let name = format!("configuration {}", path.display());
    match Config::load(path, &[]) {
        Err(error) => findings.push(finding(name, Err(error.to_string()))),
        Ok(config) => {
            findings.push(finding(name, Ok(())));
            configured(&config, &mut findings);
        }
    }
    findings
}

fn configured(config: &Config, findings: &mut Vec<Finding>) {
    findings.push(finding("BPF filesystem", host::bpffs(&config.dataplane.bpffs)));
    let address = config.underlay.address;
    findings.push(finding(format!("address {address}"), host::address(address)));
    for uplink in &config.underlay.uplinks {
        findings.push(finding(format!("uplink {uplink}"), host::interface(uplink.as_str())));
    }
    if let Source::File(source) = &config.source {
        table(&source.path, config, findings);
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

fn built_in() -> Result<(), String> {
    kernel::OBJECT.map(|_| ()).ok_or_else(|| kernel::KernelError::NoObject.to_string())
}

fn capable() -> Result<(), String> {
    let missing = capabilities::missing().map_err(|error| error.to_string())?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(capabilities::CapabilityError::Missing { missing }.to_string())
}

fn finding(subject: impl Into<String>, result: Result<(), String>) -> Finding {
    Finding { subject: subject.into(), problem: result.err() }
}
