use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb::{Row, Uuid};
use vtep_api::{LogicalSwitchName, MacAddr, Role, Vni};

use super::super::desired::DesiredSwitch;
use super::super::{Remote, Write};
use super::{Conflict, Sight};
use crate::bisect::BATCH_MAX;
use crate::rows::{RoleText, UcastMacRemote};

/// What is to be done about one MAC.
pub(in super::super) enum MacPlan {
    Nothing,
    Write(Write),
    Refuse(Conflict),
}

pub(in super::super) fn plan_mac(
    sight: Sight<'_>,
    (name, row): (&LogicalSwitchName, Uuid),
    desired: &DesiredSwitch,
    mac: MacAddr,
) -> MacPlan {
    let rows = sight.index.remote.rows(row, mac);
    let switch = name.clone();
    let Some(remote) = desired.macs.get(&mac) else {
        let unwanted = desired.complete || desired.gone.contains(&mac);
        return if unwanted && !rows.is_empty() {
            let rows = rows.iter().take(BATCH_MAX).copied().collect();
            MacPlan::Write(Write::RemoveMac { switch, mac, rows })
        } else {
            MacPlan::Nothing
        };
    };
    if sight.own.contains(&remote.master) {
        return MacPlan::Refuse(Conflict::OwnAddress { address: remote.master });
    }
    let fits = |&&uuid: &&Uuid| {
        let row = sight.mirror.ucast_remote.row(uuid);
        row.is_some_and(|row| matches(sight, row, remote, desired.outline.vni))
    };
    let fitting = rows.iter().find(fits);
    let Some(&kept) = fitting.or(rows.first()) else {
        return MacPlan::Write(Write::AddMac { switch, row, mac });
    };
    if fitting.is_some() && rows.len() == 1 {
        return MacPlan::Nothing;
    }
    let surplus = rows.iter().filter(|&&row| row != kept).take(BATCH_MAX - 1).copied().collect();
    MacPlan::Write(Write::UpdateMac { switch, mac, row: kept, surplus })
}

/// Whether a row says what it should, as far as the schema has room for it.
fn matches(sight: Sight<'_>, row: &UcastMacRemote, remote: &Remote, vni: Vni) -> bool {
    let room = Room::of(sight);
    sight.leads(row.locator, remote.master, vni)
        && address_matches(&row.ipaddr, remote.ips.first())
        && (!room.role || row.role == remote.own_role.map(text_of))
        && (!room.slaves || slaves_match(sight, row, remote, vni))
}

fn slaves_match(sight: Sight<'_>, row: &UcastMacRemote, remote: &Remote, vni: Vni) -> bool {
    let slaves = slaves(sight, remote);
    row.slave_locators.len() == slaves.len()
        && slaves
            .iter()
            .all(|&slave| row.slave_locators.iter().any(|&locator| sight.leads(locator, slave, vni)))
}

/// Those that the row should name: the TOR needs no tunnel to itself.
pub(in super::super) fn slaves(sight: Sight<'_>, remote: &Remote) -> BTreeSet<IpAddr> {
    let others = remote.slaves.iter().filter(|&slave| *slave != remote.master && !sight.own.contains(slave));
    others.copied().collect()
}

fn address_matches(text: &str, wanted: Option<&IpAddr>) -> bool {
    match wanted {
        Some(wanted) => text.parse() == Ok(*wanted),
        None => text.is_empty(),
    }
}

fn text_of(role: Role) -> RoleText {
    match role {
        Role::Master => RoleText::Master,
        Role::Slave => RoleText::Slave,
    }
}

/// Which of our extension's columns `Ucast_Macs_Remote` has.
pub(in super::super) struct Room {
    pub role: bool,
    pub slaves: bool,
}

impl Room {
    pub(in super::super) fn of(sight: Sight<'_>) -> Self {
        let has = |column| sight.mirror.schema().has_column(UcastMacRemote::TABLE, column);
        Self { role: has("role"), slaves: has("slave_locators") }
    }
}
