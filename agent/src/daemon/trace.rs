//! `trace`: the program's word on a frame, and the entries that lead there.

use std::net::IpAddr;

use tokio::sync::oneshot;
use vtep_abi::{FdbKey, PortValue, Target, Verdict, VniValue, VtepAdj, VtepByIpKey, mapped_v4};
use vtep_api::MacAddr;
use vtep_api::daemon::chain;

use super::host::Host;
use crate::control::view::FdbEnd;
use crate::control::{ErrorKind, Reply};
use crate::dataplane::{FdbTarget, Network, PortId, VtepRow};
use crate::desired::{self, TUNNEL_DEVICE};
use crate::kernel::{ApplyError, Behind, KernelError, Program, Sample, TraceEntry, Traced, Tracer};
use crate::trace::device::{self, DeviceRow, Inside};
use crate::trace::outer::Outer;
use crate::trace::view::{AdjacencyRow, CopyRow, FrameRow, Step, TraceRow};
use crate::trace::{Probe, Question, array, digits, is_of_the_tables, tag};

/// The entries that a frame meets, and the verdicts to which they can lead.
#[derive(Default)]
struct Chain {
    steps: Vec<Step>,
    leads_to: Vec<Verdict>,
    /// Behind which the frame leaves.
    adjacency: Option<(u32, VtepAdj)>,
    /// Of the network in which it is forwarded.
    vni: u32,
    /// Those of the flood list whose next hops are unresolved, in order: the tunnel device gets their copies.
    by_device: Vec<VtepAdj>,
}

/// A question on its way through the programs.
#[derive(Debug)]
pub(super) struct Tracing {
    tracer: Tracer,
    program: Program,
    interface: String,
    ifindex: u32,
    probe: Probe,
    tunnel_ifindex: u32,
    /// The frame as the tunnel device would hand it on, should it get it.
    inside: Result<Inside, device::Refused>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Answered {
    tracing: Tracing,
    result: Result<Traced, KernelError>,
    reply: oneshot::Sender<Reply>,
}

impl Tracing {
    /// Blocks for a good part of a second.
    pub(super) fn run(self, reply: oneshot::Sender<Reply>) -> Answered {
        let behind = self.inside.as_ref().ok().map(|inside| Behind {
            frame: &inside.frame,
            ifindex: self.tunnel_ifindex,
            vni: inside.vni,
            sender: inside.sender,
        });
        let entry =
            TraceEntry { program: self.program, frame: &self.probe.bytes, ifindex: self.ifindex, behind };
        let result = self.tracer.trace(&entry);
        Answered { tracing: self, result, reply }
    }
}

impl Host {
    pub(super) fn begin_trace(&self, question: &Question) -> Result<Tracing, Reply> {
        let (program, name) = match (&question.port, &question.uplink) {
            (Some(port), None) => (Program::PortIn, port),
            (None, Some(uplink)) => (Program::UplinkIn, uplink),
            _ => return Err(Reply::error(ErrorKind::Usage, "either a port or an uplink is to be given")),
        };
        let Some(link) = self.links.by_name.get(name.as_str()) else {
            return Err(Reply::error(ErrorKind::NotFound, self.no_interface(program, name)));
        };
        let vlan = question.vlan.unwrap_or(0);
        let known = self.source_behind(name, PortId { ifindex: link.ifindex, vlan });
        let probe =
            Probe::new(question, known).map_err(|error| Reply::error(ErrorKind::Usage, error.to_string()))?;
        let tunnel = self.links.by_name.get(TUNNEL_DEVICE);
        Ok(Tracing {
            tracer: self.kernel.tracer(),
            program,
            interface: name.clone(),
            ifindex: link.ifindex,
            inside: match program {
                Program::PortIn => Err(device::Refused::NoTunnel),
                _ => device::decapsulated(&probe.bytes, self.udp_port()),
            },
            probe,
            tunnel_ifindex: tunnel.map_or(0, |link| link.ifindex),
        })
    }

