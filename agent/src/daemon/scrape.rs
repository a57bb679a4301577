use std::net::SocketAddr;

use vtep_abi::Verdict;

use super::host::Host;
use super::view::last_seen;
use crate::control::view::{PortScrape, Scrape, VniCounters, VtepScrape};
use crate::desired;

impl Host {
    pub(super) fn scrape(&self, metrics: Option<SocketAddr>) -> Scrape {
        let vteps = self.installed.vteps.iter().map(|(&index, row)| {
            let stats = self.kernel.vtep_stats(index).unwrap_or_default();
            VtepScrape {
                address: desired::ip(row.adj.remote).to_string(),
                up: row.up,
                last_seen_secs: last_seen(&stats),
                stats,
            }
        });
        Scrape {
            status: self.status(metrics),
            slots: self.kernel.mac_table_slots(),
            reseeds: self.reseeds.done(),
            vnis: self.counters(Verdict::is_drop),
            vteps: vteps.collect(),
            ports: self.port_scrapes(),
            proved: self.proved_since(),
            bfd: self.bfd_rows(None),
        }
    }

    fn port_scrapes(&self) -> Vec<PortScrape> {
        let ports = self.installed.local_ports.iter();
        let scrapes = ports.map(|(&index, port)| PortScrape {
            port: self.interface(port.ifindex),
            vlan: port.vlan,
            traffic: self.port_traffic(index),
        });
        scrapes.collect()
    }

    /// Those of zero only as wanted: a rate needs them, a reader does not.
    pub(super) fn counters(&self, with_zero: impl Fn(Verdict) -> bool) -> Vec<VniCounters> {
        let networks = self.installed.networks.iter().map(|(&vni, network)| (Some(vni), network.bd));
        let all = std::iter::once((None, 0)).chain(networks);
        let counters = all.map(|(vni, bd)| {
            let Ok(verdicts) = self.kernel.vni_stats(bd) else {
                return VniCounters { vni, verdicts: Vec::new() };
            };
            let counted = Verdict::ALL.iter().map(|verdict| (*verdict, verdicts[*verdict as usize]));
            let shown = counted.filter(|(verdict, counter)| counter.packets > 0 || with_zero(*verdict));
            VniCounters { vni, verdicts: shown.collect() }
        });
        counters.collect()
    }
}
