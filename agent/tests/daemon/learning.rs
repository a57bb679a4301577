//! MACs that VMs bring and take away, with real frames.

use std::cell::Cell;
use std::time::Duration;

use vtep_tests::deadline::wait_for;
use vtep_tests::frame::{Endpoint, arp_reply, arp_request, udp, vxlan};
use vtep_tests::link::Link;
use vtep_tests::packet::PacketSocket;
use vtep_tests::process::Daemon;

use crate::host::{Host, PATIENCE, TABLE};
use crate::seeing::Client;

const FAR: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 2], 2000);
const VTEP_A: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 1], [192, 0, 2, 11], 50_000);
const VTEP_B: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 1], [192, 0, 2, 12], 50_000);
const STRANGER: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 1], [192, 0, 2, 99], 50_000);

/// Two learning ports of one network.
pub(crate) struct Site {
    pub(crate) host: Host,
    tap: [PacketSocket; 2],
    underlay: PacketSocket,
}

impl Site {
    /// `port` are keys of both ports, `network` those of their network.
    fn start(port: &str, network: &str) -> (Self, Daemon) {
        let host = Host::new("");
        Link::veth(&host.netns, "tap1", &host.peer, "vm1").unwrap();
        let both = format!("learn = true\n{port}\n[[port]]\nname = \"tap1\"\n{port}");
        let file = host.folder.path().join("agent.toml");
        let text = std::fs::read_to_string(file).unwrap();
        let text = text.replace("macs = [\"02:00:00:00:00:aa\"]", &both);
        host.write("agent.toml", &format!("{text}\n[[network]]\nvni = 5001\n{network}\n"));
        let bindings = "binding = [{ port = \"tap0\", logical_switch = \"blue\" }, \
                        { port = \"tap1\", logical_switch = \"blue\" }]";
        host.write(
            "table.toml",
            &TABLE.replace("binding = [{ port = \"tap0\", logical_switch = \"blue\" }]", bindings),
        );
        let daemon = host.start();
        let socket = |name| PacketSocket::bind(&Link::named(&host.peer, name)).unwrap();
        let (tap, underlay) = ([socket("vm"), socket("vm1")], socket("uplink"));
        (Self { host, tap, underlay }, daemon)
    }

    fn send(&self, tap: usize, mac: [u8; 6]) {
        self.tap[tap].send(&udp(station(mac), FAR, &[1; 20])).unwrap();
    }

    fn send_by(&self, vtep: Endpoint, inner: &[u8]) {
        let mac = Link::named(&self.host.netns, "uplink").mac().unwrap();
        let ours = Endpoint { mac, ..Endpoint::new([0; 6], [192, 0, 2, 1], 4789) };
        self.underlay.send(&vxlan(vtep, ours, 5001, inner)).unwrap();
    }

    /// The port of a MAC that was learnt.
    fn port(&self, mac: [u8; 6]) -> Option<String> {
        let entry = self.host.json(&["fdb", "get", "5001", &station(mac).mac.to_string()])?;
        (entry["learnt"] == true).then(|| entry["master"]["port"]["name"].as_str().unwrap().to_owned())
    }

    fn learnt(&self) -> u64 {
        self.host.status().unwrap()["counts"]["macs_learnt"].as_u64().unwrap()
    }

    fn alarms(&self, kind: &str) -> Vec<String> {
        let alarms = self.host.status().unwrap()["alarms"].clone();
        let alarms = alarms.as_array().unwrap().iter().filter(|alarm| alarm["kind"] == kind);
        alarms.map(|alarm| alarm["subject"].as_str().unwrap().to_owned()).collect()
    }
}

fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_for(what, PATIENCE, condition).unwrap()
}

fn station(mac: [u8; 6]) -> Endpoint {
    Endpoint::new(mac, [10, 0, 0, mac[5]], 1000)
}

const fn mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [2, 0, 0, 7, high, low]
}

#[test]
fn a_mac_that_is_silent_ages_and_one_that_speaks_stays_over_a_restart_too() {
    let (site, mut daemon) = Site::start("", "mac_age_secs = 4");
    let (silent, speaks) = (mac(1), mac(2));
    until("both MACs", || {
        site.send(0, silent);
        site.send(1, speaks);
        (site.learnt() == 2).then_some(())
    });
    daemon.kill().unwrap();
    let _daemon = site.host.start();
    let lost = Cell::new(0);
    until("the end of the silent one", || {
        site.send(1, speaks);
        lost.set(lost.get() + u32::from(site.port(speaks).as_deref() != Some("tap1")));
        site.port(silent).is_none().then_some(())
    });
    let status = site.host.status().unwrap();
    assert_eq!((lost.get(), &status["learning"]["aged"]), (0, &1.into()), "{status}");
    until("its return", || {
        site.send(1, silent);
        (site.port(silent)? == "tap1").then_some(())
    });
}

