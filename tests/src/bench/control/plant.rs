//! A controller, hosts with the real agent, and TORs that are databases: what the bench measures through.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{HashMap, Map, MapData};
use serde_json::{StreamDeserializer, Value, de::IoRead, json};
use vtep_abi::FdbKey;
use vtep_api::{MacAddr, VtepName, grpc};

use super::{
    cores::mac,
    fleet::{Fleet, Member},
};
use crate::{
    lab::{Agent, AgentConfig, AgentSource, Controller, ControllerConfig, ControllerRole, Fabric, Machine},
    netns::Netns,
    ovsdb::OvsdbServer,
    pki::{Pki, TlsFiles},
};

pub(super) const VNI: u32 = 5001;
const CONTROL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) struct Plant {
    pub(super) controller: Controller,
    pub(super) hosts: Vec<Host>,
    pub(super) tors: Vec<OvsdbServer>,
    control: Machine,
    pki: Pki,
    _fabric: Fabric,
}

/// A host with a real agent, and its kernel's table.
pub(super) struct Host {
    agent: Agent,
    _machine: Machine,
}

impl Plant {
    /// Hosts `host1` … and TORs `tor1` … (databases of the stock schema, tunnel addresses 192.0.2.51 …), all in one
    /// logical switch, `bench`.
    pub(super) fn new(hosts: u8, tors: u8, macs_max: u32) -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let control = fabric.machine("control", 100)?;
        let pki = Pki::new()?;
        let listen = SocketAddr::from((CONTROL, 9480));
        let tls = pki.issue_at("bench", CONTROL)?;
        let config = ControllerConfig {
            name: "bench",
            role: ControllerRole::Both,
            listen,
            tls: Some(&tls),
            logical: &[],
        };
        let controller = Controller::new(&control.netns, &config)?;
        let hosts = (1..=hosts)
            .map(|number| {
                let machine = fabric.machine(&format!("host{number}"), number)?;
                let name = format!("host{number}");
                let tls = Some(pki.issue(&name)?);
                let source = AgentSource::Controller { address: listen, tls };
                let dataplane = format!("macs_max = {macs_max}");
                let config = AgentConfig { name: &name, source, ports: Vec::new(), dataplane: &dataplane };
                Ok(Host { agent: Agent::new(&machine, &config)?, _machine: machine })
            })
            .collect::<Result<_>>()?;
        let tors = (1..=tors).map(Self::tor).collect::<Result<_>>()?;
        Ok(Self { controller, hosts, tors, control, pki, _fabric: fabric })
    }

    fn tor(number: u8) -> Result<OvsdbServer> {
        let ovsdb = OvsdbServer::start()?;
        ovsdb.vtep_ctl(&format!(
            "add-ps tor{number} -- set Physical_Switch tor{number} tunnel_ips=192.0.2.{}",
            50 + number
        ))?;
        ovsdb.vtep_ctl(&format!("add-port tor{number} p"))?;
        Ok(ovsdb)
    }

    /// The controller and the agents; until every agent has the (empty) table.
    pub(super) fn start(&mut self) -> Result<()> {
        self.start_controller()?;
        self.hosts.iter_mut().try_for_each(|host| host.agent.start())?;
        Ok(())
    }

    pub(super) fn start_controller(&mut self) -> Result<()> {
        self.controller.start()?;
        self.controller.apply(&self.declared()?)
    }

    pub(super) fn start_agents(&mut self) -> Result<()> {
        self.hosts.iter_mut().try_for_each(|host| host.agent.start())
    }

    /// A simulated agent, of the name `sender`.
    pub(super) fn sender(&self) -> Result<Fleet> {
        let TlsFiles { private_key, certificate, ca_certificate } = self.pki.issue("sender")?;
        let tls = grpc::TlsFiles { private_key, certificate, ca_certificate };
        let name = VtepName::try_from("sender")?;
        let member = Member { name, address: Ipv4Addr::new(192, 0, 2, 99), tls: Some(tls) };
        Ok(Fleet::attach(&self.control.netns, SocketAddr::from((CONTROL, 9480)), vec![member]))
    }

    /// Nothing runs, and neither controller nor kernels remember.
    pub(super) fn forget(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.agent.json(&["detach"])?;
            host.agent.daemon()?.wait(PATIENCE)?;
        }
        self.controller.kill()?;
        Ok(fs::remove_dir_all(self.controller.folder().join("state"))?)
    }

    fn declared(&self) -> Result<String> {
        let mut text = format!("{}\n[[logical_switch]]\nname = \"bench\"\nvni = {VNI}\n", policy());
        text += &host("sender");
        for number in 1..=self.hosts.len() {
            write!(text, "{}", host(&format!("host{number}")))?;
        }
        for (tor, number) in self.tors.iter().zip(1..) {
            write!(
                text,
                "\n[[vtep]]\nname = \"tor{number}\"\novsdb = \"{}\"\n\n[[binding]]\nvtep = \"tor{number}\"\nport = \
                 \"p\"\nlogical_switch = \"bench\"\n",
                tor.remote()
            )?;
        }
        Ok(text)
    }

    /// Until the controller has made the logical switch in a TOR's database.
    pub(super) fn await_switch(&self, tor: usize) -> Result<()> {
        let made = || self.tors[tor].vtep_ctl("list-ls").is_ok_and(|shown| shown.contains("bench"));
        crate::deadline::wait_for("the logical switch in the TOR's database", PATIENCE, || {
            made().then_some(())
        })
    }

    /// The TOR's own session with its database.
    pub(super) fn device(&self, tor: usize) -> Result<Device> {
        Device::connect(&self.tors[tor], [192, 0, 2, u8::try_from(51 + tor)?].into())
    }
}