    pub(super) fn end_trace(&self, answered: Answered) {
        let Answered { tracing, result, reply } = answered;
        let answer = result.map_err(|error| chain(&error)).and_then(|traced| {
            let entries = match tracing.program {
                Program::PortIn => self.chain_from_port(tracing.ifindex, &tracing.probe),
                _ => self.chain_from_underlay(&tracing.probe),
            };
            let entries = entries.map_err(|error| chain(&error))?;
            Ok(self.trace_row(&tracing, &traced, entries))
        });
        // A client that does not wait for its answer needs none.
        drop(reply.send(match answer {
            Ok(row) => Reply::rows([row]),
            Err(message) => Reply::error(ErrorKind::Failed, message),
        }));
    }

    fn no_interface(&self, program: Program, name: &str) -> String {
        let mut known: Vec<String> = match program {
            Program::PortIn => self.installed.ports.keys().map(|port| self.interface(port.ifindex)).collect(),
            _ => self
                .attached
                .iter()
                .filter(|at| at.program == program)
                .map(|at| self.interface(at.ifindex))
                .collect(),
        };
        known.dedup();
        let what = if program == Program::PortIn { "ports" } else { "uplinks" };
        format!("this host has no interface {name:?}; its {what} are: {}", known.join(", "))
    }

    /// For where nothing is bound any source will do: the programs look at none.
    fn source_behind(&self, name: &str, port: PortId) -> Result<MacAddr, String> {
        const ANY: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let tag = if port.vlan == 0 { String::new() } else { format!(" VLAN {}", port.vlan) };
        let untagged = PortId { vlan: 0, ..port };
        let here = [port, untagged].into_iter().find(|port| self.installed.ports.contains_key(port));
        let is_port =
            self.attached.iter().any(|at| at.ifindex == port.ifindex && at.program == Program::PortIn);
        match here {
            Some(bound) => self.mac_behind(bound).ok_or_else(|| format!("{name}{tag}")),
            None if is_port => Ok(ANY),
            None => Err(format!("{name}{tag}")),
        }
    }

    fn mac_behind(&self, port: PortId) -> Option<MacAddr> {
        let bound = self.installed.ports.get(&port)?;
        let here = Target::LocalPort(bound.local_port);
        let mut macs = self.installed.fdb.iter().filter(|(_, target)| target.master == here);
        macs.next().map(|(key, _)| MacAddr::new(key.mac))
    }

    fn chain_from_port(&self, ifindex: u32, probe: &Probe) -> Result<Chain, ApplyError> {
        let mut chain = Chain::default();
        let Some((vlan, port)) = self.binding(ifindex, probe)? else {
            let tag = match probe.vlan() {
                None => "with a provider tag".to_owned(),
                Some(0) => "without a tag".to_owned(),
                Some(vlan) => format!("in VLAN {vlan}"),
            };
            let of = format!("a binding of {} {tag}", self.interface(ifindex));
            return Ok(chain.ends(of, Verdict::Unbound));
        };
        chain.steps.push(Step::Port {
            port: self.interface(ifindex),
            vlan,
            vni: port.vni,
            learning: port.flags & PortValue::LEARN != 0,
        });
        let Some(network) = self.network_step(&mut chain, port.vni)? else { return Ok(chain) };
        let Some(entry) = self.fdb_step(&mut chain, port.vni, probe.dst())? else {
            self.unknown(&mut chain, &network, probe.dst(), Verdict::Flooded);
            return Ok(chain);
        };
        self.serve(&mut chain, &entry, port.local_port)?;
        Ok(chain)
    }

    /// Its tag's own, or that of untagged frames where that takes others.
    fn binding(&self, ifindex: u32, probe: &Probe) -> Result<Option<(u16, PortValue)>, ApplyError> {
        if let Some(vlan) = probe.vlan()
            && let Some(port) = self.kernel.port(PortId { ifindex, vlan })?
        {
            return Ok(Some((vlan, port)));
        }
        let untagged = self.kernel.port(PortId { ifindex, vlan: 0 })?;
        let takes = |port: &PortValue| port.flags & (PortValue::POP_TAG | PortValue::CARRY_TAG) != 0;
        Ok(untagged.filter(takes).map(|port| (0, port)))
    }