#[test]
fn a_vm_that_moved_away_is_let_in_from_its_new_place_once_it_aged_and_learnt_when_it_is_back() {
    let (site, _daemon) = Site::start("", "mac_age_secs = 4");
    let vm = mac(1);
    let learnt = || {
        site.send(0, vm);
        site.port(vm).map(drop)
    };
    until("the MAC", learnt);
    let inner = udp(station(vm), Endpoint { mac: vtep_api::MacAddr::BROADCAST, ..FAR }, &[9; 30]);
    let arrives = || {
        site.send_by(VTEP_A, &inner);
        site.tap[1].receive_where(Duration::from_millis(50), |frame| frame.ends_with(&[9; 30])).unwrap()
    };
    assert_eq!(arrives(), None, "a loop, as far as the host knows");
    until("a frame from its new place", arrives);
    assert_eq!(site.port(vm), None);
    until("its return", learnt);
    assert_eq!(arrives(), None);
}

#[test]
fn a_flood_of_macs_fills_its_port_and_delays_no_other() {
    let (site, _daemon) = Site::start("learn_max = 8", "");
    let flood = Cell::new(0_u16);
    let spill = || {
        for _ in 0..200 {
            flood.set(flood.get() + 1);
            site.send(0, mac(flood.get()));
        }
    };
    until("a full port", || {
        spill();
        (site.alarms("learn_limit") == ["tap0"]).then_some(())
    });
    // One frame is enough in the midst of it.
    let other = [2, 0, 0, 8, 0, 1];
    spill();
    site.send(1, other);
    until("the other port's MAC", || {
        spill();
        (site.port(other)? == "tap1").then_some(())
    });
    assert_eq!(site.learnt(), 9);
    assert_eq!(site.port(mac(1)).as_deref(), Some("tap0"), "the first is not evicted");
    let refused = site.host.status().unwrap()["learning"]["refused_by_port"].as_u64().unwrap();
    assert!(refused > 0);
    assert_eq!(site.alarms("learn_limit"), ["tap0"]);
}

#[test]
fn a_full_vni_is_told_once_and_its_macs_still_move() {
    let (site, _daemon) = Site::start("", "learn_max = 2");
    until("a full VNI", || {
        (1..5).for_each(|number| site.send(0, mac(number)));
        let status = site.host.status()?;
        (status["learning"]["refused_by_vni"].as_u64()? > 0).then_some(())
    });
    assert_eq!((site.learnt(), site.alarms("learn_limit")), (2, vec!["blue".to_owned()]));
    until("the move", || {
        site.send(1, mac(1));
        (site.port(mac(1))? == "tap1").then_some(())
    });
    assert_eq!(site.host.status().unwrap()["moves"]["between_ports"], 1);
}

#[test]
fn a_mac_on_two_ports_is_held_on_one_and_named_in_an_alarm() {
    let (site, _daemon) = Site::start("", "");
    let both = mac(1);
    let is_told = || site.alarms("duplicate_mac") == [station(both).mac.to_string()];
    // One at a time: of what is read in one go only the last sighting is a move.
    for tap in [0, 1].into_iter().cycle().take(8) {
        site.send(tap, both);
        let name = format!("tap{tap}");
        until("the move, or the alarm", || (site.port(both)? == name || is_told()).then_some(()));
        if is_told() {
            break;
        }
    }
    let (held, status) = (site.port(both), site.host.status().unwrap());
    assert_eq!((&status["moves"]["between_ports"], &status["learning"]["damped"]), (&5.into(), &1.into()));
    for tap in [0, 1, 0, 1] {
        site.send(tap, both);
    }
    until("another MAC, after these", || {
        site.send(0, mac(2));
        site.port(mac(2))
    });
    assert_eq!(site.port(both), held);
    let (_, metrics) = site.host.netns.http_get(9475, "/metrics").unwrap();
    assert!(metrics.contains("vtepd_agent_mac_moves_total{kind=\"ports\"} 5"), "{metrics}");
    assert_eq!(metric(&metrics, "vtepd_agent_macs_damped_total"), Some("1".to_owned()));
}

