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
        let vnis = self.counters();
        Scrape {
            status: self.status(metrics),
            slots: self.kernel.mac_table_slots(),
            reseeds: self.reseeds.done(),
            verdicts: self.verdicts(&vnis),
            vnis,
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

    /// From zero on. None at all, rather than sums that fall, if the kernel does not tell what is in them.
    fn verdicts(&self, vnis: &[VniCounters]) -> Vec<(Verdict, u64)> {
        let Ok(past) = self.kernel.past_stats() else { return Vec::new() };
        // With the domain of no network.
        if vnis.len() != self.installed.networks.len() + 1 {
            return Vec::new();
        }
        let mut frames = past.map(|counter| counter.packets);
        for (verdict, counter) in vnis.iter().flat_map(|counters| &counters.verdicts) {
            frames[*verdict as usize] += counter.packets;
        }
        Verdict::ALL.iter().map(|verdict| (*verdict, frames[*verdict as usize])).collect()
    }

    /// Those that are not zero, of the networks of which the kernel tells.
    pub(super) fn counters(&self) -> Vec<VniCounters> {
        let networks = self.installed.networks.iter().map(|(&vni, network)| (Some(vni), network.bd));
        let all = std::iter::once((None, 0)).chain(networks);
        let counters = all.filter_map(|(vni, bd)| {
            let verdicts = self.kernel.vni_stats(bd).ok()?;
            let counted = Verdict::ALL.iter().map(|verdict| (*verdict, verdicts[*verdict as usize]));
            Some(VniCounters { vni, verdicts: counted.filter(|(_, counter)| counter.packets > 0).collect() })
        });
        counters.collect()
    }
}
