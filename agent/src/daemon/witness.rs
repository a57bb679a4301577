//! Frames that do not come from where the table has their source.

use vtep_abi::{Event, EventKind, FdbKey, Target, VtepByIpKey};
use vtep_api::{MacAddr, Sighting};

use super::host::Host;
use crate::kernel::now_secs;
use crate::monitor::Happened;

impl Host {
    /// What of these events is to be told upstream, and shown to those who watch.
    pub(super) fn witness(&mut self, events: &[Event]) -> (Vec<Sighting>, Vec<Happened>) {
        const KINDS: [u32; 2] = [EventKind::SourceElsewhere as u32, EventKind::SourceAtSlave as u32];
        let (mut sightings, mut happened) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|event| KINDS.contains(&event.kind)) {
            let key = FdbKey::new(event.vni, event.mac);
            let sender = VtepByIpKey { vni: event.vni, address: event.address };
            let Some(&index) = self.installed.senders.get(&sender) else { continue };
            // The table may have followed the MAC meanwhile.
            let entry = self.installed.fdb.get(&key).filter(|entry| !entry.is_learnt());
            let Some(entry) = entry.filter(|entry| entry.master != Target::Vtep(index)).copied() else {
                continue;
            };
            let as_slave = entry.slave == Target::Vtep(index);
            let tally = &mut self.witness.tally;
            *(if as_slave { &mut tally.from_slave } else { &mut tally.from_other }) += 1;
            let mac = MacAddr::new(key.mac);
            let from = self.end(Target::Vtep(index));
            happened.push(Happened::Witnessed {
                vni: key.vni,
                mac,
                from,
                as_slave,
                master: self.end(entry.master),
            });
            let Some(count) = self.witness.notice(&key, event.address, now_secs()) else { continue };
            let names = &self.outcome.names;
            if let (Some(logical_switch), Some(sender)) =
                (names.networks.get(&key.vni), names.vteps.get(&index))
            {
                let (logical_switch, sender) = (logical_switch.clone(), sender.clone());
                sightings.push(Sighting { logical_switch, mac, sender, as_slave, count });
            }
        }
        (sightings, happened)
    }
}