    fn network_step(&self, chain: &mut Chain, vni: u32) -> Result<Option<Network>, ApplyError> {
        let network = self.kernel.network(vni)?;
        let Some(network) = network else {
            chain.steps.push(Step::Nothing { of: format!("VNI {vni} at this host") });
            chain.leads_to.push(Verdict::UnknownVni);
            return Ok(None);
        };
        chain.vni = vni;
        chain.steps.push(Step::Vni {
            vni,
            logical_switch: self.outcome.names.networks.get(&vni).map(ToString::to_string),
            bridge_domain: network.bd,
            unknown_unicast: if network.flags & VniValue::DROP_UNKNOWN == 0 { "flood" } else { "drop" }
                .to_owned(),
        });
        Ok(Some(network))
    }

    fn fdb_step(&self, chain: &mut Chain, vni: u32, mac: MacAddr) -> Result<Option<FdbTarget>, ApplyError> {
        if mac.octets()[0] & 1 == 1 {
            return Ok(None);
        }
        let Some(value) = self.kernel.fdb_entry(&FdbKey::new(vni, mac.octets()))? else {
            chain.steps.push(Step::Nothing { of: format!("an FDB entry of {mac} in VNI {vni}") });
            return Ok(None);
        };
        let target = FdbTarget { master: value.master(), slave: value.slave(), flags: value.flags() };
        chain.steps.push(Step::Fdb {
            mac,
            master: self.end(target.master),
            slave: self.end(target.slave),
            learnt: target.is_learnt(),
        });
        Ok(Some(target))
    }

    /// A group address, or a MAC without an entry.
    fn unknown(&self, chain: &mut Chain, network: &Network, mac: MacAddr, flooded: Verdict) {
        let group = mac.octets()[0] & 1 == 1;
        if !group && network.flags & VniValue::DROP_UNKNOWN != 0 {
            chain.leads_to.push(Verdict::UnknownUnicast);
            return;
        }
        let local_only = flooded == Verdict::DeliveredFlood;
        let members =
            network.flood.iter().filter(|member| !local_only || matches!(member, Target::LocalPort(_)));
        let name =
            |member: &Target| self.end(*member).map_or_else(|| "gone".to_owned(), |end| end.to_string());
        chain.steps.push(Step::Flood { members: members.map(name).collect() });
        let vteps = network.flood.iter().filter_map(|member| match member {
            Target::Vtep(index) if !local_only => self.installed.vteps.get(index),
            _ => None,
        });
        let is_by_device = |row: &&VtepRow| {
            let VtepRow { adj, up, suspect } = row;
            let is_reached = *up && !suspect && adj.is(VtepAdj::ROUTED);
            is_reached && adj.encap == VtepAdj::VXLAN && !adj.is(VtepAdj::RESOLVED)
        };
        chain.by_device = vteps.filter(is_by_device).map(|row| row.adj).collect();
        chain.leads_to.push(flooded);
    }

    fn serve(&self, chain: &mut Chain, entry: &FdbTarget, from: u32) -> Result<(), ApplyError> {
        let mut suspect = None;
        for (target, role, verdict) in
            [(entry.master, "master", Verdict::Master), (entry.slave, "slave", Verdict::Slave)]
        {
            match target {
                Target::None => {}
                Target::LocalPort(index) if index == from => {
                    chain.leads_to.push(Verdict::SamePort);
                    return Ok(());
                }
                Target::LocalPort(_) => {
                    chain.steps.extend(self.end(target).map(|port| Step::LocalPort { port }));
                    chain.leads_to.extend([Verdict::Local, Verdict::PortGone]);
                    return Ok(());
                }
                Target::Vtep(index) => {
                    let Some(row) = self.kernel.vtep(index)? else { continue };
                    let sound = row.up && !row.suspect;
                    let vtep = self.vtep_end(index, &row, sound);
                    chain.steps.push(Step::Vtep { vtep, role: role.to_owned() });
                    if sound {
                        self.adjacency_step(chain, index, &row, verdict);
                        return Ok(());
                    }
                    if row.up {
                        suspect.get_or_insert((index, row, verdict));
                    }
                }
            }
        }
        if let Some((index, row, verdict)) = suspect {
            self.adjacency_step(chain, index, &row, verdict);
            return Ok(());
        }
        let nobody = entry.master == Target::None && entry.slave == Target::None;
        chain.leads_to.push(if nobody { Verdict::UnknownUnicast } else { Verdict::BothDown });
        Ok(())
    }

