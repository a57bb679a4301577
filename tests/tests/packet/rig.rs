//! A host with two ports, an uplink and four VTEPs, on which programs are run by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use aya::maps::{Array, Map, MapData};
use vtep_abi::{
    ABI_VERSION, AllowedKey, Config, Limit, LocalPort, PortValue, Target, VERDICTS_MAX, Verdict, VniValue,
    VtepAdj, VtepByIpKey, map, mapped_v4,
};
use vtep_agent::{
    dataplane::{FdbTarget, Network, PortId, VtepRow},
    kernel::{Hook, Kernel, Program, Settings, Sizes},
    plan::Step,
};
use vtep_api::MacAddr;
use vtep_outer::{Encapsulation, Policy, Tunnel};
use vtep_tests::{bpffs::Bpffs, frame::Endpoint, link::Link, netns::Netns};

pub(crate) const VNI: u32 = 5001;
/// Drops unknown unicast.
pub(crate) const VNI_STRICT: u32 = 5002;

pub(crate) const VM: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 1], [10, 1, 0, 1], 1000);
pub(crate) const VM_2: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 2], [10, 1, 0, 2], 1000);
pub(crate) const PEER: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 3], [10, 1, 0, 3], 2000);
pub(crate) const PEER_2: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 4], [10, 1, 0, 4], 2000);
pub(crate) const HOST: Endpoint = Endpoint::new([2, 0xaa, 0, 0, 0, 1], [192, 0, 2, 1], 4789);
pub(crate) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The defaults of the configuration.
pub(crate) const POLICY: Policy =
    Policy { ttl: 64, dscp: 0, flags: VtepAdj::DONT_FRAGMENT, source_ports: (49152, 65535) };
pub(crate) const FABRIC_MAC: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 2]);

pub(crate) const TOR_A: u32 = 1;
pub(crate) const TOR_B: u32 = 2;
/// Its next hop is unknown.
pub(crate) const TOR_UNRESOLVED: u32 = 3;
/// No route leads to it, and it is no member of any network.
pub(crate) const TOR_LOST: u32 = 4;

pub(crate) struct Rig {
    pub(crate) kernel: Kernel,
    pub(crate) port: u32,
    pub(crate) port_2: u32,
    pub(crate) uplink: u32,
    pub(crate) tunnel: u32,
    /// Whether XDP programs stand at the first port and at the uplink.
    pub(crate) packet_rate: bool,
    links: [Link; 3],
    bpffs: Bpffs,
}

pub(crate) struct Seen {
    /// At which the frame came to its end.
    pub(crate) hook: Hook,
    pub(crate) verdict: Verdict,
    pub(crate) action: u32,
    /// What the verdict's counter took for it.
    pub(crate) bytes: u64,
    pub(crate) frame: Vec<u8>,
}

/// Frames that left through each interface.
pub(crate) struct Copies {
    pub(crate) port: u64,
    pub(crate) port_2: u64,
    pub(crate) uplink: u64,
}

type Counters = Vec<[(u64, u64); VERDICTS_MAX]>;

impl Rig {
    /// Runs a test inside the host's namespace, as a test-run's interface numbers want it: through TC alone, then with
    /// packet-rate mode.
    pub(crate) fn with(test: impl Fn(&mut Self) + Send + Sync) {
        for packet_rate in [false, true] {
            Self::once(packet_rate, &test);
        }
    }

    pub(crate) fn once(packet_rate: bool, test: impl Fn(&mut Self) + Send + Sync) {
        let host = Netns::new("host").unwrap();
        let far = Netns::new("far").unwrap();
        let links = ["port", "port2", "uplink"].map(|name| Link::veth(&host, name, &far, name).unwrap().0);
        let tunnel = Link::add(&host, "tunnel", "type vxlan external dstport 4789").unwrap();
        host.within(move || {
            let mut rig = Self::new(links, &tunnel, packet_rate).unwrap();
            test(&mut rig);
        })
        .unwrap();
    }

