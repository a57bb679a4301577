//! The kinds of frames that are sent on each way, and what is to arrive.

use std::io;

use tokio::runtime::Handle;

use super::agent::Agent;
use super::lab::{FAR_UPLINK, Lab, Lane, VLAN, lanes};
use super::packet::{self, Ear};
use super::stream::{self, At, PATIENCE, STREAM_LEN};
use super::{FramesError, Sent};
use crate::control::view::StatsRow;
use crate::desired::decap::Way;
use crate::netlink::Netlink;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether the port goes the way that it should.
    Path,
    UdpOut,
    UdpIn,
    TcpOut,
    TcpIn,
    VlanOut,
    VlanIn,
    TooBigV4,
    TooBigV6,
}

/// What arrived, or what was wrong.
pub type Outcome = Result<String, String>;

impl Probe {
    const ALL: [Self; 9] = [
        Self::Path,
        Self::UdpOut,
        Self::UdpIn,
        Self::TcpOut,
        Self::TcpIn,
        Self::VlanOut,
        Self::VlanIn,
        Self::TooBigV4,
        Self::TooBigV6,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::UdpOut => "udp_out",
            Self::UdpIn => "udp_in",
            Self::TcpOut => "tcp_out",
            Self::TcpIn => "tcp_in",
            Self::VlanOut => "vlan_out",
            Self::VlanIn => "vlan_in",
            Self::TooBigV4 => "too_big_v4",
            Self::TooBigV6 => "too_big_v6",
        }
    }

    fn is_of(self, lane: Lane, room: u32) -> bool {
        /// RFC 8200 §5.
        const IPV6_MTU_MIN: u32 = 1280;
        match self {
            Self::VlanOut | Self::VlanIn => lane.is_trunk,
            Self::TooBigV6 => room >= IPV6_MTU_MIN,
            _ => true,
        }
    }
}

/// A way that a port does not go is not tried further.
///
/// # Errors
///
/// The agent ended: of a failure, or because somebody does not want to wait.
pub(super) fn all(lab: &Lab, agent: &Agent, runtime: &Handle) -> Result<Vec<Sent>, FramesError> {
    let mut sent = Vec::new();
    for lane in lanes() {
        for probe in Probe::ALL.into_iter().filter(|probe| probe.is_of(lane, lab.underlay.room())) {
            agent.still_runs()?;
            let before = agent.drops();
            let outcome = Bench { lab, agent, runtime, lane }
                .outcome(probe)
                .map_err(|error| format!("{error}{}", dropped(&before, &agent.drops())));
            let lost = probe == Probe::Path && outcome.is_err();
            sent.push(Sent { lane: lane.name, probe, outcome });
            if lost {
                break;
            }
        }
    }
    Ok(sent)
}

struct Bench<'a> {
    lab: &'a Lab,
    agent: &'a Agent,
    runtime: &'a Handle,
    lane: Lane,
}

