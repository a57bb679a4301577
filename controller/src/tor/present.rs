//! What a TOR's database says of flooding by now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hardware_vtep::Mirror;
use hardware_vtep::rows::UNKNOWN_DST;
use vtep_api::LogicalSwitchName;

/// Where its `unknown-dst` rows of a logical switch lead.
pub(super) fn flood(mirror: &Mirror, switch: &LogicalSwitchName) -> BTreeSet<IpAddr> {
    let named = mirror.logical_switches.iter().find(|(_, row)| row.name == switch.as_str());
    let Some((switch, _)) = named else { return BTreeSet::new() };
    let rows = mirror.mcast_remote.iter().map(|(_, row)| row);
    let rows = rows.filter(|row| row.logical_switch == switch && row.mac == UNKNOWN_DST);
    let sets = rows.filter_map(|row| mirror.locator_sets.row(row.locator_set));
    let locators = sets.flat_map(|set| &set.locators).filter_map(|&locator| mirror.locators.row(locator));
    locators.filter_map(|locator| locator.dst_ip.parse().ok()).collect()
}