#[test]
fn who_has_asked_for_another_address_is_answered_for_by_the_program() {
    let (site, _daemon) = Site::start("", "suppress = true");
    let (known, asker) = (station(mac(1)), station(mac(2)));
    let flood = arp_request(asker, known.address);
    let is_answer = |frame: &[u8]| frame == arp_reply(known, asker);
    let heard = until("the answer", || {
        site.tap[0].send(&arp_request(known, [10, 0, 0, 99].into())).unwrap();
        site.tap[1].send(&flood).unwrap();
        site.tap[1].receive_where(Duration::from_millis(50), is_answer).unwrap()
    });
    assert_eq!(heard[6..12], known.mac.octets());
    site.tap[0].receive_all(Duration::from_millis(50), |_| true).unwrap();
    site.tap[1].send(&flood).unwrap();
    until("the next answer", || site.tap[1].receive_where(Duration::from_millis(50), is_answer).unwrap());
    let flooded = site.tap[0].receive_where(Duration::from_millis(50), |frame| frame == flood).unwrap();
    assert_eq!(flooded, None, "it need not be asked");
}

/// The VTEP and the origin of an entry.
fn behind(site: &Site, mac: [u8; 6]) -> Option<(String, String)> {
    let entry = site.host.json(&["fdb", "get", "5001", &station(mac).mac.to_string()])?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    Some((text(&entry["master"]["vtep"]["address"])?, text(&entry["origin"])?))
}

fn at(vtep: &str, origin: &str) -> (String, String) {
    (vtep.to_owned(), origin.to_owned())
}

#[test]
fn what_admitted_vteps_send_is_learnt_below_the_table_and_never_claimed() {
    let (site, _daemon) = Site::start("", "learn_underlay = true\nmac_age_secs = 6");
    let far = mac(1);
    let hears = |vtep: Endpoint| {
        let inner = udp(station(far), Endpoint { mac: vtep_api::MacAddr::BROADCAST, ..FAR }, &[9; 30]);
        site.send_by(vtep, &inner);
    };
    hears(STRANGER);
    let comes_to_be = |what: &str, vtep: Endpoint, expected: (String, String)| {
        until(what, || {
            hears(vtep);
            (behind(&site, far)? == expected).then_some(())
        });
    };
    comes_to_be("a MAC behind a", VTEP_A, at("192.0.2.11", "underlay"));
    comes_to_be("its move to b", VTEP_B, at("192.0.2.12", "underlay"));
    hears(STRANGER);
    let rows = site.host.json(&["fdb", "show"]).unwrap();
    let learnt = rows.as_array().unwrap().iter().filter(|row| row["origin"] == "underlay").count();
    assert_eq!((learnt, site.learnt()), (1, 0), "none is of our ports, none is claimed");

    // The table's word stands as long as there is one.
    let table = std::fs::read_to_string(site.host.folder.path().join("table.toml")).unwrap();
    let row =
        format!("mac = [ {{ logical_switch = \"blue\", mac = \"{}\", master = \"a\" }},", station(far).mac);
    site.host.write("table.toml", &table.replace("mac = [", &row));
    comes_to_be("the table's entry", VTEP_B, at("192.0.2.11", "table"));
    for _ in 0..20 {
        hears(VTEP_B);
    }
    assert_eq!(behind(&site, far).unwrap(), at("192.0.2.11", "table"));
    assert_eq!(site.host.status().unwrap()["counts"]["macs_overheard"], 0);
    site.host.write("table.toml", &table);
    until("its end", || behind(&site, far).is_none().then_some(()));
    comes_to_be("a MAC behind b", VTEP_B, at("192.0.2.12", "underlay"));

    // A VM that comes to us, and one that leaves us for another host.
    until("its arrival", || {
        site.send(0, far);
        site.port(far)
    });
    hears(VTEP_A);
    assert_eq!(site.port(far).as_deref(), Some("tap0"), "it has just spoken here");
    comes_to_be("its departure", VTEP_A, at("192.0.2.11", "underlay"));
    assert_eq!(site.learnt(), 0);
    until("the end of its age", || behind(&site, far).is_none().then_some(()));
}

