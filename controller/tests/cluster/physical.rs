//! The physical controllers: a VTEP goes to another process, which mirrored it; nothing is claimed again, nothing removed.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use vtep_api::grpc::{endpoint, vtep_client};
use vtep_api::{FromVtep, PROTOCOL, Term, ToVtep, VtepName};
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::ControllerRole::{Both, Logical, Physical};
use vtep_tests::process::Daemon;

use super::site::{Rows, Site};
use super::tors::{SOON, Tor, both, declared};

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";
const M3: &str = "02:00:00:00:00:03";
/// At a lease of 3 s.
const TAKEOVER: Duration = Duration::from_secs(5);
/// Of `store.settle_secs`, the default.
const SETTLE: Duration = Duration::from_secs(10);

/// Two TORs, two physical controllers, M1 behind the first TOR and M2 claimed by both: the second has it.
fn world() -> (Tor, Tor, Site) {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let site = Site::new(1, &[("lc1", Logical), ("pc1", Physical), ("pc2", Physical)]);
    site.apply("lc1", &declared("", [&a, &b], &both(&a, &b)));
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.claim("ls0", M1).unwrap();
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    b.claim("ls0", M2).unwrap();
    a.expect("ls0", &[(M2, &b)], SOON);
    b.expect("ls0", &[(M1, &a)], SOON);
    wait_for("every VTEP at home", SOON, || site.controllers["lc1"].homes()).unwrap();
    (a, b, site)
}

fn other(name: &str) -> &'static str {
    if name == "pc1" { "pc2" } else { "pc1" }
}

/// What happened to the MACs, which a claim would add to.
fn history(site: &Site) -> Vec<Value> {
    [M1, M2].map(|mac| site.controllers["lc1"].json(&["history", "ls0", mac]).unwrap()).to_vec()
}

fn wait_up(site: &Site, vtep: &str, controller: &str) {
    let held = wait_for("the VTEP at its new controller", SOON, || {
        let rows = site.controllers["lc1"].json(&["vteps"]).ok()?;
        let row = rows.as_array()?.iter().find(|row| row["name"] == vtep)?.clone();
        (row["session"] == "up" && row["physical_controller"] == controller).then_some(())
    });
    held.unwrap();
}

/// A member that has settled: who comes from here on takes no VTEP before he has, too.
struct Settled {
    member: Value,
    since: Instant,
}

impl Settled {
    fn wait(site: &Site, name: &str) -> Self {
        let settled = || site.member("lc1", name).filter(|row| row["settled"] == true);
        let member = wait_for("a member to settle", SOON, settled).unwrap();
        Self { member, since: Instant::now() }
    }

    /// Another one has just taken a VTEP.
    #[track_caller]
    fn expect_waited_for(&self, site: &Site) {
        let took = self.since.elapsed();
        let now = site.member("lc1", self.member["name"].as_str().unwrap());
        // Had it lost its lease meanwhile, nobody had been there.
        let stayed = now.is_some_and(|now| now["term"] == self.member["term"]);
        assert!(took >= SETTLE || !stayed, "a VTEP that another one may serve was taken after {took:?}");
    }
}

/// What BFD finds of a VTEP moves nothing while its database answers whoever takes it over.
#[test]
fn scenario_25_a_dead_physical_controller_and_a_silent_tunnel_move_no_mac_of_a_living_tor() {
    let (a, b, mut site) = world();
    let dead = site.server("lc1", "tor2").unwrap().holder;
    let heir = other(&dead);
    // The witness stays where it is.
    site.move_office("lc1", &["--vtep", "tor1", heir]);
    wait_up(&site, "tor1", heir);
    let [local, remote] = [&a, &b].map(|tor| {
        let wanted = json!([["dst_ip", "==", tor.address.to_string()]]);
        a.ovsdb.select("Physical_Locator", &wanted).unwrap()[0]["_uuid"].clone()
    });
    let status = json!([["state", "down"], ["diagnostic", "Control Detection Time Expired"]]);
    let tunnel = json!({"local": local, "remote": remote, "bfd_status": ["map", status]});
    let made = json!(["set", [["named-uuid", "made"]]]);
    let results = a.ovsdb.transact(&json!([
        {"op": "insert", "table": "Tunnel", "uuid-name": "made", "row": tunnel},
        {"op": "mutate", "table": "Physical_Switch", "where": [], "mutations": [["tunnels", "insert", made]]},
    ]));
    let results = results.unwrap();
    assert!(!results.to_string().contains("\"error\""), "{results}");
    // What is claimed after it is heard after it.
    a.claim("ls0", M3).unwrap();
    b.expect("ls0", &[(M1, &a), (M3, &a)], SOON);
    let (rows, before) = (Rows::of([&a, &b]), history(&site));
    site.at(&dead).kill().unwrap();
    site.wait_server("lc1", "tor2", |new| new.holder == heir);
    wait_up(&site, "tor2", heir);
    rows.expect_unchanged();
    assert_eq!(history(&site), before);
}

