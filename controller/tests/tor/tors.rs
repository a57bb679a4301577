//! TORs as their databases show them. What a TOR's own software would write is written with `vtep-ctl`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use vtep_tests::deadline::wait_for;
use vtep_tests::ovsdb::OvsdbServer;

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// `tor1` at 192.0.2.1 with the ports `p1` and `p2`, and so on.
pub(crate) struct Tor {
    pub(crate) ovsdb: OvsdbServer,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

/// Where a remote MAC is.
pub(crate) type Macs = BTreeMap<String, Ipv4Addr>;

impl Tor {
    pub(crate) fn new(number: u8) -> Result<Self> {
        Self::with(OvsdbServer::start()?, number)
    }

    pub(crate) fn with(ovsdb: OvsdbServer, number: u8) -> Result<Self> {
        let (name, address) = (format!("tor{number}"), Ipv4Addr::new(192, 0, 2, number));
        let tor = Self { ovsdb, name, address };
        let name = &tor.name;
        tor.ctl(&format!(
            "add-ps {name} -- set Physical_Switch {name} tunnel_ips={address} -- add-port {name} p1 -- add-port {name} p2"
        ))?;
        Ok(tor)
    }

    pub(crate) fn ctl(&self, line: &str) -> Result<String> {
        self.ovsdb.vtep_ctl(line)
    }

    /// The logical switch is the controller's to make.
    pub(crate) fn wait_for_switch(&self, switch: &str) -> Result<()> {
        wait_for(&format!("{switch} in {}", self.name), SOON, || {
            let listed = self.ctl("list-ls").ok()?;
            listed.lines().any(|line| line == switch).then_some(())
        })
    }

    pub(crate) fn claim(&self, switch: &str, mac: &str) -> Result<()> {
        self.ctl(&format!("add-ucast-local {switch} {mac} {}", self.address)).map(drop)
    }

    pub(crate) fn withdraw(&self, switch: &str, mac: &str) -> Result<()> {
        self.ctl(&format!("del-ucast-local {switch} {mac}")).map(drop)
    }

    /// `Ucast_Macs_Remote`.
    pub(crate) fn remote(&self, switch: &str) -> Result<Macs> {
        let listed = self.ctl(&format!("list-remote-macs {switch}"))?;
        let unicast = listed.split("mcast-mac-remote").next().unwrap_or_default();
        let rows = unicast.lines().filter_map(|line| line.trim().split_once(" -> vxlan_over_ipv4/"));
        rows.map(|(mac, address)| Ok((mac.to_owned(), address.parse()?))).collect()
    }

    /// Where `unknown-dst` goes.
    pub(crate) fn flood(&self, switch: &str) -> Result<BTreeSet<Ipv4Addr>> {
        let listed = self.ctl(&format!("list-remote-macs {switch}"))?;
        let multicast = listed.split("mcast-mac-remote").nth(1).unwrap_or_default();
        let rows = multicast.lines().filter_map(|line| line.trim().split_once("-> vxlan_over_ipv4/"));
        rows.map(|(_, address)| Ok(address.parse()?)).collect()
    }

    #[track_caller]
    pub(crate) fn expect(&self, switch: &str, macs: &[(&str, &Tor)], within: Duration) {
        let expected: Macs = macs.iter().map(|(mac, tor)| ((*mac).to_owned(), tor.address)).collect();
        let mut last = None;
        let held = wait_for("the remote MACs", within, || {
            last = self.remote(switch).ok();
            (last.as_ref() == Some(&expected)).then_some(())
        });
        assert!(held.is_ok(), "{switch} of {}: {last:?}; expected {expected:?}", self.name);
    }

    #[track_caller]
    pub(crate) fn expect_flood(&self, switch: &str, to: &[&Tor]) {
        let expected: BTreeSet<_> = to.iter().map(|tor| tor.address).collect();
        let mut last = None;
        let held = wait_for("the flood list", SOON, || {
            last = self.flood(switch).ok();
            (last.as_ref() == Some(&expected)).then_some(())
        });
        assert!(held.is_ok(), "{switch} of {}: {last:?}; expected {expected:?}", self.name);
    }

    /// Every row of what a controller writes, by UUID, with its version: a row that was written anew has another.
    pub(crate) fn rows(&self) -> Result<BTreeMap<String, String>> {
        const TABLES: [&str; 6] = [
            "Logical_Switch",
            "Physical_Locator",
            "Physical_Locator_Set",
            "Physical_Port",
            "Ucast_Macs_Remote",
            "Mcast_Macs_Remote",
        ];
        let columns = ["_uuid", "_version"];
        let select = |table| json!({ "op": "select", "table": table, "where": [], "columns": columns });
        let selected = self.ovsdb.transact(&TABLES.map(select).into())?;
        let tables = selected.as_array().context("no results")?;
        let rows = TABLES.iter().zip(tables).flat_map(|(table, result)| {
            let rows = result["rows"].as_array().into_iter().flatten();
            rows.map(move |row| (format!("{table} {}", row["_uuid"][1]), row["_version"][1].to_string()))
        });
        Ok(rows.collect())
    }

    fn declared(&self) -> String {
        format!("\n[[vtep]]\nname = \"{}\"\novsdb = \"{}\"\n", self.name, self.ovsdb.remote())
    }
}

/// The logical switches, each with its VNI and the ports that are bound to it.
pub(crate) type Switch<'a> = (&'a str, u32, Vec<Bound<'a>>);
/// A TOR's port, and the VLAN.
pub(crate) type Bound<'a> = (&'a Tor, &'a str, u16);

/// `policy`: the lines of its section.
pub(crate) fn declared<'a>(
    policy: &str,
    tors: impl IntoIterator<Item = &'a Tor>,
    switches: &[Switch<'_>],
) -> String {
    let mut text = format!("version = 1\n[policy]\n{policy}\n");
    text.extend(tors.into_iter().map(Tor::declared));
    for (switch, vni, bound) in switches {
        write!(text, "\n[[logical_switch]]\nname = \"{switch}\"\nvni = {vni}\n").unwrap();
        for (tor, port, vlan) in bound {
            let vtep = &tor.name;
            write!(
                text,
                "\n[[binding]]\nvtep = \"{vtep}\"\nport = \"{port}\"\nvlan = {vlan}\nlogical_switch = \"{switch}\"\n"
            )
            .unwrap();
        }
    }
    text
}

pub(crate) fn listen(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// `ls0` on port p1 of each.
pub(crate) fn both<'a>(a: &'a Tor, b: &'a Tor) -> [Switch<'a>; 1] {
    [("ls0", 5000, vec![(a, "p1", 0), (b, "p1", 0)])]
}
