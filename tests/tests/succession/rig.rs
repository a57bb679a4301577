//! Three members of etcd, two logical and two physical controllers, each in a namespace of its own; two hosts with agents
//! and a VM each; three TORs' databases, which controllers reach over the fabric.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::Value;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    etcd::Etcd,
    lab::{
        Agent, AgentConfig, AgentSource, Controller, ControllerConfig,
        ControllerRole::{self, Logical, Physical},
        Fabric, Machine, Stream, Vm,
    },
    netns::Netns,
    ovsdb::OvsdbServer,
};

use super::{
    churn::Churn,
    held::{self, Held},
    watch::Watch,
};

pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const NETWORK: &str = "ls0";
pub(crate) const VNI: u32 = 5000;
/// The first two report what changes, the third only receives.
pub(crate) const TOR_1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 201);
pub(crate) const TOR_2: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 202);
pub(crate) const TOR_3: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 203);
const HOST_1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST_2: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CONTROLLERS: [(&str, ControllerRole, u8); 4] =
    [("lc1", Logical, 101), ("lc2", Logical, 102), ("pc1", Physical, 111), ("pc2", Physical, 112)];
/// Where a TOR's database is reached.
const OVSDB: u16 = 6640;
/// MACs that nobody moves behind each of the first two TORs.
const STILL: u8 = 10;
/// Of `store.lease_secs`, the default.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) struct Rig {
    pub(crate) controllers: BTreeMap<&'static str, Controller>,
    pub(crate) etcd: Etcd,
    pub(crate) churn: Churn,
    /// The first ones are told of everything, the last two of what is not their own.
    pub(crate) watches: [Watch; 5],
    pub(crate) held: Held,
    pub(crate) agents: [Arc<Agent>; 2],
    stream: Option<Stream>,
    still: BTreeMap<MacAddr, Ipv4Addr>,
    machines: BTreeMap<&'static str, Machine>,
    places_of_etcd: Vec<(Netns, Ipv4Addr)>,
    vms: [(Machine, Vm); 2],
    _tors: [(Machine, Arc<OvsdbServer>); 3],
    _fabric: Fabric,
}

/// The network's table, where it comes by.
#[derive(Debug)]
pub(crate) struct Tables {
    physical: [At; 2],
    /// In their kernels.
    agents: [At; 2],
}

#[derive(Debug)]
struct At {
    term: u64,
    version: u64,
}

impl At {
    fn of(table: &Value, version: &str) -> Option<Self> {
        Some(Self { term: table["term"].as_u64()?, version: table[version].as_u64()? })
    }
}

/// Who has which office, as `shards` says.
pub(crate) type Holders = BTreeMap<String, String>;