#[test]
fn scenario_15_a_killed_physical_controller_is_succeeded_and_nothing_is_claimed_again() {
    let (a, b, mut site) = world();
    let old = site.server("lc1", "tor1").unwrap();
    let (dead, heir) = (old.holder.clone(), other(&old.holder));
    let (rows, before) = (Rows::of([&a, &b]), history(&site));
    site.at(&dead).kill().unwrap();
    let killed = Instant::now();
    a.claim("ls0", M3).unwrap();
    b.expect("ls0", &[(M1, &a), (M3, &a)], SOON);
    let took = killed.elapsed();
    assert!(took < TAKEOVER, "it took {took:?}");
    let new = site.wait_server("lc1", "tor1", |new| new.holder == heir);
    assert!(new.term > old.term, "{new:?} after {old:?}");
    wait_up(&site, "tor1", heir);
    wait_up(&site, "tor2", heir);
    assert_eq!(history(&site), before);
    rows.expect_unchanged();
    // And back, when it has what serving needs.
    let heirs = Settled::wait(&site, heir);
    site.at(&dead).start().unwrap();
    site.wait_server("lc1", "tor1", |again| again.holder == dead && again.term > new.term);
    heirs.expect_waited_for(&site);
    wait_up(&site, "tor1", &dead);
    a.withdraw("ls0", M3).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    a.expect("ls0", &[(M2, &b)], SOON);
    assert_eq!(history(&site), before);
    rows.expect_unchanged();
}

/// As systemd does it. Its VTEPs are free at the moment at which it may be a member again.
#[test]
fn a_physical_controller_that_is_started_again_before_its_lease_is_over_waits_until_it_has_settled() {
    let (a, b, mut site) = world();
    let old = site.server("lc1", "tor1").unwrap();
    let (dead, heir) = (old.holder.clone(), other(&old.holder));
    let heirs = Settled::wait(&site, heir);
    site.at(&dead).kill().unwrap();
    site.at(&dead).launch().unwrap();
    site.wait_server("lc1", "tor1", |again| again.holder == dead && again.term > old.term);
    heirs.expect_waited_for(&site);
    wait_up(&site, "tor1", &dead);
    b.claim("ls0", M3).unwrap();
    a.expect("ls0", &[(M2, &b), (M3, &b)], SOON);
}

#[test]
fn scenario_15_a_physical_controller_that_was_stopped_past_its_lease_writes_nothing() {
    let (a, b, mut site) = world();
    let old = site.server("lc1", "tor1").unwrap();
    let (stopped, heir) = (old.holder.clone(), other(&old.holder));
    site.signal(&stopped, Signal::SIGSTOP);
    let new = site.wait_server("lc1", "tor1", |new| new.holder == heir && new.term > old.term);
    wait_up(&site, "tor1", heir);
    wait_up(&site, "tor2", heir);
    // What the stopped one would still write is wrong by now.
    b.claim("ls0", M1).unwrap();
    a.expect("ls0", &[(M1, &b), (M2, &b)], SOON);
    b.expect("ls0", &[], SOON);
    let (rows, before) = (Rows::of([&a, &b]), history(&site));
    site.signal(&stopped, Signal::SIGCONT);
    site.wait_server("lc1", "tor1", |again| again.holder == stopped && again.term > new.term);
    wait_up(&site, "tor1", &stopped);
    rows.expect_unchanged();
    assert_eq!(history(&site), before);
    a.expect("ls0", &[(M1, &b), (M2, &b)], SOON);
}

#[test]
fn a_process_that_is_both_takes_over_all_of_another_one() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let mut site = Site::new(1, &[("c1", Both), ("c2", Both)]);
    site.apply("c1", &declared("", [&a, &b], &both(&a, &b)));
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.claim("ls0", M1).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    b.claim("ls0", M1).unwrap();
    a.expect("ls0", &[(M1, &b)], SOON);
    b.expect("ls0", &[], SOON);
    let (_, reign) = site.reign("c1", "ls0").unwrap();
    let heir = if reign.holder == "c1" { "c2" } else { "c1" };
    let rows = Rows::of([&a, &b]);
    site.at(&reign.holder).kill().unwrap();
    b.claim("ls0", M2).unwrap();
    a.expect("ls0", &[(M1, &b), (M2, &b)], SOON);
    site.wait_reign(heir, "ls0", |new| new.holder == heir);
    rows.expect_unchanged();
}

pub(crate) const HOST: &str = "version = 1\n[[vtep]]\nname = \"hv1\"\n[[logical_switch]]\nname = \"ls0\"\nvni = 5000\n\
    [[subscription]]\nvtep = \"hv1\"\nlogical_switch = \"ls0\"\n";

/// An agent's session with one controller, inside the namespace.
pub(crate) struct Attached {
    say: mpsc::Sender<FromVtep>,
    heard: Streaming<ToVtep>,
}