    fn adjacency_step(&self, chain: &mut Chain, index: u32, row: &VtepRow, verdict: Verdict) {
        let adj = &row.adj;
        chain.steps.push(Step::Adjacency {
            adjacency: AdjacencyRow {
                local: desired::ip(adj.local),
                remote: desired::ip(adj.remote),
                interface: adj.is(VtepAdj::ROUTED).then(|| self.interface(adj.ifindex)),
                next_hop: adj.is(VtepAdj::RESOLVED).then(|| MacAddr::new(adj.dst_mac())),
                mtu: adj.mtu,
            },
        });
        chain.adjacency = Some((index, *adj));
        if !adj.is(VtepAdj::ROUTED) {
            chain.leads_to.push(Verdict::NoRoute);
            return;
        }
        if adj.is(VtepAdj::RESOLVED) {
            chain.leads_to.push(verdict);
        }
        // Also where the kernel makes no room for outer headers.
        chain.leads_to.push(Verdict::Device);
    }

    fn chain_from_underlay(&self, probe: &Probe) -> Result<Chain, ApplyError> {
        let mut chain = Chain::default();
        let Some((outer, inner)) = Outer::split(&probe.bytes, self.udp_port()) else {
            return Ok(chain.ends("headers of a tunnel in the frame".to_owned(), Verdict::NotOurs));
        };
        let (vni, source, destination) = (outer.vni, outer.source, outer.destination);
        chain.steps.push(Step::Outer { outer });
        if !self.config.underlay.address.contains(destination) {
            return Ok(chain.ends(format!("{destination} as an address of our VTEP"), Verdict::NotOurs));
        }
        let Some(network) = self.network_step(&mut chain, vni)? else { return Ok(chain) };
        let address = match source {
            IpAddr::V4(v4) => mapped_v4(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        };
        let Some(sender) = self.kernel.sender(&VtepByIpKey { vni, address })? else {
            let known = self.kernel.sender(&VtepByIpKey { vni: 0, address })?.is_some();
            let verdict = if known { Verdict::SenderNotInVni } else { Verdict::UnknownSender };
            return Ok(chain.ends(format!("{source} among the senders of VNI {vni}"), verdict));
        };
        if let Some(vtep) = self.end(Target::Vtep(sender)) {
            chain.steps.push(Step::Sender { address: source, vtep });
        }
        let Some(dst) = inner.first_chunk().copied().map(MacAddr::new) else { return Ok(chain) };
        // What is left to the kernel's tunnel device, tunnel_in decides.
        chain.leads_to.push(Verdict::Admitted);
        let Some(entry) = self.fdb_step(&mut chain, vni, dst)? else {
            self.unknown(&mut chain, &network, dst, Verdict::DeliveredFlood);
            return Ok(chain);
        };
        let local = [entry.master, entry.slave].into_iter().find(|end| matches!(end, Target::LocalPort(_)));
        match local.and_then(|port| self.end(port)) {
            Some(port) => {
                chain.steps.push(Step::LocalPort { port });
                chain.leads_to.extend([Verdict::Delivered, Verdict::PortGone]);
            }
            None => chain.leads_to = vec![Verdict::SplitHorizon],
        }
        Ok(chain)
    }

    pub(super) fn udp_port(&self) -> u16 {
        self.config.underlay.udp_port.as_u16()
    }

    pub(super) fn end(&self, target: Target) -> Option<FdbEnd> {
        match target {
            Target::None => None,
            Target::Vtep(index) => {
                let row = self.installed.vteps.get(&index)?;
                Some(self.vtep_end(index, row, row.up))
            }
            Target::LocalPort(index) => {
                let port = self.installed.local_ports.get(&index)?;
                let name = self.links.by_index(port.ifindex).map(|(name, _)| name.to_owned());
                Some(FdbEnd::Port { index, name, vlan: port.vlan })
            }
        }
    }

    fn vtep_end(&self, index: u32, row: &VtepRow, up: bool) -> FdbEnd {
        FdbEnd::Vtep {
            index,
            name: self.outcome.names.vteps.get(&index).map(ToString::to_string),
            address: desired::ip(row.adj.remote).to_string(),
            up,
        }
    }

    fn trace_row(&self, tracing: &Tracing, traced: &Traced, chain: Chain) -> TraceRow {
        let Tracing { program, interface, probe, .. } = tracing;
        let head = &traced.end.head;
        let to = head.goes_to();
        let verdict = Verdict::from_code(head.verdict);
        let outer = Outer::parse(&traced.end.frame, self.udp_port())
            .filter(|_| to.is_some() && *program == Program::PortIn);
        let disagreement = match verdict {
            Some(verdict) => disagreement(&chain, verdict, outer.as_ref(), to.unwrap_or(0)),
            None => Some(format!("verdict {} is unknown to this agent", head.verdict)),
        };
        let (frame, sent) = (frame_row(&probe.bytes), &traced.end.frame);
        let device = match verdict {
            Some(Verdict::Admitted) => Some(decapsulates(&tracing.inside)),
            Some(Verdict::Device) if to == Some(tracing.tunnel_ifindex) => {
                chain.adjacency.and_then(|(_, adj)| self.encapsulates(&adj, chain.vni, sent))
            }
            _ => None,
        };
        let then = traced.behind.as_ref().map(|behind| Box::new(self.row_behind(tracing, behind, &chain)));
        let copies = self.copy_rows(&traced.copies, tracing.tunnel_ifindex, &chain);
        TraceRow {
            steps: chain.steps,
            device,
            copies,
            then,
            outer,
            disagreement,
            ..self.fate(traced, *program, interface, frame)
        }
    }

    /// What the program behind the tunnel device made of the frame; its entries are those that `uplink_in` met.
    fn row_behind(&self, tracing: &Tracing, behind: &Traced, chain: &Chain) -> TraceRow {
        let verdict = Verdict::from_code(behind.end.head.verdict);
        let leads_to = chain.leads_to.iter().copied().filter(|verdict| *verdict != Verdict::Admitted);
        let rest = Chain { leads_to: leads_to.collect(), ..Chain::default() };
        let frame = tracing.inside.as_ref().map_or(&behind.end.frame, |inside| &inside.frame);
        TraceRow {
            copies: self.copy_rows(&behind.copies, tracing.tunnel_ifindex, chain),
            disagreement: verdict.and_then(|verdict| disagreement(&rest, verdict, None, 0)),
            ..self.fate(behind, Program::TunnelIn, TUNNEL_DEVICE, frame_row(frame))
        }
    }

    /// The verdict, and where the frame goes on.
    fn fate(&self, traced: &Traced, program: Program, interface: &str, frame: FrameRow) -> TraceRow {
        let head = &traced.end.head;
        let verdict = Verdict::from_code(head.verdict);
        let to = head.goes_to();
        TraceRow {
            program: program.to_string(),
            interface: interface.to_owned(),
            frame,
            steps: Vec::new(),
            verdict: verdict.map_or_else(|| head.verdict.to_string(), |verdict| verdict.name().to_owned()),
            meaning: verdict.map_or("", Verdict::meaning).to_owned(),
            drop: verdict.is_some_and(Verdict::is_drop),
            to: to.map(|to| self.interface(to)),
            bytes: to.map(|_| digits(&traced.end.frame)),
            outer: None,
            device: None,
            copies: Vec::new(),
            then: None,
            disagreement: None,
        }
    }

    /// Copies by the tunnel device are told apart by their order, unless a table changed meanwhile.
    fn copy_rows(&self, copies: &[Sample], tunnel: u32, chain: &Chain) -> Vec<CopyRow> {
        let by_device = copies.iter().filter(|copy| copy.head.to == tunnel).count();
        let mut vteps = (by_device == chain.by_device.len()).then(|| chain.by_device.iter());
        let mut device = |copy: &Sample| {
            let adj = vteps.as_mut().filter(|_| copy.head.to == tunnel)?.next()?;
            self.encapsulates(adj, chain.vni, &copy.frame)
        };
        let row = |copy: &Sample| CopyRow {
            to: self.interface(copy.head.to),
            vlan: copy.vlan(),
            outer: Outer::parse(&copy.frame, self.udp_port()),
            bytes: digits(&copy.frame),
            device: device(copy),
        };
        copies.iter().map(row).collect()
    }

    fn encapsulates(&self, adj: &VtepAdj, vni: u32, frame: &[u8]) -> Option<DeviceRow> {
        Some(DeviceRow::Encapsulates {
            device: TUNNEL_DEVICE.to_owned(),
            outer: device::encapsulated(adj, self.udp_port(), vni, frame)?,
            udp_sources: (adj.source_port_first, adj.source_port_last),
            interface: adj.is(VtepAdj::ROUTED).then(|| self.interface(adj.ifindex)),
        })
    }
}

fn decapsulates(inside: &Result<Inside, device::Refused>) -> DeviceRow {
    let device = TUNNEL_DEVICE.to_owned();
    match inside {
        Ok(inside) => DeviceRow::Decapsulates { device, ecn: inside.ecn },
        Err(why) => DeviceRow::Drops { device, why: why.to_string() },
    }
}

fn frame_row(bytes: &[u8]) -> FrameRow {
    let [dst, src] = [0, 6].map(|at| MacAddr::new(array(bytes, at)));
    let vlan = tag(bytes).map(|(_, tci)| tci & 0x0fff);
    FrameRow { src, dst, vlan, len: bytes.len() }
}

impl Chain {
    fn ends(mut self, of: String, verdict: Verdict) -> Self {
        self.steps.push(Step::Nothing { of });
        self.leads_to.push(verdict);
        self
    }
}

fn disagreement(chain: &Chain, verdict: Verdict, outer: Option<&Outer>, to: u32) -> Option<String> {
    if !is_of_the_tables(verdict) {
        return None;
    }
    if !chain.leads_to.contains(&verdict) {
        let names: Vec<&str> = chain.leads_to.iter().map(|verdict| verdict.name()).collect();
        return Some(format!(
            "the entries lead to {}, the program says {}",
            names.join(" or "),
            verdict.name()
        ));
    }
    let (_, adj) = chain.adjacency.filter(|_| matches!(verdict, Verdict::Master | Verdict::Slave))?;
    let Some(outer) = outer else { return Some("the frame that leaves has no outer headers".to_owned()) };
    let (remote, next_hop) = (desired::ip(adj.remote), MacAddr::new(adj.dst_mac()));
    if (outer.destination, outer.dst_mac, to) == (remote, next_hop, adj.ifindex) {
        return None;
    }
    Some(format!(
        "the adjacency is {remote} by {next_hop} at interface {}, the frame leaves to {} by {} at interface {to}",
        adj.ifindex, outer.destination, outer.dst_mac
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(leads_to: &[Verdict], verdict: Verdict, expected: Option<&str>) {
        let chain = Chain { leads_to: leads_to.to_vec(), ..Chain::default() };
        assert_eq!(disagreement(&chain, verdict, None, 0).as_deref(), expected);
    }

    #[test]
    fn a_verdict_to_which_no_entry_leads_is_told() {
        let both = [Verdict::Master, Verdict::Device];
        check(&both, Verdict::Device, None);
        check(
            &both,
            Verdict::BothDown,
            Some("the entries lead to master or device, the program says both_down"),
        );
        check(&both, Verdict::Master, None);
        // The program ended before it met the entries.
        check(&both, Verdict::GroupSource, None);
    }
}