    fn new(links: [Link; 3], tunnel: &Link, packet_rate: bool) -> Result<Self> {
        let bpffs = Bpffs::new()?;
        let sizes =
            Sizes { macs_max: 64, vteps_max: 8, vnis_max: 8, ports_max: 8, senders_max: 64, flood_max: 16 };
        let (kernel, _) = Kernel::open(&Settings { sizes, ..Settings::new(bpffs.path().join("vtepd")) })?;
        let [port, port_2, uplink] = [links[0].index()?, links[1].index()?, links[2].index()?];
        let tunnel = tunnel.index()?;
        let mut rig = Self { kernel, port, port_2, uplink, tunnel, packet_rate, links, bpffs };
        if packet_rate {
            let ports = [port, port_2].map(|port| (port, Program::PortXdp));
            for (ifindex, program) in ports.into_iter().chain([(uplink, Program::UplinkXdp)]) {
                rig.kernel.attach(ifindex, program)?;
            }
        }
        rig.apply(&Step::SetConfig(Config {
            local_v6: HOST_V6.octets(),
            local_v4: HOST.address.octets(),
            tunnel_ifindex: tunnel,
            udp_port: 4789_u16.to_be_bytes(),
            flags: Config::GENEVE | Config::NVGRE,
        }));
        let row = |vtep, flags| {
            let adj = Self::adjacency(vtep, uplink);
            let other = adj.flags & !(VtepAdj::ROUTED | VtepAdj::RESOLVED);
            let adj = VtepAdj { flags: flags | other, ..adj };
            (vtep, VtepRow { adj, up: true, suspect: false })
        };
        rig.apply(&Step::PutVteps(vec![
            row(TOR_A, VtepAdj::ROUTED | VtepAdj::RESOLVED),
            row(TOR_B, VtepAdj::ROUTED | VtepAdj::RESOLVED),
            row(TOR_UNRESOLVED, VtepAdj::ROUTED),
            row(TOR_LOST, 0),
        ]));
        rig.bind(port, 0, VNI, 1);
        rig.bind(port_2, 0, VNI, 2);
        let flood =
            [Target::LocalPort(1), Target::LocalPort(2), Target::Vtep(TOR_A), Target::Vtep(TOR_B)].to_vec();
        rig.apply(&Step::PutNetworks(vec![
            (VNI, Network { bd: 1, flags: 0, flood_limit: Limit::default(), flood }),
            (
                VNI_STRICT,
                Network {
                    bd: 2,
                    flags: VniValue::DROP_UNKNOWN,
                    flood_limit: Limit::default(),
                    flood: Vec::new(),
                },
            ),
        ]));
        let sender =
            |vni, vtep| (VtepByIpKey { vni, address: mapped_v4(Self::address(vtep).octets()) }, vtep);
        rig.apply(&Step::PutSenders(vec![
            sender(VNI, TOR_A),
            sender(VNI, TOR_B),
            sender(VNI_STRICT, TOR_A),
            sender(0, TOR_A),
            sender(0, TOR_B),
            sender(0, TOR_LOST),
        ]));
        for (mac, port) in [(VM.mac, 1), (VM_2.mac, 2)] {
            let target = FdbTarget { master: Target::LocalPort(port), slave: Target::None, flags: 0 };
            rig.put(VNI, mac, target);
        }
        Ok(rig)
    }

    #[track_caller]
    pub(crate) fn apply(&mut self, step: &Step) {
        let applied = self.kernel.apply(step).unwrap();
        assert_eq!(applied.refused, []);
    }

    pub(crate) fn put(&mut self, vni: u32, mac: MacAddr, target: FdbTarget) {
        self.apply(&Step::PutFdb(vec![(vtep_abi::FdbKey::new(vni, mac.octets()), target)]));
    }

    pub(crate) fn bind(&mut self, ifindex: u32, vlan: u16, vni: u32, local_port: u32) {
        let bd = if vni == VNI { 1 } else { 2 };
        let row = LocalPort { ifindex, vni, vlan, flags: 0, bd, mtu: 1500 };
        self.apply(&Step::PutLocalPorts(vec![(local_port, row)]));
        let value = PortValue { vni, bd, local_port, buckets: local_port, ..PortValue::UNBOUND };
        self.apply(&Step::PutPorts(vec![(PortId { ifindex, vlan }, value)]));
    }

