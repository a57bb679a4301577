//! A million MACs into the kernel: our batches beside our single updates, and beside `bridge -batch` into the kernel's
//! VXLAN device.

use std::{fmt::Write as _, fs, net::Ipv4Addr, time::Instant};

use anyhow::{Result, ensure};
use tempfile::NamedTempFile;
use vtep_abi::{FdbKey, Target};
use vtep_agent::{
    dataplane::FdbTarget,
    kernel::{Kernel, Settings, Sizes},
    plan::Step,
};
use vtep_api::MacAddr;

use super::{Options, Row};
use crate::{
    bpffs::Bpffs,
    link::{Link, Vxlan},
    netns::Netns,
};

const VNI: u32 = 5001;
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

pub(super) fn run(options: Options) -> Result<Vec<Row>> {
    let macs = if options.quick { 100_000 } else { 1_000_000 };
    let rounds = if options.quick { 2 } else { 3 };
    let unit = "MACs/s";
    let name = |peer: &str| format!("{macs} MACs in batches, beside {peer}");
    let rows = rows(macs);
    Ok(vec![
        Row::alternate(
            (&name("single updates"), unit, "single updates"),
            rounds,
            || batches(&rows),
            || singles(&rows),
        )?,
        Row::alternate(
            (&name("bridge -batch"), unit, "bridge -batch"),
            rounds,
            || batches(&rows),
            || bridge(macs),
        )?,
    ])
}

fn rows(macs: u32) -> Vec<(FdbKey, FdbTarget)> {
    let target = FdbTarget { master: Target::Vtep(1), slave: Target::Vtep(2), flags: 0 };
    (0..macs).map(|number| (FdbKey::new(VNI, mac(number).octets()), target)).collect()
}

fn batches(rows: &[(FdbKey, FdbTarget)]) -> Result<f64> {
    load(rows, |kernel| kernel.apply(&Step::PutFdb(rows.to_vec())).map(drop).map_err(Into::into))
}

fn singles(rows: &[(FdbKey, FdbTarget)]) -> Result<f64> {
    load(rows, |kernel| {
        for &row in rows {
            kernel.apply(&Step::PutFdb(vec![row]))?;
        }
        Ok(())
    })
}

/// Into empty maps.
fn load(rows: &[(FdbKey, FdbTarget)], put: impl FnOnce(&mut Kernel) -> Result<()>) -> Result<f64> {
    let bpffs = Bpffs::new()?;
    let sizes = Sizes { macs_max: u32::try_from(rows.len())?, ..Sizes::default() };
    let (mut kernel, _) = Kernel::open(&Settings { sizes, ..Settings::new(bpffs.path().join("vtepd")) })?;
    kernel.apply(&Step::PutDomains(vec![(VNI, 1)]))?;
    let start = Instant::now();
    put(&mut kernel)?;
    let took = start.elapsed().as_secs_f64();
    let installed = kernel.installed()?.fdb.len();
    ensure!(installed == rows.len(), "of {} MACs {installed} are installed", rows.len());
    Ok(f64::from(u32::try_from(rows.len())?) / took)
}

fn bridge(macs: u32) -> Result<f64> {
    let netns = Netns::new("host")?;
    let vxlan = Vxlan { learning: false, ..Vxlan::new(VNI, Ipv4Addr::new(192, 0, 2, 1)) };
    Link::vxlan(&netns, "vx", &vxlan)?;
    let mut lines = String::new();
    for number in 0..macs {
        writeln!(lines, "fdb append {} dev vx dst {FAR} self permanent", mac(number))?;
    }
    let batch = NamedTempFile::new()?;
    fs::write(batch.path(), lines)?;
    let start = Instant::now();
    netns.run(&format!("bridge -batch {}", batch.path().display()))?;
    Ok(f64::from(macs) / start.elapsed().as_secs_f64())
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}