impl Rig {
    /// Everything runs, everybody knows everything, traffic goes on and so do changes.
    pub(crate) fn new() -> Self {
        let mut fabric = Fabric::new().unwrap();
        let places: Vec<_> = (0..3).map(|member| fabric.machine("etcd", 121 + member).unwrap()).collect();
        let places: Vec<_> = places.iter().map(|place| (place.netns.clone(), place.address)).collect();
        let machines: BTreeMap<_, _> = CONTROLLERS
            .iter()
            .map(|(name, _, number)| (*name, fabric.machine(name, *number).unwrap()))
            .collect();
        let hosts = [("host1", 1), ("host2", 2)].map(|(role, number)| fabric.machine(role, number).unwrap());
        let etcd = Etcd::start_apart(&places).unwrap();
        let controllers: BTreeMap<_, _> = CONTROLLERS
            .iter()
            .map(|(name, role, _)| (*name, controller(name, *role, &machines[name], &etcd.endpoints())))
            .collect();
        let places_of_tors = [("tor1", TOR_1), ("tor2", TOR_2), ("tor3", TOR_3)]
            .map(|(name, address)| (name, fabric.machine(name, address.octets()[3]).unwrap()));
        let tors = places_of_tors.each_ref().map(|(name, place)| Arc::new(tor(name, place)));
        controllers["lc1"].apply(&declared()).unwrap();
        let vms = hosts.map(|host| {
            let number = host.address.octets()[3];
            let vm = Vm::new(&host.netns, "p1", number).unwrap().0;
            (host, vm)
        });
        let agents = thread::scope(|scope| {
            let starts = [0, 1].map(|at| {
                let (host, _) = &vms[at];
                scope.spawn(move || Arc::new(agent(host)))
            });
            starts.map(|start| start.join().unwrap())
        });
        let mut still = still_macs(&tors);
        still.extend(vms.iter().map(|(host, vm)| (vm.mac, host.address)));
        let [first, second] = [&tors[0], &tors[1]].map(Arc::clone);
        let watches = [
            Watch::tor("tor3", &tors[2], TOR_3),
            Watch::agent("host1", Arc::clone(&agents[0]), HOST_1),
            Watch::agent("host2", Arc::clone(&agents[1]), HOST_2),
            Watch::tor("tor1", &tors[0], TOR_1),
            Watch::tor("tor2", &tors[1], TOR_2),
        ];
        let logical = wait_for("the network's controller", SOON, || logical(&controllers["lc1"])).unwrap();
        let (held, held_macs) = Held::hold(&tors, &controllers[logical.as_str()], &watches[0]);
        still.extend(held_macs);
        let mut servers = tors.into_iter();
        let standing = places_of_tors.map(|(_, place)| (place, servers.next().unwrap()));
        let rig = Self {
            controllers,
            etcd,
            watches,
            held,
            agents,
            stream: None,
            still,
            machines,
            places_of_etcd: places,
            churn: Churn::start(first, second),
            vms,
            _tors: standing,
            _fabric: fabric,
        };
        rig.ready()
    }

    fn ready(mut self) -> Self {
        let vms = &self.vms;
        wait_for("the ports' network", SOON, || {
            let bound = |agent: &Arc<Agent>| agent.json(&["port", "show"]).ok()?[0]["vni"].as_u64();
            self.agents.iter().all(|agent| bound(agent).is_some()).then_some(())
        })
        .unwrap();
        for (_, vm) in vms {
            vm.announce().unwrap();
        }
        wait_for("a standby of each agent", SOON, || self.is_secure()).unwrap();
        self.expect_truth();
        for watch in &self.watches {
            watch.guard(&self.still);
        }
        let stream = Stream::start(&vms[0].1, &vms[1].1, Duration::from_millis(1)).unwrap();
        wait_for("the stream", SOON, || (stream.received() > 100).then_some(())).unwrap();
        self.stream = Some(stream);
        self
    }

    /// Whether both physical controllers have settled: else VTEPs wait for nobody.
    pub(crate) fn is_settled(&self) -> Option<()> {
        let members = self.controllers["lc1"].json(&["members"]).ok()?;
        let settled = members.as_array()?.iter().filter(|row| row["settled"] == true);
        (settled.filter(|row| row["role"] == "physical").count() == 2).then_some(())
    }

    /// Whether each agent has somebody who serves it and somebody who stands by.
    pub(crate) fn is_secure(&self) -> Option<()> {
        let standby = |agent: &Arc<Agent>| {
            let status = agent.json(&["status"]).ok()?;
            let session = &status["source"]["session"];
            Some(session["open"] == true && session["standby"].is_string())
        };
        self.agents.iter().all(|agent| standby(agent) == Some(true)).then_some(())
    }

    /// Whether the present logical controller's table is whole at both physical controllers, and each agent's kernel is as
    /// far: whichever of the two serves it, from here on it is told what differs.
    pub(crate) fn is_ruled(&self) -> Option<()> {
        let term = shard(&self.controllers["lc1"])?["term"].as_u64()?;
        let tables = self.tables()?;
        let farthest = tables.physical.iter().map(|table| table.version).max()?;
        let present = tables.physical.iter().chain(&tables.agents).all(|table| table.term == term);
        (present && tables.agents.iter().all(|kernel| kernel.version >= farthest)).then_some(())
    }

