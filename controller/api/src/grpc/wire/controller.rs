use std::collections::BTreeMap;

use super::parts::{
    at_most, bfd, bfd_to_wire, binding, binding_to_wire, cause, cause_to_wire, held, held_to_wire, kind,
    local, local_to_wire, locator, locator_to_wire, mac, mac_to_wire, name, names, network, network_to_wire,
    required, sightings, sightings_to_wire, state, state_to_wire, texts,
};
use super::table::{update, update_to_wire};
use super::{Malformed, Wire, proto, sealed};
use crate::grpc::wire::proto::logical_message::{self, Kind as FromLogicalKind};
use crate::grpc::wire::proto::physical_message::{self, Kind as FromPhysicalKind, claims};
use crate::{
    Away, Claim, Claims, FromLogical, FromPhysical, NetworkOutline, Outline, ROWS_MAX, Report, Served,
    Session, Stamp, Term, Version, VtepStatus,
};

impl sealed::Sealed for FromPhysical {}

impl Wire for FromPhysical {
    type Message = proto::PhysicalMessage;

    fn to_wire(&self) -> proto::PhysicalMessage {
        let kind = match self {
            Self::Hello { protocol, name, term, tables } => {
                FromPhysicalKind::Hello(physical_message::Hello {
                    protocol: *protocol,
                    name: name.to_string(),
                    term: term.0,
                    tables: tables.iter().map(held_to_wire).collect(),
                })
            }
            Self::Vtep { vtep, status, reign } => FromPhysicalKind::Vtep(physical_message::Vtep {
                reign: reign.map(|reign| reign.0),
                vtep: vtep.to_string(),
                session: session_to_wire(status.session).into(),
                state: Some(state_to_wire(&status.state)),
                skew_ms: status.skew_ms,
                away: status.away.map(|Away { ms, unheard }| physical_message::vtep::Away { ms, unheard }),
            }),
            Self::Claims(claims) => FromPhysicalKind::Claims(claims_to_wire(claims)),
            Self::Applied { vtep, held } => FromPhysicalKind::Applied(physical_message::Applied {
                vtep: vtep.to_string(),
                held: Some(held_to_wire(held)),
            }),
            Self::Resync { logical_switch } => FromPhysicalKind::Resync(physical_message::Resync {
                logical_switch: logical_switch.to_string(),
            }),
            Self::Sightings { witness, sightings } => {
                FromPhysicalKind::Witnessed(physical_message::Witnessed {
                    witness: witness.to_string(),
                    sightings: Some(sightings_to_wire(sightings)),
                })
            }
            Self::Sync { token } => FromPhysicalKind::Sync(proto::Sync { token: *token }),
            Self::Heartbeat { wall_ms } => {
                FromPhysicalKind::Heartbeat(proto::Heartbeat { wall_ms: *wall_ms })
            }
        };
        proto::PhysicalMessage { kind: Some(kind) }
    }

    fn from_wire(message: proto::PhysicalMessage) -> Result<Self, Malformed> {
        let expected = "hello, vtep, claims, applied, resync, witnessed, sync or heartbeat";
        Ok(match kind("kind", message.kind, expected)? {
            FromPhysicalKind::Hello(hello) => Self::Hello {
                protocol: hello.protocol,
                name: name("hello.name", &hello.name)?,
                term: Term(hello.term),
                tables: hello.tables.iter().map(held).collect::<Result<_, _>>()?,
            },
            FromPhysicalKind::Vtep(vtep) => Self::Vtep {
                vtep: name("vtep.vtep", &vtep.vtep)?,
                status: VtepStatus {
                    session: session(&vtep)?,
                    state: state(required("vtep.state", vtep.state)?)?,
                    skew_ms: vtep.skew_ms,
                    away: vtep.away.map(|away| Away { ms: away.ms, unheard: away.unheard }),
                },
                reign: vtep.reign.map(Term),
            },
            FromPhysicalKind::Claims(message) => Self::Claims(read_claims(message)?),
            FromPhysicalKind::Applied(applied) => Self::Applied {
                vtep: name("applied.vtep", &applied.vtep)?,
                held: held(&required("applied.held", applied.held)?)?,
            },
            FromPhysicalKind::Resync(resync) => {
                Self::Resync { logical_switch: name("resync.logical_switch", &resync.logical_switch)? }
            }
            FromPhysicalKind::Witnessed(witnessed) => Self::Sightings {
                witness: name("witnessed.witness", &witnessed.witness)?,
                sightings: sightings(required("witnessed.sightings", witnessed.sightings)?)?,
            },
            FromPhysicalKind::Sync(proto::Sync { token }) => Self::Sync { token },
            FromPhysicalKind::Heartbeat(proto::Heartbeat { wall_ms }) => Self::Heartbeat { wall_ms },
        })
    }
}

