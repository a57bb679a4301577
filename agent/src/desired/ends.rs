//! Packet-rate mode takes both ends: a frame that comes by XDP goes on by XDP or not at all.

use vtep_api::PortName;

use super::Inputs;
use crate::alarm::{Alarm, AlarmKind};

/// Interfaces in packet-rate mode that gain nothing by it.
pub(super) fn alarms(inputs: &Inputs<'_>) -> Vec<Alarm> {
    let Inputs { config, links, packet_rate, .. } = inputs;
    let is_on = |name: &PortName| {
        links.by_name.get(name.as_str()).is_some_and(|link| packet_rate.is_on(link.ifindex))
    };
    let alarm = |name: &PortName, message: &str| Alarm::new(AlarmKind::PacketRate, name, message);
    let asked = || config.ports.iter().filter(|port| port.packet_rate);
    // VMs come and go: what is configured counts.
    if asked().next().is_none() {
        let uplinks = config.underlay.packet_rate.iter().filter(|uplink| is_on(uplink));
        let message = "no [[port]] has packet_rate, which takes both ends: frames to ports go by way of TC";
        return uplinks.map(|uplink| alarm(uplink, message)).collect();
    }
    if packet_rate.has_uplink {
        return Vec::new();
    }
    let message = "no uplink is in packet-rate mode (underlay.packet_rate), which takes both ends: \
                   frames from and to VTEPs go by way of TC";
    asked().filter(|port| is_on(&port.name)).map(|port| alarm(&port.name, message)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::alarm::AlarmKind;
    use crate::desired::tests::Host;
    use crate::packet_rate::State;

    const ON: State = State::On { takes_none: None };

    /// Whom the alarm is about, with these configured and the second list in packet-rate mode.
    fn alone(configured: &[&str], on: &[u32]) -> BTreeSet<String> {
        let mut host = Host::new();
        let wants = |name: &str| configured.contains(&name);
        if wants("eth0") {
            host.config.underlay.packet_rate = host.config.underlay.uplinks.clone();
        }
        let mut ports = Vec::from(host.config.ports.clone());
        ports[0].packet_rate = wants("tap0");
        host.config.ports = ports.try_into().unwrap();
        host.packet_rate.by_ifindex = on.iter().map(|&ifindex| (ifindex, ON)).collect();
        host.packet_rate.has_uplink = on.contains(&2);
        let alarms = host.desired().alarms;
        let alarms = alarms.iter().filter(|alarm| alarm.kind == AlarmKind::PacketRate);
        alarms.map(|alarm| alarm.subject.clone()).collect()
    }

    #[test]
    fn one_end_of_packet_rate_mode_alone_is_an_alarm() {
        assert_eq!(alone(&["eth0", "tap0"], &[2, 7]), BTreeSet::new());
        assert_eq!(alone(&["tap0"], &[7]), BTreeSet::from(["tap0".to_owned()]));
        assert_eq!(
            alone(&["eth0", "tap0"], &[7]),
            BTreeSet::from(["tap0".to_owned()]),
            "the uplink is refused"
        );
        assert_eq!(alone(&["eth0"], &[2]), BTreeSet::from(["eth0".to_owned()]));
        assert_eq!(
            alone(&["eth0", "tap0"], &[2]),
            BTreeSet::new(),
            "the port is refused, which is an alarm itself"
        );
        assert_eq!(alone(&[], &[]), BTreeSet::new());
    }
}