    /// Of a port of [`VNI`], on both its sides.
    pub(crate) fn set_port_flags(&mut self, local_port: u32, flags: u32, local_flags: u16) {
        let ifindex = if local_port == 1 { self.port } else { self.port_2 };
        let row = LocalPort { ifindex, vni: VNI, vlan: 0, flags: local_flags, bd: 1, mtu: 1500 };
        self.apply(&Step::PutLocalPorts(vec![(local_port, row)]));
        let value =
            PortValue { vni: VNI, bd: 1, local_port, flags, buckets: local_port, ..PortValue::UNBOUND };
        self.apply(&Step::PutPorts(vec![(PortId { ifindex, vlan: 0 }, value)]));
    }

    /// Of [`VNI`]'s first port and of the VNI itself.
    pub(crate) fn set_flood_limits(&mut self, port: Limit, network: Limit) {
        let value =
            PortValue { vni: VNI, bd: 1, local_port: 1, flood: port, buckets: 1, ..PortValue::UNBOUND };
        self.apply(&Step::PutPorts(vec![(PortId { ifindex: self.port, vlan: 0 }, value)]));
        let installed = self.kernel.installed().unwrap();
        let network = Network { flood_limit: network, ..installed.networks[&VNI].clone() };
        self.apply(&Step::PutNetworks(vec![(VNI, network)]));
    }

    pub(crate) fn set_network_flags(&mut self, vni: u32, flags: u32) {
        let installed = self.kernel.installed().unwrap();
        let network = Network { flags, ..installed.networks[&vni].clone() };
        self.apply(&Step::PutNetworks(vec![(vni, network)]));
    }

    /// Of [`VNI`].
    pub(crate) fn know(&mut self, mac: MacAddr, address: vtep_abi::AddrBytes) {
        let key = vtep_abi::NeighbourKey { vni: VNI, address };
        self.apply(&Step::PutNeighbours(vec![(key, mac.octets())]));
    }

    /// Frames of the first port must come from these.
    pub(crate) fn enforce(&mut self, mac: MacAddr, ip: Ipv4Addr, ip_v6: std::net::Ipv6Addr) {
        let ifindex = self.port;
        let keys = vec![
            AllowedKey::mac(ifindex, mac.octets()),
            AllowedKey::ip(ifindex, mapped_v4(ip.octets())),
            AllowedKey::ip(ifindex, ip_v6.octets()),
        ];
        self.apply(&Step::Allow(keys));
        self.set_port_flags(1, PortValue::CHECK_MACS | PortValue::CHECK_IPS, 0);
    }

    pub(crate) fn decap_in_program(&mut self, local_port: u32) {
        let flags = LocalPort::DECAP_IN_PROGRAM | LocalPort::TAKES_XDP;
        let row = LocalPort { ifindex: self.port, vni: VNI, vlan: 0, flags, bd: 1, mtu: 1500 };
        self.apply(&Step::PutLocalPorts(vec![(local_port, row)]));
    }

    pub(crate) fn set_up(&mut self, vtep: u32, up: bool) {
        let adj = Self::adjacency(vtep, self.uplink);
        self.apply(&Step::PutVteps(vec![(vtep, VtepRow { adj, up, suspect: false })]));
    }