fn session_to_wire(session: Session) -> physical_message::Session {
    match session {
        Session::Awaited => physical_message::Session::Awaited,
        Session::Up => physical_message::Session::Up,
        Session::Lost => physical_message::Session::Lost,
    }
}

fn session(vtep: &physical_message::Vtep) -> Result<Session, Malformed> {
    match vtep.session() {
        physical_message::Session::Awaited => Ok(Session::Awaited),
        physical_message::Session::Up => Ok(Session::Up),
        physical_message::Session::Lost => Ok(Session::Lost),
        physical_message::Session::Unspecified => {
            Err(Malformed::value("vtep.session", vtep.session, "1 (awaited), 2 (up) or 3 (lost)"))
        }
    }
}

fn claims_to_wire(claims: &Claims) -> physical_message::Claims {
    let records = claims.records.iter().map(|(mac, report)| {
        let (stamp, report) = match report {
            Report::Claim(claim) => (claim.stamp, claims::record::Report::Claim(claim_to_wire(claim))),
            Report::Withdraw { stamp, cause } => {
                (*stamp, claims::record::Report::Withdraw(cause_to_wire(*cause).into()))
            }
        };
        let stamp = claims::Stamp { epoch: stamp.epoch, seq: stamp.seq };
        claims::Record { mac: mac_to_wire(*mac), stamp: Some(stamp), report: Some(report) }
    });
    physical_message::Claims {
        vtep: claims.vtep.to_string(),
        logical_switch: claims.logical_switch.to_string(),
        snapshot: claims.snapshot,
        records: records.collect(),
        end: claims.end,
    }
}

fn claim_to_wire(claim: &Claim) -> claims::Claim {
    claims::Claim {
        local: Some(local_to_wire(&claim.local)),
        received_at_ms: claim.received_at_ms,
        was_master: claim.was_master,
    }
}

fn read_claims(message: physical_message::Claims) -> Result<Claims, Malformed> {
    at_most("claims.records", message.records.len(), ROWS_MAX)?;
    let record = |record: claims::Record| {
        let stamp = required("claims.records.stamp", record.stamp)?;
        let stamp = Stamp { epoch: stamp.epoch, seq: stamp.seq };
        let report = match kind("claims.records.report", record.report, "claim or withdraw")? {
            claims::record::Report::Claim(claim) => Report::Claim(Claim {
                local: local(&required("claims.records.claim.local", claim.local)?)?,
                stamp,
                received_at_ms: claim.received_at_ms,
                was_master: claim.was_master,
            }),
            claims::record::Report::Withdraw(number) => {
                Report::Withdraw { stamp, cause: cause("claims.records.withdraw", number)? }
            }
        };
        Ok((mac("claims.records.mac", record.mac)?, report))
    };
    Ok(Claims {
        vtep: name("claims.vtep", &message.vtep)?,
        logical_switch: name("claims.logical_switch", &message.logical_switch)?,
        snapshot: message.snapshot,
        records: message.records.into_iter().map(record).collect::<Result<_, Malformed>>()?,
        end: message.end,
    })
}

impl sealed::Sealed for FromLogical {}

impl Wire for FromLogical {
    type Message = proto::LogicalMessage;

