//! A host on which the programs are run by hand: interfaces that take every frame, maps, and an ear for copies.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
    },
};
use vtep_abi::{
    Config, Counter, FdbKey, FdbValue, Limit, LocalPort, PortValue, Target, VERDICTS_MAX, Verdict, VniValue,
    VtepAdj, VtepByIpKey, mapped_v4,
};
use vtep_agent::{
    dataplane::{FdbTarget, Network, PortId, VtepRow},
    kernel::{Kernel, Program, Settings, Sizes},
    plan::Step,
};
use vtep_outer::{Encapsulation, Policy, Tunnel};

use super::{
    Stimulus,
    case::hex,
    compare::{self, Seen},
};
use crate::{
    bpffs::Bpffs,
    link::Link,
    model::{self, Hook, Outcome, Place, Tables, Vtep, VtepCount},
    netns::Netns,
};

pub(super) const PORTS: [u32; 4] = [11, 12, 13, 14];
pub(super) const UPLINKS: [u32; 2] = [21, 22];
pub(super) const TUNNEL: u32 = 31;
pub(super) const VTEPS_MAX: u32 = 8;
pub(super) const DOMAINS_MAX: u32 = 8;

pub struct Rig {
    kernel: Kernel,
    tables: Tables,
    /// Frames that leave any interface.
    ear: OwnedFd,
    /// What the counters should say, and did when they were last read.
    domains: Vec<[Counter; VERDICTS_MAX]>,
    vteps: BTreeMap<u32, VtepCount>,
    verdicts: [u64; VERDICTS_MAX],
    _bpffs: Bpffs,
}

impl Rig {
    /// In a namespace whose interfaces have the numbers above, so that a case is the same everywhere.
    pub fn with<T: Send>(work: impl FnOnce(&mut Self) -> T + Send) -> Result<T> {
        let host = Netns::new("fuzz")?;
        for index in PORTS.into_iter().chain(UPLINKS).chain([TUNNEL]) {
            // A bridge without ports takes every frame, and does nothing with it.
            let kind = format!("index {index} mtu 9000 type bridge stp_state 0 mcast_snooping 0");
            // Copies show their tags.
            Link::add(&host, &format!("if{index}"), &kind)?.set_offload("tx-vlan-hw-insert", false)?;
        }
        host.within(|| Self::new().map(|mut rig| work(&mut rig)))?
    }

    fn new() -> Result<Self> {
        let bpffs = Bpffs::new()?;
        let sizes = Sizes {
            macs_max: 1024,
            vteps_max: VTEPS_MAX,
            vnis_max: DOMAINS_MAX,
            ports_max: 64,
            senders_max: 256,
            flood_max: 65_536,
        };
        let (kernel, _) = Kernel::open(&Settings { sizes, ..Settings::new(bpffs.path().join("vtepd")) })?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let ear = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        setsockopt(&ear, sockopt::RcvBufForce, &(8 << 20))?;
        Ok(Self {
            kernel,
            tables: Tables::default(),
            ear,
            domains: Vec::new(),
            vteps: BTreeMap::new(),
            verdicts: [0; VERDICTS_MAX],
            _bpffs: bpffs,
        })
    }

    /// Empties the maps, and fills them.
    pub(super) fn install(&mut self, tables: &Tables) -> Result<()> {
        let old = std::mem::replace(&mut self.tables, tables.clone());
        self.apply(&[
            Step::RemovePorts(old.bindings.keys().map(|at| port_id(*at)).collect()),
            Step::RemoveNetworks(old.networks.keys().copied().collect()),
            Step::RemoveSenders(old.senders.keys().map(|at| sender_key(*at)).collect()),
            Step::RemoveFdb(old.fdb.keys().map(|(vni, mac)| FdbKey::new(*vni, *mac)).collect()),
            Step::RemoveLocalPorts(old.local_ports.keys().copied().collect()),
            Step::RemoveVteps(old.vteps.keys().copied().collect()),
        ])?;
        self.apply(&[
            Step::SetConfig(config(tables)),
            Step::PutVteps(tables.vteps.iter().map(|(index, vtep)| (*index, vtep_row(vtep))).collect()),
            Step::PutLocalPorts(
                tables.local_ports.iter().map(|(index, port)| (*index, local_port(port))).collect(),
            ),
            Step::PutDomains(domains(tables)),
            Step::PutFdb(
                tables
                    .fdb
                    .iter()
                    .map(|((vni, mac), entry)| (FdbKey::new(*vni, *mac), fdb_target(entry)))
                    .collect(),
            ),
            Step::PutSenders(tables.senders.iter().map(|(at, vtep)| (sender_key(*at), *vtep)).collect()),
            Step::PutNetworks(tables.networks.iter().map(|(vni, row)| (*vni, network(row))).collect()),
            Step::PutPorts(tables.bindings.iter().map(|(at, row)| (port_id(*at), port_value(row))).collect()),
        ])?;
        self.read_counters()
    }