    /// First those that tell, once they are whole, then those that are told.
    pub(crate) fn tables(&self) -> Option<Tables> {
        let physical = ["pc1", "pc2"].map(|name| {
            let networks = self.controllers[name].json(&["ls"]).ok()?;
            let network = networks.as_array()?.iter().find(|one| one["logical_switch"] == NETWORK)?;
            At::of(network, "version").filter(|_| network["complete"] == true)
        });
        let agents = self.agents.each_ref().map(|agent| {
            let status = agent.json(&["status"]).ok()?;
            At::of(&status["source"]["session"]["tables"][0], "installed")
        });
        let [[pc1, pc2], [host1, host2]] = [physical, agents];
        Some(Tables { physical: [pc1?, pc2?], agents: [host1?, host2?] })
    }

    /// Nothing changes meanwhile, and everybody comes to have exactly what is so.
    #[track_caller]
    pub(crate) fn expect_truth(&self) {
        let steps = self.churn.pause();
        let mut truth = steps.truth();
        truth.extend(&self.still);
        for watch in &self.watches {
            let truth = watch.part(&truth);
            let told = wait_for("the truth", SOON, || (watch.present() == truth).then_some(()));
            if told.is_err() {
                let present = watch.present();
                let lacks: Vec<_> = truth.iter().filter(|(mac, at)| present.get(*mac) != Some(at)).collect();
                let extra: Vec<_> = present.iter().filter(|(mac, at)| truth.get(*mac) != Some(at)).collect();
                panic!("{} lacks {lacks:?} and has {extra:?}", watch.name);
            }
        }
    }

    /// As one controller sees it.
    pub(crate) fn holders(&self, asked: &str) -> Option<Holders> {
        let mut holders = Holders::new();
        for (words, what) in [(&["shards"][..], "shard"), (&["shards", "--vteps"], "vtep")] {
            for row in self.controllers[asked].json(words).ok()?.as_array()? {
                let office = match &row[what] {
                    Value::String(vtep) => vtep.clone(),
                    number => format!("shard {number}"),
                };
                holders.insert(office, row["holder"].as_str()?.to_owned());
            }
        }
        Some(holders)
    }

    /// The logical controller of the network.
    pub(crate) fn logical(&self, asked: &str) -> Option<&'static str> {
        self.known(&logical(&self.controllers[asked])?)
    }

    pub(crate) fn known(&self, name: &str) -> Option<&'static str> {
        self.controllers.keys().find(|known| **known == name).copied()
    }

    pub(crate) fn place(&self, controller: &str) -> &Netns {
        &self.machines[controller].netns
    }

    /// Whether it could connect to a TOR's database.
    pub(crate) fn reaches_tor(&self, controller: &str) -> bool {
        let database = SocketAddr::from((TOR_1, OVSDB));
        let connected = || TcpStream::connect_timeout(&database, Duration::from_millis(300)).is_ok();
        self.place(controller).within(connected).unwrap()
    }

    pub(crate) fn place_of_etcd(&self, member: u16) -> &Netns {
        &self.places_of_etcd[usize::from(member)].0
    }

    /// By their members' numbers.
    pub(crate) fn addresses_of_etcd(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.places_of_etcd.iter().map(|(_, address)| *address)
    }

    /// Who is told of every MAC.
    pub(crate) fn receivers(&self) -> &[Watch] {
        &self.watches[..3]
    }

    /// MACs that nobody moves, one behind each VTEP.
    pub(crate) fn sample(&self) -> Vec<MacAddr> {
        let one_by_place: BTreeMap<_, _> = self.still.iter().map(|(mac, at)| (*at, *mac)).collect();
        one_by_place.into_values().collect()
    }

    pub(crate) fn finish_stream(&mut self) -> vtep_tests::lab::StreamReport {
        self.stream.take().unwrap().finish().unwrap()
    }
}

