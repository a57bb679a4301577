//! A TOR: our agent as software VTEP, the device of an ovsdb-server of the TOR's own.

use anyhow::Result;
use vtep_api::Role;

use super::{Agent, AgentConfig, AgentSource, Machine};
use crate::{
    ovsdb::{OvsdbServer, Schema},
    packet::PacketSocket,
};

pub struct Tor {
    pub agent: Agent,
    pub ovsdb: OvsdbServer,
    pub machine: Machine,
    name: String,
}

impl Tor {
    /// Its database, of the extended schema, has only what its agent says of itself. `ports`: with further lines of
    /// their sections.
    pub fn start(name: &str, machine: Machine, ports: &[(&str, String)]) -> Result<Self> {
        let ovsdb = OvsdbServer::start_with_schema(Schema::Extended)?;
        let config = AgentConfig {
            name,
            source: AgentSource::Ovsdb(ovsdb.remote()),
            ports: ports.iter().map(|(port, section)| (*port, section.as_str())).collect(),
            dataplane: "macs_max = 1000",
        };
        let agent = Agent::started(&machine, &config)?;
        Ok(Self { agent, ovsdb, machine, name: name.to_owned() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As VRRP's notify script does, for the MACs of one logical switch.
    pub fn set_role(&self, role: Role, logical_switch: &str) -> Result<()> {
        self.agent.json(&["role", "set", role.as_str(), "--logical-switch", logical_switch]).map(drop)
    }

    /// Hears what arrives from the fabric.
    pub fn listen(&self) -> Result<PacketSocket> {
        PacketSocket::bind(&self.machine.uplink)
    }
}