/// A TOR as the client of its own database, over one connection: what it says is sent when it is said.
pub(super) struct Device {
    stream: UnixStream,
    replies: StreamDeserializer<'static, IoRead<UnixStream>, Value>,
    switch: String,
    locator: String,
}

impl Device {
    fn connect(server: &OvsdbServer, address: Ipv4Addr) -> Result<Self> {
        let stream = UnixStream::connect(server.socket())?;
        let replies = serde_json::Deserializer::from_reader(stream.try_clone()?).into_iter();
        let switch = server.vtep_ctl("--bare --columns=_uuid find Logical_Switch name=bench")?;
        let mut device = Self { stream, replies, switch, locator: String::new() };
        // A locator lives as long as a row refers to it: that of the flood list stays.
        let inserted = device.transact(&[
            json!({"op": "insert", "table": "Physical_Locator", "uuid-name": "l",
                "row": {"encapsulation_type": "vxlan_over_ipv4", "dst_ip": address.to_string()}}),
            json!({"op": "insert", "table": "Physical_Locator_Set", "uuid-name": "s",
                "row": {"locators": ["named-uuid", "l"]}}),
            json!({"op": "insert", "table": "Mcast_Macs_Local", "row": {"MAC": "unknown-dst",
                "logical_switch": ["uuid", device.switch], "locator_set": ["named-uuid", "s"], "ipaddr": ""}}),
        ])?;
        inserted[0]["uuid"][1].as_str().context("no UUID of the locator")?.clone_into(&mut device.locator);
        Ok(device)
    }

    pub(super) fn claim(&mut self, macs: std::ops::Range<u32>) -> Result<()> {
        let numbers: Vec<u32> = macs.collect();
        for chunk in numbers.chunks(1000) {
            let row = |number: &u32| {
                json!({"op": "insert", "table": "Ucast_Macs_Local", "row": {"MAC": mac(*number).to_string(),
                    "logical_switch": ["uuid", self.switch], "locator": ["uuid", self.locator], "ipaddr": ""}})
            };
            let operations: Vec<_> = chunk.iter().map(row).collect();
            self.transact(&operations)?;
        }
        Ok(())
    }

