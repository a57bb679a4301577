use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LocalMac, Origin, Role};

use super::super::index::Rows;
use super::Observer;
use crate::mirror::Mirror;
use crate::rows::{RoleText, UcastMacLocal};
use crate::view::{Reason, cut, unicast_address};

/// What was said of a MAC, and the rows that said it.
#[derive(Debug)]
pub(super) struct Told {
    pub local: LocalMac,
    rows: Rows,
}

/// What these rows of one MAC say together. Of two one may go, and it is no news: the MAC is as it was for as long as
/// one of the rows remains. Only rows of which none was there before are another origin.
pub(super) fn derive(
    observer: &mut Observer,
    mirror: &Mirror,
    rows: &[Uuid],
    before: Option<&Told>,
) -> Option<Told> {
    let mut own = Rows::default();
    let mut claims: Vec<(Role, Option<i64>)> = Vec::new();
    let mut ips = BTreeSet::new();
    for &uuid in rows {
        let Some(row) = mirror.ucast_local.row(uuid) else { continue };
        observer.refused.remove(&uuid);
        match judge(observer, mirror, row) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(reason) => {
                observer.refused.insert(uuid, reason);
                continue;
            }
        }
        own.insert(uuid);
        match station_address(&row.ipaddr) {
            Ok(address) => ips.extend(address),
            // The MAC is where it is all the same.
            Err(reason) => {
                observer.refused.insert(uuid, reason);
            }
        }
        let role = match row.role {
            None | Some(RoleText::Master) => Role::Master,
            Some(RoleText::Slave) => Role::Slave,
            Some(RoleText::Other) => {
                observer.refused.insert(uuid, Reason::Role);
                Role::Master
            }
        };
        claims.push((role, row.claimed_at_ms));
    }
    // Who is master by one of its rows is master.
    let role = claims.iter().map(|&(role, _)| role).min()?;
    let claimed_at_ms = claims.iter().filter(|&&(of, _)| of == role).filter_map(|&(_, at)| at).max();
    let remains = |before: &&Told| before.rows.as_slice().iter().any(|row| own.as_slice().contains(row));
    let origin = match before.filter(remains) {
        Some(before) => before.local.origin,
        None => own.as_slice().first().map(|lowest| Origin(lowest.as_u128())),
    };
    Some(Told { local: LocalMac { role, claimed_at_ms, origin, ips: ips.into_iter().collect() }, rows: own })
}

/// Whether the row is one of this switch's.
fn judge(observer: &Observer, mirror: &Mirror, row: &UcastMacLocal) -> Result<bool, Reason> {
    let own = observer.owns(mirror, row.locator)?;
    match row.mac.mac() {
        Some(mac) if own && !mac.is_station() => Err(Reason::NoStation { mac }),
        _ => Ok(own),
    }
}

fn station_address(text: &str) -> Result<Option<IpAddr>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    unicast_address(text).map(Some).ok_or_else(|| Reason::StationAddress { text: cut(text) })
}