    pub(crate) fn address(vtep: u32) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 10 + u8::try_from(vtep).unwrap())
    }

    pub(crate) fn adjacency(vtep: u32, uplink: u32) -> VtepAdj {
        let tunnel = Tunnel {
            encapsulation: Encapsulation::Vxlan,
            local: HOST.address.into(),
            remote: Self::address(vtep).into(),
            udp_port: 4789,
        };
        Self::over(&tunnel, POLICY, uplink)
    }

    /// With a resolved next hop.
    pub(crate) fn over(tunnel: &Tunnel, policy: Policy, uplink: u32) -> VtepAdj {
        let mut adj = tunnel.adjacency(&policy).unwrap();
        adj.ifindex = uplink;
        adj.mtu = 1500;
        adj.flags |= VtepAdj::ROUTED | VtepAdj::RESOLVED | VtepAdj::TAKES_XDP;
        adj.set_macs(FABRIC_MAC.octets(), HOST.mac.octets());
        adj
    }

    /// One frame through one program, and the one counter that moved. With packet-rate mode through the hook's XDP
    /// program, and if that leaves the frame to TC, through TC's as it came.
    #[track_caller]
    pub(crate) fn run(&mut self, program: Program, frame: &[u8], ifindex: u32) -> Seen {
        let at_xdp = match program {
            _ if !self.packet_rate => None,
            Program::PortIn => Some(Program::PortXdp),
            Program::UplinkIn => Some(Program::UplinkXdp),
            _ => None,
        };
        if let Some(at_xdp) = at_xdp
            && let Some(seen) = self.run_at_xdp(at_xdp, frame, ifindex)
        {
            return seen;
        }
        let before = self.counters();
        let run = self.kernel.test_run(program, frame, ifindex, 1).unwrap();
        let moved = moved(&before, &self.counters());
        let [(verdict, 1, bytes)] = moved[..] else {
            panic!("one frame moved {moved:?}");
        };
        Seen { hook: Hook::Tcx, verdict, action: run.action, bytes, frame: run.frame }
    }

    /// None if the frame goes on to TC. The action is TC's word for that of XDP.
    #[track_caller]
    pub(crate) fn run_at_xdp(&mut self, program: Program, frame: &[u8], ifindex: u32) -> Option<Seen> {
        const XDP_DROP: u32 = 1;
        const XDP_PASS: u32 = 2;
        const XDP_REDIRECT: u32 = 4;
        let before = self.counters();
        let run = self.kernel.test_run(program, frame, ifindex, 1).unwrap();
        let moved = moved(&before, &self.counters());
        let action = match run.action {
            XDP_PASS => {
                assert_eq!(moved, [], "what TC will count is counted");
                assert_eq!(run.frame, frame, "TC gets another frame than the one that came");
                return None;
            }
            XDP_DROP => 2,
            XDP_REDIRECT => 7,
            other => panic!("{program} returned {other}"),
        };
        let [(verdict, 1, bytes)] = moved[..] else {
            panic!("one frame moved {moved:?}");
        };
        Some(Seen { hook: Hook::Xdp, verdict, action, bytes, frame: run.frame })
    }

    /// XDP may redirect frames to a port, as to one in packet-rate mode.
    pub(crate) fn take_xdp(&mut self, local_port: u32) {
        let row = self.kernel.installed().unwrap().local_ports[&local_port];
        let row = LocalPort { flags: row.flags | LocalPort::TAKES_XDP, ..row };
        self.apply(&Step::PutLocalPorts(vec![(local_port, row)]));
    }

    fn counters(&self) -> Counters {
        (0..3)
            .map(|bd| self.kernel.vni_stats(bd).unwrap().map(|counter| (counter.packets, counter.bytes)))
            .collect()
    }

    pub(crate) fn take_down_port_2(&self) {
        self.links[1].down().unwrap();
    }

    /// What is written of VTEPs' states, beside the kernel's owner.
    pub(crate) fn admin(&self) -> Array<MapData, u8> {
        let pin = self.bpffs.path().join("vtepd").join(format!("v{ABI_VERSION}/maps")).join(map::VTEP_ADMIN);
        Array::try_from(Map::Array(MapData::from_pin(pin).unwrap())).unwrap()
    }

    pub(crate) fn copies(&self) -> Result<Copies> {
        let [port, port_2, uplink] = &self.links;
        Ok(Copies {
            port: port.counters()?.sent_packets,
            port_2: port_2.counters()?.sent_packets,
            uplink: uplink.counters()?.sent_packets,
        })
    }
}

/// Verdicts whose counters moved, by how many frames and bytes.
fn moved(before: &Counters, after: &Counters) -> Vec<(Verdict, u64, u64)> {
    let pairs = before.iter().zip(after);
    let counters = pairs.flat_map(|(before, after)| before.iter().zip(after).enumerate());
    let moved = counters.filter(|(_, (before, after))| before != after);
    let of = |code| Verdict::from_code(u32::try_from(code).unwrap()).expect("a code of the catalogue");
    moved.map(|(code, (before, after))| (of(code), after.0 - before.0, after.1 - before.1)).collect()
}