impl Bench<'_> {
    fn outcome(&self, probe: Probe) -> Result<String, FramesError> {
        let Self { lab, lane, .. } = *self;
        let vm = At { place: &lab.vms, address: lane.vm_address() };
        let far = At { place: lab.far(lane), address: lane.far_address() };
        match probe {
            Probe::Path => self.path(),
            Probe::UdpOut => self.udp(vm, far),
            Probe::UdpIn => self.udp(far, vm),
            Probe::TcpOut => self.tcp_out(vm, far),
            Probe::TcpIn => {
                stream::tcp(far, vm)?;
                Ok(format!("{} KiB arrived as sent", STREAM_LEN >> 10))
            }
            Probe::VlanOut => self.vlan_out(),
            Probe::VlanIn => self.vlan_in(),
            Probe::TooBigV4 => self.too_big(false),
            Probe::TooBigV6 => self.too_big(true),
        }
    }

    fn path(&self) -> Result<String, FramesError> {
        let ports = self.agent.ports().map_err(io::Error::other)?;
        let expected = self.lane.way.name();
        let row = ports.into_iter().find(|row| row.port == self.lane.port());
        let row = row.ok_or_else(|| FramesError::Agent("it has no such port".to_owned()))?;
        if row.decap.as_deref() == Some(expected) {
            return Ok("taken".to_owned());
        }
        let why = row.packet_rate.or(row.decap_why).unwrap_or_default();
        let found = row.decap.unwrap_or_default();
        Err(io::Error::other(format!("the port goes by {found:?}: {why}")).into())
    }

    /// From a VM with offloads its checksum is left to be made.
    fn udp(&self, from: At<'_>, to: At<'_>) -> Result<String, FramesError> {
        const HEADERS: usize = 28;
        const LENGTH_MAX: usize = 1400;
        let length = (self.lab.underlay.room() as usize).saturating_sub(HEADERS).min(LENGTH_MAX);
        stream::udp(from, to, length)?;
        Ok(format!("{length} bytes arrived, their checksum right"))
    }

    fn tcp_out(&self, vm: At<'_>, far: At<'_>) -> Result<String, FramesError> {
        let before = self.received()?;
        stream::tcp(vm, far)?;
        let after = self.received()?;
        let (frames, bytes) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
        let mean = bytes.checked_div(frames).unwrap_or_default();
        let arrived =
            format!("{} KiB arrived as sent, in frames of {mean} bytes on average", STREAM_LEN >> 10);
        if self.lane.way != Way::Xdp && mean <= u64::from(self.lab.underlay.mtu) {
            return Err(io::Error::other(format!("{arrived}, expected super-frames")).into());
        }
        Ok(arrived)
    }

    /// At the port, by the VM.
    fn received(&self) -> Result<(u64, u64), FramesError> {
        let Self { lab, runtime, lane, .. } = *self;
        let asked = async move {
            let netlink = Netlink::open()?;
            let link = netlink.links().await?.remove(&lane.port());
            let link = link.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(netlink.received(link.ifindex).await?)
        };
        lab.host.within(|| runtime.block_on(asked))
    }

    /// A tagged frame of the VM, heard as it arrives at the far end, outer headers and all.
    fn vlan_out(&self) -> Result<String, FramesError> {
        let Self { lab, lane, .. } = *self;
        let (vni, udp_port) = (lane.trunk_vni(), lab.underlay.udp_port);
        let vm = Ear::at(&lab.vms, &lane.vm_link(), false)?;
        let wire = Ear::at(lab.far(lane), FAR_UPLINK, false)?;
        let tagged = packet::marked(lane.vm_mac(), lane.trunk_mac(), Some(VLAN));
        let bare = packet::marked(lane.vm_mac(), lane.trunk_mac(), None);
        let arrived = wire.hears(
            PATIENCE,
            || vm.send(&tagged),
            |frame| {
                let (found, inner) = packet::inner(frame, udp_port)?;
                let is_it = inner.starts_with(&bare) || inner.starts_with(&tagged);
                is_it.then(|| (found, inner.starts_with(&bare)))
            },
        )?;
        match arrived {
            Some((found, true)) if found == vni => {
                Ok(format!("tag {VLAN} became VNI {vni}, without the tag"))
            }
            Some((found, bare)) => {
                let tag = if bare { "without" } else { "with" };
                Err(io::Error::other(format!(
                    "it arrived in VNI {found} {tag} its tag, expected {vni} without"
                ))
                .into())
            }
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived").into()),
        }
    }

    /// A frame of the far end, heard as it leaves to the VM.
    fn vlan_in(&self) -> Result<String, FramesError> {
        let Self { lab, lane, .. } = *self;
        let far = Ear::at(lab.far(lane), &lane.trunk_link(), false)?;
        let port = Ear::at(&lab.host, &lane.port(), true)?;
        let bare = packet::marked(lane.trunk_mac(), lane.vm_mac(), None);
        let tagged = packet::marked(lane.trunk_mac(), lane.vm_mac(), Some(VLAN));
        let arrived = port.hears(
            PATIENCE,
            || far.send(&bare),
            |frame| {
                (frame.starts_with(&bare) || frame.starts_with(&tagged)).then(|| frame.starts_with(&tagged))
            },
        )?;
        match arrived {
            Some(true) => Ok(format!("VNI {} became tag {VLAN}", lane.trunk_vni())),
            Some(false) => Err(io::Error::other(format!("it arrived without tag {VLAN}")).into()),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived").into()),
        }
    }

    fn too_big(&self, v6: bool) -> Result<String, FramesError> {
        const BEYOND: u32 = 20;
        let Self { lab, lane, .. } = *self;
        let room = lab.underlay.room();
        let vm = Ear::at(&lab.vms, &lane.vm_link(), false)?;
        let frame = packet::oversize(lane.vm_mac(), lane.far_mac(), v6, (room + BEYOND) as usize);
        let answer = vm.hears(PATIENCE, || vm.send(&frame), |frame| packet::named_mtu(frame, v6))?;
        match answer {
            Some(mtu) if mtu == room => {
                Ok(format!("the VM was told {room} by {}", if v6 { "ICMPv6" } else { "ICMP" }))
            }
            Some(mtu) => Err(io::Error::other(format!("the VM was told {mtu}, expected {room}")).into()),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "the VM was told nothing").into()),
        }
    }
}

/// `; dropped meanwhile: unknown_sender 3`.
fn dropped(before: &[StatsRow], after: &[StatsRow]) -> String {
    let more = after.iter().filter_map(|row| {
        let same = before.iter().find(|last| (last.vni, &last.verdict) == (row.vni, &row.verdict));
        let count = row.packets.saturating_sub(same.map_or(0, |last| last.packets));
        (count > 0).then(|| format!("{} {count}", row.verdict))
    });
    let more: Vec<String> = more.collect();
    if more.is_empty() {
        "; nothing was dropped by the programs".to_owned()
    } else {
        format!("; dropped meanwhile: {}", more.join(", "))
    }
}