    fn apply(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let applied = self.kernel.apply(step)?;
            ensure!(applied.refused.is_empty(), "the maps have no room for {:?}", applied.refused);
        }
        Ok(())
    }

    /// Runs a frame, and says how the program's answer differs from the model's. The counters of the bridge domain that
    /// the model names are read, and all of them where these did not move; [`Self::settles`] reads the rest.
    pub(super) fn differs(&mut self, stimulus: &Stimulus) -> Result<Option<String>> {
        let Stimulus { hook, ifindex, frame } = stimulus;
        let expected = model::judge(&self.tables, *hook, *ifindex, None, frame);
        let program = match hook {
            Hook::Port => Program::PortIn,
            Hook::Uplink => Program::UplinkIn,
        };
        let run = self.kernel.test_run(program, frame, *ifindex, 1);
        let run = run.with_context(|| format!("the kernel does not run {}", hex(frame)))?;
        let mut moved = self.moved(expected.bd)?;
        if moved.is_empty() {
            for bd in 0..=DOMAINS_MAX {
                moved.extend(self.moved(bd)?);
            }
        }
        let seen = Seen { moved, action: run.action, frame: run.frame, copies: self.heard()? };
        self.expect(&expected);
        Ok(compare::difference(&expected, frame, &seen))
    }

    fn expect(&mut self, expected: &Outcome) {
        self.verdicts[expected.verdict as usize] += 1;
        for (index, count) in &expected.vteps {
            self.vteps.entry(*index).or_default().add(*count);
        }
    }

    /// Whether all counters are where the frames since the tables were installed should have brought them.
    pub(super) fn settles(&mut self) -> Result<bool> {
        for bd in 0..=DOMAINS_MAX {
            if !self.moved(bd)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(self.vtep_counts()? == self.vteps)
    }

    pub(super) fn unsettled(&self) -> Result<String> {
        Ok(format!("VTEPs count {:?}, not {:?}", self.vtep_counts()?, self.vteps))
    }

    pub(super) fn verdicts(&self) -> Vec<(&'static str, u64)> {
        let count = |verdict: &Verdict| (verdict.name(), self.verdicts[*verdict as usize]);
        Verdict::ALL.iter().map(count).collect()
    }

    fn read_counters(&mut self) -> Result<()> {
        self.domains = (0..=DOMAINS_MAX).map(|bd| self.kernel.vni_stats(bd)).collect::<Result<_, _>>()?;
        self.vteps = self.vtep_counts()?;
        Ok(())
    }

    fn vtep_counts(&self) -> Result<BTreeMap<u32, VtepCount>> {
        let count = |index| {
            let stats = self.kernel.vtep_stats(index)?;
            let count = VtepCount {
                sent: stats.sent.packets,
                sent_bytes: stats.sent.bytes,
                received: stats.received.packets,
                received_bytes: stats.received.bytes,
                served_as_slave: stats.served_as_slave,
                copy_errors: stats.copy_errors,
            };
            Ok((index, count))
        };
        (1..=VTEPS_MAX).map(count).collect()
    }

    /// The counters of a bridge domain that differ from when they were last read.
    fn moved(&mut self, bd: u32) -> Result<Vec<(u32, usize, u64, u64)>> {
        let now = self.kernel.vni_stats(bd)?;
        let before = std::mem::replace(&mut self.domains[bd as usize], now);
        let moved = before.iter().zip(&now).enumerate().filter(|(_, (before, now))| before != now);
        Ok(moved
            .map(|(code, (before, now))| {
                (bd, code, now.packets.wrapping_sub(before.packets), now.bytes.wrapping_sub(before.bytes))
            })
            .collect())
    }

    fn heard(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        const OUTGOING: u8 = libc::PACKET_OUTGOING;
        let mut all = Vec::new();
        loop {
            let mut frame = vec![0; 4096];
            match recvfrom::<LinkAddr>(self.ear.as_raw_fd(), &mut frame) {
                Ok((length, Some(from))) if from.pkttype() == OUTGOING => {
                    frame.truncate(length);
                    all.push((u32::try_from(from.ifindex())?, frame));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(all),
                Err(error) => return Err(error).context("copies cannot be heard"),
            }
        }
    }
}

fn config(tables: &Tables) -> Config {
    Config {
        local_v6: [0; 16],
        local_v4: tables.host.address.octets(),
        tunnel_ifindex: tables.host.tunnel,
        udp_port: tables.host.udp_port.to_be_bytes(),
        flags: 0,
    }
}

/// Of every VNI that has MACs.
fn domains(tables: &Tables) -> Vec<(u32, u32)> {
    let networks = tables.networks.iter().map(|(vni, network)| (*vni, network.bd));
    let bindings = tables.bindings.values().map(|binding| (binding.vni, binding.bd));
    networks.chain(bindings).collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn vtep_row(vtep: &Vtep) -> VtepRow {
    let tunnel = Tunnel {
        encapsulation: Encapsulation::Vxlan,
        local: vtep.local.into(),
        remote: vtep.remote.into(),
        udp_port: vtep.udp_port,
    };
    let flags = VtepAdj::DONT_FRAGMENT;
    let policy = Policy { ttl: vtep.ttl, dscp: vtep.dscp, flags, source_ports: (49152, 65535) };
    let mut adj = tunnel.adjacency(&policy).expect("both ends are of one family");
    let flag = |is: bool, flag: u16| if is { flag } else { 0 };
    adj.flags |= flag(vtep.routed, VtepAdj::ROUTED) | flag(vtep.resolved, VtepAdj::RESOLVED);
    adj.ifindex = vtep.uplink;
    adj.mtu = vtep.mtu;
    adj.set_macs(vtep.next_hop, vtep.uplink_mac);
    VtepRow { adj, up: vtep.up, suspect: false }
}

fn local_port(port: &model::LocalPort) -> LocalPort {
    LocalPort {
        ifindex: port.ifindex,
        vni: port.vni,
        vlan: port.vlan,
        flags: if port.decap_in_program { LocalPort::DECAP_IN_PROGRAM } else { 0 },
        bd: port.bd,
    }
}

fn network(network: &model::Network) -> Network {
    Network {
        bd: network.bd,
        flags: if network.drops_unknown { VniValue::DROP_UNKNOWN } else { 0 },
        flood_limit: Limit::default(),
        flood: network.flood.iter().copied().map(target).collect(),
    }
}

fn port_value(binding: &model::Binding) -> PortValue {
    PortValue {
        vni: binding.vni,
        bd: binding.bd,
        local_port: binding.local_port,
        flags: if binding.learns { PortValue::LEARN } else { 0 },
        buckets: binding.local_port,
        ..PortValue::UNBOUND
    }
}

fn fdb_target(entry: &model::Entry) -> FdbTarget {
    // An entry that names nobody has to say something else.
    FdbTarget { master: target(entry.master), slave: target(entry.slave), flags: FdbValue::LEARNT }
}

fn target(place: Place) -> Target {
    match place {
        Place::Nowhere => Target::None,
        Place::Vtep(index) => Target::Vtep(index),
        Place::Port(index) => Target::LocalPort(index),
    }
}

fn port_id((ifindex, vlan): (u32, u16)) -> PortId {
    PortId { ifindex, vlan }
}

fn sender_key((vni, address): (u32, IpAddr)) -> VtepByIpKey {
    let address = match address {
        IpAddr::V4(address) => mapped_v4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    };
    VtepByIpKey { vni, address }
}