#[test]
fn a_vtep_that_floods_macs_fills_its_own_quota() {
    let (site, _daemon) = Site::start("", "learn_underlay = true\nlearn_underlay_max = 4");
    let hears = |vtep: Endpoint, mac: [u8; 6]| {
        let inner = udp(station(mac), Endpoint { mac: vtep_api::MacAddr::BROADCAST, ..FAR }, &[9; 30]);
        site.send_by(vtep, &inner);
    };
    until("a full VTEP", || {
        (1..40).for_each(|number| hears(VTEP_A, mac(number)));
        (site.alarms("learn_limit") == ["192.0.2.11"]).then_some(())
    });
    until("the other's MAC", || {
        hears(VTEP_A, mac(41));
        hears(VTEP_B, mac(100));
        behind(&site, mac(100))
    });
    let status = site.host.status().unwrap();
    assert_eq!(status["counts"]["macs_overheard"], 5);
    assert!(status["learning"]["refused_by_vtep"].as_u64().unwrap() > 0);
    assert_eq!(behind(&site, mac(1)).unwrap(), at("192.0.2.11", "underlay"), "the first stays");
}

#[test]
fn a_monitor_tells_of_a_vm_that_appears_moves_to_another_port_and_leaves_for_another_host() {
    let (site, _daemon) = Site::start("", "");
    let mut client = Client::start(&site.host, &["monitor", "moves", "--json"]);
    let (vm, next) = (mac(0xff), std::sync::atomic::AtomicU16::new(0));
    // As long as the monitor has not begun, what appears is not told.
    let appears = || site.send(0, mac(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 0xff));
    client.event(appears, |_| true);
    let of_vm = |row: &serde_json::Value| row["mac"] == station(vm).mac.to_string();
    let ends = |row: &serde_json::Value| {
        let end = |end: &serde_json::Value| {
            let end = end.get("port").map_or(&end["vtep"]["address"], |port| &port["name"]);
            end.as_str().unwrap_or("nowhere").to_owned()
        };
        (end(&row["from"]), end(&row["to"]), row["by"].as_str().unwrap().to_owned())
    };
    let moved = |from: &str, to: &str, by: &str| (from.to_owned(), to.to_owned(), by.to_owned());
    let row = client.event(|| site.send(0, vm), of_vm);
    assert_eq!(ends(&row), moved("nowhere", "tap0", "learning"), "{row}");
    let row = client.event(|| site.send(1, vm), of_vm);
    assert_eq!(ends(&row), moved("tap0", "tap1", "learning"), "{row}");
    let table = std::fs::read_to_string(site.host.folder.path().join("table.toml")).unwrap();
    let entry =
        format!("mac = [ {{ logical_switch = \"blue\", mac = \"{}\", master = \"a\" }},", station(vm).mac);
    let table = table.replace("mac = [", &entry);
    let row = client.event(|| site.host.write("table.toml", &table), of_vm);
    assert_eq!(ends(&row), moved("tap1", "192.0.2.11", "table"), "{row}");
}

#[test]
fn a_mac_that_another_port_lists_stays_there_and_the_attempt_is_told_and_counted() {
    let host = Host::new("");
    Link::veth(&host.netns, "tap1", &host.peer, "vm1").unwrap();
    let text = std::fs::read_to_string(host.folder.path().join("agent.toml")).unwrap();
    host.write("agent.toml", &format!("{text}\n[[port]]\nname = \"tap1\"\nlearn = true\n"));
    let binding = "binding = [{ port = \"tap0\", logical_switch = \"blue\" }";
    let both = format!("{binding}, {{ port = \"tap1\", logical_switch = \"blue\" }}");
    host.write("table.toml", &TABLE.replace(binding, &both));
    let _daemon = host.start();
    let thief = PacketSocket::bind(&Link::named(&host.peer, "vm1")).unwrap();
    let listed = station([2, 0, 0, 0, 0, 0xaa]);
    let stolen = listed.mac.to_string();
    let holder = || host.json(&["fdb", "get", "5001", &stolen]).unwrap()["master"]["port"]["name"].clone();
    until("tap1's program", || {
        let rows = host.json(&["port", "show", "tap1"])?;
        (rows[0]["learning"] == true && rows[0]["attached"] == true).then_some(())
    });
    let frame = udp(listed, FAR, &[1; 20]);
    let contested = || host.status().unwrap()["moves"]["contested"].as_u64().unwrap();

    let mut client = Client::start(&host, &["monitor", "moves", "--json"]);
    let row = client.event(|| thief.send(&frame).unwrap(), |row| row["event"] == "contested");
    assert_eq!((&row["mac"], &row["vni"]), (&stolen.as_str().into(), &5001.into()), "{row}");
    assert_eq!(row["at"]["port"]["name"], "tap1", "{row}");
    assert_eq!(row["holder"]["port"]["name"], "tap0", "{row}");
    assert!(contested() >= 1);
    assert_eq!(holder(), "tap0");
}

fn metric(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}
