use super::super::facts::{Frames, Host};
use super::super::finding::{Finding, Group, Mend, Section};
use super::super::frames::Sent;
use super::port;
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
    for Sent { way, probe, outcome } in sent {
        let mut section = Section::new(Group::Frames, Some(way.name()), findings);
        match outcome {
            Ok(arrived) => section.ok(probe.name(), arrived.as_str()),
            Err(error) if is_used(host, *way) => {
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
fn is_used(host: &Host, way: Way) -> bool {
    way == Way::Device || host.ports.iter().flatten().any(|port| port::way(host, port) == Some(way))
}

/// Whether all frames arrived by a way; none if it was not tried.
pub(super) fn arrive(host: &Host, way: Way) -> Option<Result<(), Vec<&'static str>>> {
    let Frames::Sent(sent) = &host.frames else { return None };
    let of_way: Vec<&Sent> = sent.iter().filter(|sent| sent.way == way).collect();
    let failed: Vec<_> =
        of_way.iter().filter(|sent| sent.outcome.is_err()).map(|sent| sent.probe.name()).collect();
    (!of_way.is_empty()).then_some(if failed.is_empty() { Ok(()) } else { Err(failed) })
}
