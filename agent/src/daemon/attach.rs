use std::collections::BTreeSet;

use tracing::{info, warn};

use super::host::Host;
use crate::alarm::{Alarm, AlarmKind};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel::{AttachError, Attached, Hook, Program};
use crate::links::Links;

impl Host {
    /// Puts the programs where they are wanted, tables first. Without a table none is removed, for a port of the coming
    /// one may be among them. Whether all went well.
    pub(super) fn attach(&mut self, with_table: bool) -> bool {
        let mut failures: Vec<(&'static str, AttachError)> = Vec::new();
        match self.kernel.drop_severed() {
            Ok(severed) => {
                for (ifindex, program) in severed {
                    info!(ifindex, %program, "interface is gone");
                }
            }
            Err(error) => failures.push(("severed links", error)),
        }
        let wanted = self.wanted();
        for &(ifindex, program) in &wanted {
            match self.kernel.attach(ifindex, program) {
                Ok(Attached::New) => info!(interface = self.interface(ifindex), %program, "attached"),
                Ok(Attached::Kept) => {}
                Err(error) => {
                    if program.hook() == Hook::Xdp {
                        self.kernel_alarms.insert(xdp_alarm(&self.interface(ifindex), &error));
                    }
                    failures.push(("attach", error));
                }
            }
        }
        if with_table {
            for attachment in &self.attached {
                if wanted.contains(&(attachment.ifindex, attachment.program)) {
                    continue;
                }
                match self.kernel.detach(attachment.ifindex, attachment.program) {
                    Ok(true) => {
                        info!(ifindex = attachment.ifindex, program = %attachment.program, "detached");
                    }
                    Ok(false) => {}
                    Err(error) => failures.push(("detach", error)),
                }
            }
        }
        match self.kernel.attached() {
            Ok(attached) => self.attached = attached,
            Err(error) => failures.push(("list", error)),
        }
        for attachment in self.attached.iter().filter(|attachment| !attachment.foreign.is_empty()) {
            let message = format!("programs {:?} of others stand at the same hook", attachment.foreign);
            let subject = self.interface(attachment.ifindex);
            self.kernel_alarms.insert(Alarm::new(AlarmKind::ForeignProgram, &subject, message));
        }
        for (what, error) in &failures {
            if self.complaints.is_news(what, error) {
                warn!(error = error as &dyn std::error::Error, what, "a program is not where it should be");
            }
        }
        failures.is_empty()
    }

    /// At an offered port the program stands whether it is bound or not: without, unbinding would let the VM's frames
    /// into the host's own stack.
    fn wanted(&self) -> BTreeSet<(u32, Program)> {
        let ifindex = |name: &str| self.links.by_name.get(name).map(|link| link.ifindex);
        let uplinks = self.config.underlay.uplinks.iter().filter_map(|uplink| ifindex(uplink.as_str()));
        let mut wanted: BTreeSet<_> = uplinks.map(|ifindex| (ifindex, Program::UplinkIn)).collect();
        wanted.extend(ifindex(TUNNEL_DEVICE).map(|ifindex| (ifindex, Program::TunnelIn)));
        let offered = self.config.ports.iter().filter_map(|port| ifindex(port.name.as_str()));
        wanted.extend(offered.map(|ifindex| (ifindex, Program::PortIn)));
        wanted.extend(self.installed.ports.keys().map(|port| (port.ifindex, Program::PortIn)));
        let xdp = |(ifindex, at)| self.packet_rate.is_on(ifindex).then_some((ifindex, at));
        let at_xdp = wanted.iter().filter_map(|&(ifindex, program)| match program {
            Program::PortIn => xdp((ifindex, Program::PortXdp)),
            Program::UplinkIn => xdp((ifindex, Program::UplinkXdp)),
            _ => None,
        });
        let at_xdp: Vec<_> = at_xdp.collect();
        wanted.extend(at_xdp);
        wanted
    }

    pub(super) fn tunnel_is_up(&self) -> bool {
        self.links.by_name.get(TUNNEL_DEVICE).is_some_and(|link| link.up)
    }

    /// Its name, or its number if it has none any more.
    pub(super) fn interface(&self, ifindex: u32) -> String {
        interface(&self.links, ifindex)
    }
}

pub(super) fn interface(links: &Links, ifindex: u32) -> String {
    links.by_index(ifindex).map_or_else(|| ifindex.to_string(), |(name, _)| name.to_owned())
}

/// A hook that is taken is another's; anything else is the driver's refusal.
fn xdp_alarm(interface: &str, error: &AttachError) -> Alarm {
    let kind = match error {
        AttachError::Taken { .. } => AlarmKind::ForeignProgram,
        _ => AlarmKind::PacketRate,
    };
    let message = format!("frames go by way of TC: {}", vtep_api::daemon::chain(error));
    Alarm::new(kind, interface, message)
}