/// That of the network, as `shards` says.
fn shard(asked: &Controller) -> Option<Value> {
    let has = |row: &&Value| {
        row["logical_switches"].as_array().is_some_and(|all| all.iter().any(|name| name == NETWORK))
    };
    asked.json(&["shards"]).ok()?.as_array()?.iter().find(has).cloned()
}

fn logical(asked: &Controller) -> Option<String> {
    Some(shard(asked)?["holder"].as_str()?.to_owned())
}

fn controller(
    name: &'static str,
    role: ControllerRole,
    machine: &Machine,
    endpoints: &[String],
) -> Controller {
    let listen = listen(machine.address);
    let config = ControllerConfig { name, role, listen, tls: None, logical: &[] };
    let mut controller = Controller::new(&machine.netns, &config).unwrap();
    let text = fs::read_to_string(controller.config_path()).unwrap();
    let mut text = text.replace("[controller]\n", "[controller]\nallow_plaintext = true\n");
    write!(text, "\n[store]\nkind = \"etcd\"\nshards = 4\nendpoints = {endpoints:?}\n").unwrap();
    fs::write(controller.config_path(), text).unwrap();
    controller.start().unwrap();
    controller
}

fn agent(host: &Machine) -> Agent {
    let physical = CONTROLLERS.iter().filter(|(_, role, _)| *role == Physical);
    let addresses = physical.map(|(_, _, number)| listen(Ipv4Addr::new(192, 0, 2, *number))).collect();
    let name = format!("host{}", host.address.octets()[3]);
    let config = AgentConfig {
        name: &name,
        source: AgentSource::Controllers(addresses),
        ports: vec![("p1", "learn = true")],
        dataplane: "macs_max = 1000",
    };
    Agent::started(host, &config).unwrap()
}

fn listen(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, 9480))
}

fn tor(name: &str, place: &Machine) -> OvsdbServer {
    let address = place.address;
    let ovsdb = OvsdbServer::start_in(&place.netns, &[&format!("ptcp:{OVSDB}:{address}")]).unwrap();
    let words =
        format!("add-ps {name} -- set Physical_Switch {name} tunnel_ips={address} -- add-port {name} p1");
    ovsdb.vtep_ctl(&words).unwrap();
    ovsdb
}

/// What the guards are there for is done here all the time.
fn declared() -> String {
    let mut text = format!(
        "version = 1\n[policy]\nmass_withdraw = {{ entries = 1000000 }}\n{}\
         [[logical_switch]]\nname = \"{NETWORK}\"\nvni = {VNI}\n",
        held::policy()
    );
    for (name, address) in [("tor1", TOR_1), ("tor2", TOR_2), ("tor3", TOR_3)] {
        write!(text, "[[vtep]]\nname = \"{name}\"\novsdb = \"tcp:{address}:{OVSDB}\"\n").unwrap();
    }
    for name in ["host1", "host2"] {
        write!(text, "[[vtep]]\nname = \"{name}\"\n").unwrap();
    }
    for name in ["tor1", "tor2", "tor3", "host1", "host2"] {
        let binding = format!("vtep = \"{name}\"\nport = \"p1\"\nlogical_switch = \"{NETWORK}\"\n");
        write!(text, "[[binding]]\n{binding}").unwrap();
    }
    text
}

/// Claimed by the first two TORs.
fn still_macs(tors: &[Arc<OvsdbServer>; 3]) -> BTreeMap<MacAddr, Ipv4Addr> {
    let mut still = BTreeMap::new();
    for (number, (tor, address)) in (1..).zip([(&tors[0], TOR_1), (&tors[1], TOR_2)]) {
        wait_for("the network of a TOR", SOON, || {
            tor.vtep_ctl("list-ls").ok()?.lines().any(|line| line == NETWORK).then_some(())
        })
        .unwrap();
        for last in 0..STILL {
            let mac = MacAddr::new([2, 0, 2, 0, number, last]);
            tor.vtep_ctl(&format!("add-ucast-local {NETWORK} {mac} {address}")).unwrap();
            still.insert(mac, address);
        }
    }
    still
}
