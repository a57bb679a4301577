use std::collections::{BTreeMap, BTreeSet};

use super::parts::{
    at_most, binding, binding_to_wire, held, held_to_wire, kind, local, local_to_wire, locator,
    locator_to_wire, mac, mac_to_wire, name, network, network_to_wire, sightings, sightings_to_wire, state,
    state_to_wire,
};
use super::table::{update, update_to_wire};
use super::{Malformed, Wire, proto, sealed};
use crate::grpc::wire::proto::vtep_message::{self, Kind as Message};
use crate::grpc::wire::proto::vtep_reply::{self, Kind as Reply};
use crate::{ControllerName, FromVtep, Inventory, ROWS_MAX, Term, ToVtep, VtepOutline};

impl sealed::Sealed for FromVtep {}

impl Wire for FromVtep {
    type Message = proto::VtepMessage;

    fn to_wire(&self) -> proto::VtepMessage {
        let kind = match self {
            Self::Hello { protocol, name, term, tables } => Message::Hello(vtep_message::Hello {
                protocol: *protocol,
                name: name.to_string(),
                term: term.0,
                tables: tables.iter().map(held_to_wire).collect(),
            }),
            Self::State(state) => Message::State(state_to_wire(state)),
            Self::Inventory(inventory) => Message::Inventory(inventory_to_wire(inventory)),
            Self::Obeys { term } => Message::Obeys(vtep_message::Obeys { term: term.0 }),
            Self::Applied(held) => Message::Applied(held_to_wire(held)),
            Self::Resync { logical_switch } => {
                Message::Resync(vtep_message::Resync { logical_switch: logical_switch.to_string() })
            }
            Self::Sightings(sightings) => Message::Sightings(sightings_to_wire(sightings)),
            Self::Heartbeat { wall_ms } => Message::Heartbeat(proto::Heartbeat { wall_ms: *wall_ms }),
        };
        proto::VtepMessage { kind: Some(kind) }
    }

    fn from_wire(message: proto::VtepMessage) -> Result<Self, Malformed> {
        let expected = "hello, state, inventory, obeys, applied, resync, sightings or heartbeat";
        Ok(match kind("kind", message.kind, expected)? {
            Message::Hello(hello) => Self::Hello {
                protocol: hello.protocol,
                name: name("hello.name", &hello.name)?,
                term: Term(hello.term),
                tables: hello.tables.iter().map(held).collect::<Result<_, _>>()?,
            },
            Message::State(message) => Self::State(state(message)?),
            Message::Inventory(message) => Self::Inventory(inventory(message)?),
            Message::Obeys(obeys) => Self::Obeys { term: Term(obeys.term) },
            Message::Applied(message) => Self::Applied(held(&message)?),
            Message::Resync(resync) => {
                Self::Resync { logical_switch: name("resync.logical_switch", &resync.logical_switch)? }
            }
            Message::Sightings(message) => Self::Sightings(sightings(message)?),
            Message::Heartbeat(proto::Heartbeat { wall_ms }) => Self::Heartbeat { wall_ms },
        })
    }
}

fn inventory_to_wire(inventory: &Inventory) -> vtep_message::Inventory {
    let networks = inventory.networks.iter().map(|(logical_switch, records)| vtep_message::inventory::Part {
        logical_switch: logical_switch.to_string(),
        records: records
            .iter()
            .map(|(mac, local)| vtep_message::inventory::Record {
                mac: mac_to_wire(*mac),
                local: local.as_ref().map(local_to_wire),
            })
            .collect(),
    });
    vtep_message::Inventory { snapshot: inventory.snapshot, networks: networks.collect(), end: inventory.end }
}

fn inventory(inventory: vtep_message::Inventory) -> Result<Inventory, Malformed> {
    let rows = inventory.networks.iter().map(|part| part.records.len()).sum();
    at_most("inventory.networks.records", rows, ROWS_MAX)?;
    let record = |record: vtep_message::inventory::Record| {
        Ok((
            mac("inventory.networks.records.mac", record.mac)?,
            record.local.as_ref().map(local).transpose()?,
        ))
    };
    let part = |part: vtep_message::inventory::Part| {
        Ok((
            name("inventory.networks.logical_switch", &part.logical_switch)?,
            part.records.into_iter().map(record).collect::<Result<_, Malformed>>()?,
        ))
    };
    Ok(Inventory {
        snapshot: inventory.snapshot,
        networks: inventory.networks.into_iter().map(part).collect::<Result<_, Malformed>>()?,
        end: inventory.end,
    })
}