    pub(super) fn withdraw(&mut self, number: u32) -> Result<()> {
        let rows = json!([["MAC", "==", mac(number).to_string()]]);
        self.transact(&[json!({"op": "delete", "table": "Ucast_Macs_Local", "where": rows})]).map(drop)
    }

    /// Until the server has committed it.
    fn transact(&mut self, operations: &[Value]) -> Result<Value> {
        let params: Vec<_> = [json!("hardware_vtep")].into_iter().chain(operations.iter().cloned()).collect();
        let request = json!({"method": "transact", "params": params, "id": 1});
        self.stream.write_all(serde_json::to_string(&request)?.as_bytes())?;
        let reply = self.replies.next().context("the server hung up")??;
        let outcomes = reply["result"].as_array().context("a reply without results")?;
        let error = outcomes.iter().find(|outcome| outcome.get("error").is_some());
        ensure!(error.is_none(), "the server refused: {error:?}");
        Ok(reply["result"].clone())
    }
}

/// What is declared of a host.
pub(super) fn host(name: &str) -> String {
    format!(
        "\n[[vtep]]\nname = \"{name}\"\n\n[[subscription]]\nvtep = \"{name}\"\nlogical_switch = \"bench\"\n"
    )
}

/// Guards stand aside: what is measured is what they let pass.
pub(super) fn policy() -> &'static str {
    "version = 1\n\n[policy]\nstart_wait_secs = 1\nquota = 4000000\nstorm = { takes_max = 4000000, window_secs = 10 }\n\
     mass_withdraw = { entries = 4000000, percent = 100, window_secs = 60 }\n\
     duplicate = { action = \"warn\", moves = 4000000, window_secs = 180, recover_secs = 540, exempt_vrrp = true }\n"
}

impl Host {
    pub(super) fn table(&self) -> Result<KernelTable> {
        let pin = fs::read_dir(self.agent.pins())?
            .filter_map(|entry| Some(entry.ok()?.path().join("maps/FDB")))
            .find(|path| path.exists())
            .context("the agent has pinned no FDB")?;
        Ok(KernelTable(HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?))
    }
}

/// The pinned map that the programs look into.
pub(super) struct KernelTable(HashMap<MapData, [u8; 12], [u8; 16]>);

impl KernelTable {
    /// Master and slave, in the kernel's numbers.
    pub(super) fn entry(&self, mac: MacAddr) -> Option<[u8; 16]> {
        let key = FdbKey::new(VNI, mac.octets());
        self.0.get(bytemuck::bytes_of(&key).try_into().ok().as_ref()?, 0).ok()
    }

    /// Until the kernel has these MACs, all of them; then they are counted.
    pub(super) fn await_macs(&self, macs: u32) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = 0;
        while next < macs {
            if self.entry(mac(next)).is_some() {
                next += 1;
                continue;
            }
            if Instant::now() > deadline {
                bail!("MAC {next} of {macs} is not in the kernel's table");
            }
            thread::sleep(Duration::from_micros(500));
        }
        let arrived = Instant::now();
        let found = self.0.keys().count();
        ensure!(found >= macs as usize, "of {macs} MACs {found} are in the kernel's table");
        Ok(arrived)
    }

    /// Until the entry of a MAC is another than before. It is looked at every 20 µs.
    pub(super) fn await_change(&self, mac: MacAddr, before: Option<[u8; 16]>) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let entry = self.entry(mac);
            if entry.is_some() && entry != before {
                return Ok(Instant::now());
            }
            if Instant::now() > deadline {
                bail!("{mac} is as it was in the kernel's table");
            }
            thread::sleep(Duration::from_micros(20));
        }
    }
}

/// A controller on its own loopback, for simulated agents.
pub(super) fn lonely(
    netns: &Netns,
    name: &str,
    role: ControllerRole,
    port: u16,
    logical: &[(&str, SocketAddr)],
) -> Result<Controller> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Controller::started(netns, &ControllerConfig { name, role, listen, tls: None, logical })
}
