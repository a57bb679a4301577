use super::super::facts::{Frames, Host};
use super::super::finding::{Finding, Group, Mend, Section};
use super::super::frames::{Sent, TAP};
use super::port;
use crate::config::Port;
use crate::desired::decap::Way;

pub(super) fn judge(host: &Host, findings: &mut Vec<Finding>) {
    let sent = match &host.frames {
        Frames::NotAsked => return,
        Frames::NotTried(error) => {
            let mend = Mend::expected("namespaces, and an agent in one").by("run as root; vtep-agent check");
            return Section::new(Group::Frames, None, findings).warning(
                "namespaces",
                format!("no frame was sent: {error}"),
                mend,
            );
        }
        Frames::Sent(sent) => sent,
    };
    for Sent { lane, probe, outcome } in sent {
        let mut section = Section::new(Group::Frames, Some(lane), findings);
        match outcome {
            Ok(arrived) => section.ok(probe.name(), arrived.as_str()),
            Err(error) if is_used(host, lane) => {
                let mend = Mend::expected("to arrive as on any host; no port should go this way")
                    .by("another decap in the [[port]] sections, and a report with this output");
                section.problem(probe.name(), error.as_str(), mend);
            }
            Err(error) => {
                let mend = Mend::expected("to arrive; no port goes this way");
                section.warning(probe.name(), error.as_str(), mend);
            }
        }
    }
}

/// The tunnel device takes what no other way takes, at every kind of port.
fn is_used(host: &Host, lane: &str) -> bool {
    lane == Way::Device.name() || host.ports.iter().flatten().any(|port| self::lane(host, port) == Some(lane))
}

/// That of a port's kind and way; none where it cannot be told.
fn lane(host: &Host, port: &Port) -> Option<&'static str> {
    let way = port::way(host, port)?;
    let interface = host.interfaces.get(port.name.as_str())?;
    let is_tap = way == Way::Device && interface.vnet_header == Some(true);
    Some(if is_tap { TAP } else { way.name() })
}

/// Whether all frames arrived on a port's lane; none if it was not tried.
pub(super) fn arrive(host: &Host, port: &Port) -> Option<(&'static str, Vec<&'static str>)> {
    let (Frames::Sent(sent), lane) = (&host.frames, lane(host, port)?) else { return None };
    let of_lane: Vec<&Sent> = sent.iter().filter(|sent| sent.lane == lane).collect();
    let failed = of_lane.iter().filter(|sent| sent.outcome.is_err()).map(|sent| sent.probe.name()).collect();
    (!of_lane.is_empty()).then_some((lane, failed))
}