impl Attached {
    pub(crate) async fn to(address: &str, obeyed: u64) -> Result<Self, String> {
        let (say, said) = mpsc::channel(4);
        let (name, term) = (VtepName::try_from("hv1").unwrap(), Term(obeyed));
        say.send(FromVtep::Hello { protocol: PROTOCOL, name, term, tables: Vec::new() }).await.unwrap();
        let channel = endpoint(address, None).unwrap().connect().await.map_err(|error| error.to_string())?;
        let attached = vtep_client(channel).attach(ReceiverStream::new(said)).await;
        Ok(Self { say, heard: attached.map_err(|status| status.message().to_owned())?.into_inner() })
    }

    /// A session and its first message that fits. Tried again while the controller has not heard that the VTEP is declared.
    async fn admitted<T>(address: &str, fits: impl Fn(&ToVtep) -> Option<T>) -> (Self, T) {
        let admitted = async {
            loop {
                let mut attached = Self::to(address, 0).await.unwrap();
                match attached.until(&fits).await {
                    Ok(found) => return (attached, found),
                    Err(refusal) => {
                        assert!(refusal.contains("no logical controller declares it"), "{refusal}");
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SOON, admitted).await.expect("a session with a controller that declares hv1")
    }

    /// The first that fits, with heartbeats to it meanwhile.
    pub(crate) async fn until<T>(&mut self, fits: impl Fn(&ToVtep) -> Option<T>) -> Result<T, String> {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        loop {
            let message = tokio::select! {
                message = self.heard.message() => message.map_err(|status| status.message().to_owned())?,
                _ = beat.tick() => {
                    self.say.try_send(FromVtep::Heartbeat { wall_ms: 0 }).ok();
                    continue;
                }
            };
            let message = message.ok_or_else(|| "it ended the session".to_owned())?;
            if let Some(found) = fits(&message) {
                return Ok(found);
            }
        }
    }
}

fn welcome(message: &ToVtep) -> Option<Term> {
    match message {
        ToVtep::Welcome { term, elected: true, .. } => Some(*term),
        _ => None,
    }
}

#[test]
fn an_agent_stands_by_with_who_does_not_serve_it_and_is_welcomed_there_when_the_other_is_stopped() {
    let mut site = Site::new(1, &[("lc1", Logical), ("pc1", Physical), ("pc2", Physical)]);
    site.apply("lc1", HOST);
    let serving = site.wait_server("lc1", "hv1", |_| true);
    let [own, others] = [serving.holder.as_str(), other(&serving.holder)].map(|name| site.address(name));
    let pid = site.at(&serving.holder).daemon().unwrap().pid();
    let signal = |signal| nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    let (took, term) = site.inside(async || {
        let (mut standby, server) = Attached::admitted(&others, |message| match message {
            ToVtep::Standby { server: Some((name, term)), .. } => Some((name.to_string(), *term)),
            _ => None,
        })
        .await;
        assert_eq!(server, (serving.holder.clone(), Term(serving.term)));
        let (_first, term) = Attached::admitted(&own, welcome).await;
        assert_eq!(term, Term(serving.term));
        signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        let term = standby.until(welcome).await.unwrap();
        (stopped.elapsed(), term)
    });
    signal(Signal::SIGCONT);
    assert!(took < TAKEOVER && term > Term(serving.term), "{term:?} after {took:?}");
}

/// A process that goes on after its time may still take the lock.
#[test]
fn a_lock_that_somebody_stole_is_taken_back_by_who_is_elected() {
    let (a, b, _site) = world();
    let mut thief = Command::new("ovsdb-client");
    thief.args(["steal", &a.ovsdb.remote(), "vtepd_physical_controller"]);
    let mut thief = Daemon::spawn("a thief", &mut thief).unwrap();
    thief.wait_for_log("stolen", SOON).unwrap();
    b.claim("ls0", M3).unwrap();
    a.expect("ls0", &[(M2, &b), (M3, &b)], SOON);
    assert!(thief.exit_status().unwrap().is_none(), "it went by itself");
}

#[test]
fn an_operator_moves_a_vtep_and_a_named_physical_controller_is_refused() {
    let (a, b, mut site) = world();
    let old = site.server("lc1", "tor2").unwrap();
    let to = other(&old.holder);
    let rows = Rows::of([&a, &b]);
    site.move_office("lc1", &["--vtep", "tor2", to]);
    site.wait_server("lc1", "tor2", |new| new.holder == to && new.term > old.term);
    wait_up(&site, "tor2", to);
    b.claim("ls0", M3).unwrap();
    a.expect("ls0", &[(M2, &b), (M3, &b)], SOON);
    rows.expect_unchanged();
    let wrong = site.at("lc1").command(&["move", "--vtep", "tor2", "lc1"]).unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("the role of lc1 is logical; expected for VTEP tor2: physical or both"), "{said}");
    let named = declared("", [&a, &b], &both(&a, &b))
        .replace("name = \"tor1\"\n", "name = \"tor1\"\nphysical_controller = \"pc9\"\n");
    let refused = site.at("lc1").apply(&named).unwrap_err().to_string();
    assert!(refused.contains("names the physical controller \"pc9\"; expected none"), "{refused}");
}