    fn to_wire(&self) -> proto::LogicalMessage {
        let kind = match self {
            Self::Welcome { protocol, name, term } => FromLogicalKind::Welcome(proto::Welcome {
                protocol: *protocol,
                name: name.to_string(),
                term: term.0,
                elected: false,
            }),
            Self::Outline(outline) => FromLogicalKind::Outline(outline_to_wire(outline)),
            Self::Table(update) => FromLogicalKind::Table(update_to_wire(update)),
            Self::NoChange { vtep, logical_switch } => FromLogicalKind::NoChange(logical_message::NoChange {
                vtep: vtep.to_string(),
                logical_switch: logical_switch.to_string(),
            }),
            Self::Resync { vtep, logical_switch } => FromLogicalKind::Resync(logical_message::Resync {
                vtep: vtep.to_string(),
                logical_switch: logical_switch.to_string(),
            }),
            Self::Synced { token } => FromLogicalKind::Synced(proto::Sync { token: *token }),
            Self::Heartbeat { wall_ms } => FromLogicalKind::Heartbeat(proto::Heartbeat { wall_ms: *wall_ms }),
        };
        proto::LogicalMessage { kind: Some(kind) }
    }

    fn from_wire(message: proto::LogicalMessage) -> Result<Self, Malformed> {
        let expected = "welcome, outline, table, no_change, resync or heartbeat";
        Ok(match kind("kind", message.kind, expected)? {
            FromLogicalKind::Welcome(welcome) => Self::Welcome {
                protocol: welcome.protocol,
                name: name("welcome.name", &welcome.name)?,
                term: Term(welcome.term),
            },
            FromLogicalKind::Outline(message) => Self::Outline(outline(message)?),
            FromLogicalKind::Table(message) => Self::Table(update(&message)?),
            FromLogicalKind::NoChange(message) => Self::NoChange {
                vtep: name("no_change.vtep", &message.vtep)?,
                logical_switch: name("no_change.logical_switch", &message.logical_switch)?,
            },
            FromLogicalKind::Resync(message) => Self::Resync {
                vtep: name("resync.vtep", &message.vtep)?,
                logical_switch: name("resync.logical_switch", &message.logical_switch)?,
            },
            FromLogicalKind::Synced(proto::Sync { token }) => Self::Synced { token },
            FromLogicalKind::Heartbeat(proto::Heartbeat { wall_ms }) => Self::Heartbeat { wall_ms },
        })
    }
}

fn outline_to_wire(outline: &Outline) -> logical_message::Outline {
    let networks = outline.networks.iter().map(|(name, NetworkOutline { network, members })| {
        let network = Some(network_to_wire(network));
        (name.to_string(), logical_message::NetworkOutline { network, members: texts(members) })
    });
    let directory = outline.directory.iter().map(|(name, at)| (name.to_string(), locator_to_wire(at)));
    let served = outline.served.iter().map(|(name, served)| {
        let bindings = served.bindings.iter().map(binding_to_wire).collect();
        (name.to_string(), logical_message::Served { ovsdb: served.ovsdb.clone(), bindings })
    });
    logical_message::Outline {
        term: outline.term.0,
        version: outline.version.0,
        controllers: texts(&outline.controllers),
        networks: networks.collect(),
        directory: directory.collect(),
        served: served.collect(),
        bfd: bfd_to_wire(&outline.bfd),
        unplaced: texts(&outline.unplaced),
    }
}

fn outline(outline: logical_message::Outline) -> Result<Outline, Malformed> {
    let networks = outline.networks.into_iter().map(|(text, message)| {
        let network = network(&required("outline.networks.network", message.network)?)?;
        let members = names("outline.networks.members", &message.members)?;
        Ok((name("outline.networks", &text)?, NetworkOutline { network, members }))
    });
    let directory =
        outline.directory.iter().map(|(text, at)| Ok((name("outline.directory", text)?, locator(at)?)));
    let served = outline.served.into_iter().map(|(text, served)| {
        let bindings = served.bindings.iter().map(binding).collect::<Result<_, Malformed>>()?;
        Ok((name("outline.served", &text)?, Served { ovsdb: served.ovsdb, bindings }))
    });
    Ok(Outline {
        term: Term(outline.term),
        version: Version(outline.version),
        controllers: names("outline.controllers", &outline.controllers)?,
        networks: networks.collect::<Result<BTreeMap<_, _>, Malformed>>()?,
        directory: directory.collect::<Result<BTreeMap<_, _>, Malformed>>()?,
        served: served.collect::<Result<BTreeMap<_, _>, Malformed>>()?,
        bfd: bfd(outline.bfd.as_ref())?,
        unplaced: names("outline.unplaced", &outline.unplaced)?,
    })
}
