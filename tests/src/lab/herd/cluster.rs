//! Three members of etcd, two logical and two physical controllers, all real, and a herd of agents; on the loopback of one
//! namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use vtep_api::{ControllerName, LogicalSwitchName, MacAddr, VtepName};

use super::{Herd, Known, Member, Recruit};
use crate::{
    deadline::wait_for,
    etcd::Etcd,
    lab::{Controller, ControllerConfig, ControllerRole},
    netns::Netns,
};

const CONTROLLERS: [(&str, ControllerRole, u16); 4] = [
    ("lc1", ControllerRole::Logical, 9480),
    ("lc2", ControllerRole::Logical, 9481),
    ("pc1", ControllerRole::Physical, 9482),
    ("pc2", ControllerRole::Physical, 9483),
];
const PATIENCE: Duration = Duration::from_mins(3);

pub struct HerdCluster {
    pub herd: Herd,
    pub controllers: BTreeMap<&'static str, Controller>,
    pub(super) next_mac: u32,
    _etcd: Etcd,
}

impl HerdCluster {
    /// Agents in so many networks by turns, each with so many MACs. Until all have exactly what is so, and somebody who
    /// stands by.
    pub fn start(agents: u16, networks: u16, macs: u16) -> Result<Self> {
        let netns = Netns::new("herd")?;
        let etcd = Etcd::start(&netns, 3)?;
        let controllers: BTreeMap<_, _> = CONTROLLERS
            .iter()
            .map(|(name, role, port)| Ok((*name, controller(&netns, name, *role, *port, &etcd)?)))
            .collect::<Result<_>>()?;
        let recruits = (0..agents).map(|agent| recruit(agent, networks)).collect::<Result<Vec<_>>>()?;
        controllers["lc1"].apply(&declared(&recruits))?;
        let physical = CONTROLLERS.iter().filter(|(_, role, _)| *role == ControllerRole::Physical);
        let addresses: Vec<_> = physical.map(|(_, _, port)| listen(*port)).collect();
        let herd = Herd::start(&netns, &addresses, recruits)?;
        let mut cluster = Self { herd, controllers, next_mac: 0, _etcd: etcd };
        for agent in 0..usize::from(agents) {
            for _ in 0..macs {
                cluster.claim(agent);
            }
        }
        cluster.await_calm()?;
        Ok(cluster)
    }

    /// A new MAC behind an agent.
    pub(super) fn claim(&mut self, agent: usize) -> MacAddr {
        let [a, b, c, d] = self.next_mac.to_be_bytes();
        self.next_mac += 1;
        let mac = MacAddr::new([2, 0, a, b, c, d]);
        self.herd.claim(agent, mac);
        mac
    }

    /// Until each VTEP is with the controller to which it belongs, and every agent has exactly what is so, from that one,
    /// and another one that stands by.
    pub fn await_calm(&self) -> Result<()> {
        let (homes, truth) = (self.await_home()?, self.truth());
        let mut restless: Vec<&Member> = self.herd.agents().iter().collect();
        let calm = wait_for("calm among the agents", PATIENCE, || {
            restless.retain(|member| {
                let home = homes.get(member.recruit.name.as_str());
                !is_secure(&member.known(), home) || !has(member, &truth)
            });
            restless.is_empty().then_some(())
        });
        let Some(first) = restless.first() else { return calm };
        let (count, of) = (restless.len(), self.herd.agents().len());
        let known = first.known();
        let table = known.table.logical_switches.get(&first.recruit.network);
        let macs = table.map_or(0, |switch| switch.macs.len());
        let name = &first.recruit.name;
        bail!("{count} of {of} agents find no calm; {name} has {macs} MACs, and {:?}", known.session);
    }

    /// Until each VTEP is with the controller to which it belongs, by the word of each that is there. Returns where.
    fn await_home(&self) -> Result<BTreeMap<String, String>> {
        let mut homes = BTreeMap::new();
        for controller in self.controllers.values() {
            homes = wait_for("every VTEP at home", PATIENCE, || {
                controller.homes().filter(|homes| homes.len() == self.herd.agents().len())
            })?;
        }
        Ok(homes)
    }

    /// Of each network its MACs, and behind whom they are.
    fn truth(&self) -> BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, VtepName>> {
        let mut truth = BTreeMap::<_, BTreeMap<_, _>>::new();
        for member in self.herd.agents() {
            let network = truth.entry(member.recruit.network.clone()).or_default();
            network.extend(member.claims().map(|mac| (mac, member.recruit.name.clone())));
        }
        truth
    }

    /// Whom each agent obeys at present.
    pub(super) fn servers(&self) -> Result<Vec<&'static str>> {
        let server = |member: &Member| {
            let known = member.known();
            let name = known.session.controller.as_ref().context("an agent without a controller")?;
            let found = CONTROLLERS.iter().find(|(known, ..)| *known == name.as_str());
            Ok(found.context("an unknown controller")?.0)
        };
        self.herd.agents().iter().map(server).collect()
    }

    /// Whether all agents have all their MACs from who claims them, and nothing else.
    pub fn expect_truth(&self) -> Result<()> {
        let truth = self.truth();
        for member in self.herd.agents() {
            ensure!(has(member, &truth), "{} does not have what is so", member.recruit.name);
        }
        Ok(())
    }
}

fn is_secure(known: &Known, home: Option<&String>) -> bool {
    let session = &known.session;
    let at_home = session.controller.as_ref().map(ControllerName::as_str) == home.map(String::as_str);
    session.open && at_home && session.standby.is_some() && known.is_installed()
}

/// What is behind the agent itself is not in its table.
fn has(member: &Member, truth: &BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, VtepName>>) -> bool {
    let (known, recruit) = (member.known(), &member.recruit);
    let found = known.table.logical_switches.get(&recruit.network);
    let found: BTreeSet<_> =
        found.into_iter().flat_map(|switch| &switch.macs).map(|(mac, entry)| (mac, &entry.master)).collect();
    let expected = truth.get(&recruit.network).into_iter().flatten();
    found == expected.filter(|(_, vtep)| **vtep != recruit.name).collect()
}

fn recruit(agent: u16, networks: u16) -> Result<Recruit> {
    let [high, low] = agent.to_be_bytes();
    Ok(Recruit {
        name: VtepName::try_from(format!("agent{agent:04}"))?,
        network: LogicalSwitchName::try_from(format!("ls{:03}", agent % networks))?,
        address: Ipv4Addr::new(198, 18, high, low),
    })
}

fn controller(netns: &Netns, name: &str, role: ControllerRole, port: u16, etcd: &Etcd) -> Result<Controller> {
    let config = ControllerConfig { name, role, listen: listen(port), tls: None, logical: &[] };
    let mut controller = Controller::new(netns, &config)?;
    controller.use_etcd(&etcd.endpoints())?;
    controller.start()?;
    Ok(controller)
}

fn listen(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn declared(recruits: &[Recruit]) -> String {
    let mut text = "version = 1\n".to_owned();
    let networks: BTreeSet<_> = recruits.iter().map(|recruit| &recruit.network).collect();
    for (network, vni) in networks.into_iter().zip(5001..) {
        write!(text, "\n[[logical_switch]]\nname = \"{network}\"\nvni = {vni}\n")
            .expect("a string takes any text");
    }
    for Recruit { name, network, .. } in recruits {
        write!(
            text,
            "\n[[vtep]]\nname = \"{name}\"\n\n[[subscription]]\nvtep = \"{name}\"\nlogical_switch = \"{network}\"\n"
        )
        .expect("a string takes any text");
    }
    text
}