impl sealed::Sealed for ToVtep {}

impl Wire for ToVtep {
    type Message = proto::VtepReply;

    fn to_wire(&self) -> proto::VtepReply {
        let kind = match self {
            Self::Welcome { protocol, name, term, elected } => Reply::Welcome(proto::Welcome {
                protocol: *protocol,
                name: name.to_string(),
                term: term.0,
                elected: *elected,
            }),
            Self::Standby { protocol, name, server } => Reply::Standby(vtep_reply::Standby {
                protocol: *protocol,
                name: name.to_string(),
                server: server
                    .as_ref()
                    .map(|(name, term)| vtep_reply::standby::Server { name: name.to_string(), term: term.0 }),
            }),
            Self::Outline(outline) => Reply::Outline(outline_to_wire(outline)),
            Self::Table(update) => Reply::Table(update_to_wire(update)),
            Self::NoChange { logical_switch } => {
                Reply::NoChange(vtep_reply::NoChange { logical_switch: logical_switch.to_string() })
            }
            Self::Heartbeat { wall_ms } => Reply::Heartbeat(proto::Heartbeat { wall_ms: *wall_ms }),
        };
        proto::VtepReply { kind: Some(kind) }
    }

    fn from_wire(message: proto::VtepReply) -> Result<Self, Malformed> {
        let expected = "welcome, standby, outline, table, no_change or heartbeat";
        Ok(match kind("kind", message.kind, expected)? {
            Reply::Welcome(welcome) => Self::Welcome {
                protocol: welcome.protocol,
                name: name("welcome.name", &welcome.name)?,
                term: Term(welcome.term),
                elected: welcome.elected,
            },
            Reply::Standby(standby) => Self::Standby {
                protocol: standby.protocol,
                name: name("standby.name", &standby.name)?,
                server: standby.server.as_ref().map(server).transpose()?,
            },
            Reply::Outline(message) => Self::Outline(outline(&message)?),
            Reply::Table(message) => Self::Table(update(&message)?),
            Reply::NoChange(message) => {
                Self::NoChange { logical_switch: name("no_change.logical_switch", &message.logical_switch)? }
            }
            Reply::Heartbeat(proto::Heartbeat { wall_ms }) => Self::Heartbeat { wall_ms },
        })
    }
}

fn server(server: &vtep_reply::standby::Server) -> Result<(ControllerName, Term), Malformed> {
    Ok((name("standby.server.name", &server.name)?, Term(server.term)))
}

fn outline_to_wire(outline: &VtepOutline) -> vtep_reply::Outline {
    let vteps = outline.vteps.iter().map(|(name, at)| (name.to_string(), locator_to_wire(at)));
    let networks =
        outline.networks.iter().map(|(name, network)| (name.to_string(), network_to_wire(network)));
    vtep_reply::Outline {
        complete: outline.complete,
        vteps: vteps.collect(),
        networks: networks.collect(),
        bindings: outline.bindings.iter().map(binding_to_wire).collect(),
    }
}

fn outline(outline: &vtep_reply::Outline) -> Result<VtepOutline, Malformed> {
    let vteps = outline.vteps.iter().map(|(vtep, at)| Ok((name("outline.vteps", vtep)?, locator(at)?)));
    let networks = outline
        .networks
        .iter()
        .map(|(logical_switch, message)| Ok((name("outline.networks", logical_switch)?, network(message)?)));
    Ok(VtepOutline {
        complete: outline.complete,
        vteps: vteps.collect::<Result<BTreeMap<_, _>, Malformed>>()?,
        networks: networks.collect::<Result<BTreeMap<_, _>, Malformed>>()?,
        bindings: outline.bindings.iter().map(binding).collect::<Result<BTreeSet<_>, _>>()?,
    })
}
