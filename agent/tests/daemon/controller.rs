//! With a physical controller that a test plays: the real service on one side, the real agent and kernel on the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use vtep_api::daemon::TlsFiles;
use vtep_api::grpc::{self, PeerNames, VtepSession};
use vtep_api::{
    Binding, Cause, Change, FromVtep, Held, LocalMac, LogicalSwitchName, MacAddr, Network, PROTOCOL,
    Placement, Replication, Role, Row, TableUpdate, Term, ToVtep, UnknownUnicast, Version, VlanId, Vni,
    VtepName, VtepOutline,
};
use vtep_tests::deadline::wait_for;
use vtep_tests::frame::{Endpoint, arp_request, udp};
use vtep_tests::link::Link;
use vtep_tests::packet::PacketSocket;
use vtep_tests::pki::Pki;
use vtep_tests::process::Daemon;

use crate::host::{Host, PATIENCE};

const MAC: &str = "02:00:00:00:00:01";
const OWN_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xaa]);

struct Service(Mutex<mpsc::Sender<Session>>);

/// One agent's attachment.
struct Session {
    names: PeerNames,
    inbound: Receiver<FromVtep>,
    outbound: tokio::sync::mpsc::Sender<Result<ToVtep, Status>>,
}

#[tonic::async_trait]
impl VtepSession for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ToVtep, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromVtep>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (heard, inbound) = mpsc::channel();
        let names = PeerNames::of(&request).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let (outbound, mut said) = tokio::sync::mpsc::channel(64);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if heard.send(message).is_err() {
                    return;
                }
            }
        });
        self.0.lock().unwrap().send(Session { names, inbound, outbound }).ok();
        Ok(Response::new(Box::pin(stream::poll_fn(move |context| said.poll_recv(context)))))
    }
}

/// The controller, for as long as it lives.
struct Controller {
    _runtime: Runtime,
    port: u16,
    sessions: Receiver<Session>,
}

impl Controller {
    /// In the agent's namespace.
    fn start(host: &Host, port: u16) -> Self {
        Self::start_with(host, port, None)
    }

    fn start_with(host: &Host, port: u16, tls: Option<TlsFiles>) -> Self {
        let listener = host.netns.within(|| TcpListener::bind(("127.0.0.1", port))).unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, sessions) = mpsc::channel();
        let service = grpc::vtep_service(Service(Mutex::new(sender)));
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            let mut server = grpc::server(tls.as_ref()).unwrap();
            server.add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { _runtime: runtime, port, sessions }
    }

    fn attached(&self) -> (Session, Vec<Held>, Term) {
        let session = self.sessions.recv_timeout(PATIENCE).expect("an agent attaches");
        let FromVtep::Hello { protocol: PROTOCOL, name, term, tables } = session.next() else {
            panic!("the first message is a hello")
        };
        assert_eq!(name.as_str(), "host-1");
        (session, tables, term)
    }
}

impl Session {
    fn say(&self, message: ToVtep) {
        self.outbound.blocking_send(Ok(message)).expect("the agent is there");
    }

    fn welcome(&self, protocol: u32, term: u64) {
        self.say(ToVtep::Welcome {
            protocol,
            name: "pc-1".try_into().unwrap(),
            term: Term(term),
            elected: false,
        });
    }

    fn next(&self) -> FromVtep {
        self.inbound.recv_timeout(PATIENCE).expect("the agent says something")
    }

    /// The first that fits; what comes before is passed over.
    fn until<T>(&self, fits: impl Fn(FromVtep) -> Option<T>) -> T {
        loop {
            if let Some(found) = fits(self.next()) {
                return found;
            }
        }
    }

    fn applied(&self, version: u64) {
        let wanted = Held { logical_switch: blue(), term: Term(1), version: Version(version) };
        self.until(|message| (message == FromVtep::Applied(wanted.clone())).then_some(()));
    }

    /// What is told of the port's MAC next.
    fn own(&self, snapshot: bool) -> LocalMac {
        self.until(|message| match told(message, snapshot, OWN_MAC)? {
            Told::Claim(local) => Some(local),
            Told::Withdrawal => None,
        })
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    Claim(LocalMac),
    Withdrawal,
}

/// What a message tells of a MAC.
fn told(message: FromVtep, snapshot: bool, wanted: MacAddr) -> Option<Told> {
    let FromVtep::Inventory(inventory) = message else { return None };
    let records = inventory.networks.into_iter().flat_map(|(_, records)| records);
    let mut records = records.filter(|_| inventory.snapshot == snapshot);
    let (_, local) = records.find(|(mac, _)| *mac == wanted)?;
    Some(local.map_or(Told::Withdrawal, Told::Claim))
}

fn blue() -> LogicalSwitchName {
    "blue".try_into().unwrap()
}

fn vtep(name: &str) -> VtepName {
    name.try_into().unwrap()
}

fn outline() -> ToVtep {
    let network = Network {
        vni: Vni::try_from(5001_u32).unwrap(),
        unknown_unicast: UnknownUnicast::Flood,
        replication: Replication::SourceNode,
        flood: BTreeSet::from([vtep("host-1"), vtep("a")]),
        unheard: BTreeSet::new(),
    };
    let address = |last| std::net::Ipv4Addr::new(192, 0, 2, last).into();
    let binding =
        Binding { port: "tap0".try_into().unwrap(), vlan: VlanId::UNTAGGED, logical_switch: blue() };
    ToVtep::Outline(VtepOutline {
        complete: true,
        vteps: [("host-1", 1), ("a", 11), ("b", 12)].map(|(name, last)| (vtep(name), address(last))).into(),
        networks: BTreeMap::from([(blue(), network)]),
        bindings: BTreeSet::from([binding]),
    })
}

/// MACs by their last octets, each behind a master.
fn table(from: Option<u64>, to: u64, rows: &[(u8, &str)]) -> TableUpdate {
    let row = |(last, master): &(u8, &str)| {
        let placement = Arc::new(Placement { master: vtep(master), slaves: Vec::new() });
        (MacAddr::new([2, 0, 0, 0, 0, *last]), Change::Put(Row { placement, ips: Box::default() }))
    };
    TableUpdate {
        logical_switch: blue(),
        term: Term(1),
        from: from.map(Version),
        to: Version(to),
        complete: true,
        changes: rows.iter().map(row).collect(),
        end: true,
    }
}

struct Bench {
    host: Host,
    controller: Controller,
}

impl Bench {
    fn new() -> (Self, Daemon) {
        let host = Host::bare();
        let controller = Controller::start(&host, 0);
        let source = format!("kind = \"controller\"\naddress = \"http://127.0.0.1:{}\"", controller.port);
        host.configure("agent.toml", &host.pins(), &source, "");
        let daemon = spawn(&host);
        (Self { host, controller }, daemon)
    }

    /// By term 7, with two MACs at version 4 in the kernel.
    fn settled() -> (Self, Daemon, Session) {
        let (bench, daemon) = Self::new();
        let (session, tables, term) = bench.controller.attached();
        assert_eq!((tables, term), (vec![], Term(0)));
        session.welcome(PROTOCOL, 7);
        session.say(outline());
        session.say(ToVtep::Table(table(None, 4, &[(1, "a"), (2, "b")])));
        session.applied(4);
        assert_eq!(bench.host.macs(), 3);
        (bench, daemon, session)
    }

    fn master(&self) -> Option<Value> {
        Some(self.host.json(&["fdb", "get", "5001", MAC])?["master"]["vtep"]["address"].clone())
    }

    #[track_caller]
    fn until_lost(&self, part: &str) {
        let lost = || self.host.status()?["source"]["lost"].as_str()?.contains(part).then_some(());
        wait_for(part, PATIENCE, lost).unwrap();
    }
}

/// Without waiting for a table.
fn spawn(host: &Host) -> Daemon {
    let mut daemon = Daemon::spawn("vtep-agent", &mut host.command("agent.toml")).unwrap();
    daemon.wait_for("the control socket", PATIENCE, || host.status().map(drop)).unwrap();
    daemon
}

#[test]
fn a_snapshot_and_a_delta_reach_the_kernel_and_are_acknowledged() {
    let (bench, _daemon, session) = Bench::settled();
    assert_eq!(bench.master().unwrap(), "192.0.2.11");
    session.say(ToVtep::Table(table(Some(4), 5, &[(1, "b")])));
    session.applied(5);
    assert_eq!(bench.master().unwrap(), "192.0.2.12");
    let status = bench.host.status().unwrap()["source"]["session"].clone();
    assert_eq!(
        (&status["controller"], &status["term"], &status["open"]),
        (&"pc-1".into(), &7.into(), &true.into())
    );
    assert_eq!(status["tables"][0]["installed"], 5, "{status}");
    session.say(ToVtep::Table(table(Some(9), 10, &[(1, "a")])));
    session.until(|message| (message == FromVtep::Resync { logical_switch: blue() }).then_some(()));
    assert_eq!(bench.master().unwrap(), "192.0.2.12");
}

#[test]
fn a_lower_term_is_refused_even_after_a_restart() {
    let (bench, mut daemon, session) = Bench::settled();
    daemon.kill().unwrap();
    drop(session);
    let _daemon = spawn(&bench.host);
    let (session, _, term) = bench.controller.attached();
    assert_eq!(term, Term(7));
    session.welcome(PROTOCOL, 6);
    bench.until_lost("controller pc-1 has term 6; expected at least 7");
    assert_eq!(bench.host.macs(), 3);
    let (session, ..) = bench.controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    session.say(ToVtep::Table(table(None, 5, &[(1, "b")])));
    session.applied(5);
    assert_eq!(bench.host.macs(), 2);
}

#[test]
fn what_an_incomplete_snapshot_lacks_stays_in_the_kernel_after_a_restart() {
    let (bench, mut daemon, session) = Bench::settled();
    daemon.kill().unwrap();
    drop(session);
    let _daemon = spawn(&bench.host);
    let (session, tables, _) = bench.controller.attached();
    assert_eq!(tables, []);
    session.welcome(PROTOCOL, 8);
    session.say(outline());
    session.say(ToVtep::Table(TableUpdate { complete: false, ..table(None, 1, &[(3, "b")]) }));
    session.applied(1);
    assert_eq!((bench.host.macs(), bench.master().unwrap()), (4, "192.0.2.11".into()));
    session.say(ToVtep::Table(table(None, 2, &[(2, "b"), (3, "b")])));
    session.applied(2);
    assert_eq!((bench.host.macs(), bench.master()), (3, None));
}

#[test]
fn without_its_controller_the_agent_forwards_on_and_then_goes_on_by_deltas() {
    let (mut bench, _daemon, session) = Bench::settled();
    let port = bench.controller.port;
    let epoch = bench.host.status().unwrap()["epoch"].clone();
    drop(session);
    bench.controller = Controller::start(&bench.host, 0);
    bench.until_lost("127.0.0.1");
    assert_eq!(bench.host.macs(), 3);
    bench.controller = Controller::start(&bench.host, port);
    let (session, tables, _) = bench.controller.attached();
    assert_eq!(tables, [Held { logical_switch: blue(), term: Term(1), version: Version(4) }]);
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    session.applied(4);
    assert_eq!(bench.host.status().unwrap()["epoch"], epoch);
    session.say(ToVtep::Table(table(Some(4), 5, &[(1, "b")])));
    session.applied(5);
    assert_eq!(bench.master().unwrap(), "192.0.2.12");
}

#[test]
fn another_protocol_is_refused_with_both_numbers() {
    let (bench, _daemon) = Bench::new();
    let (session, ..) = bench.controller.attached();
    session.welcome(PROTOCOL + 1, 7);
    bench.until_lost("controller pc-1 speaks protocol 2; expected 1");
    let (session, ..) = bench.controller.attached();
    session
        .outbound
        .blocking_send(Err(Status::failed_precondition("this agent speaks 1, we speak 3")))
        .unwrap();
    bench.until_lost("this agent speaks 1, we speak 3");
}

#[test]
fn a_role_is_a_claim_that_outlives_the_agent() {
    let (bench, mut daemon) = Bench::new();
    let (session, ..) = bench.controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    let first = session.own(true);
    assert_eq!(first.role, Role::Master);
    assert!(bench.host.ask(&["role", "set", "slave", "--port", "tap0"]).status.success());
    let second = session.own(false);
    assert_eq!(second.role, Role::Slave);
    assert!(second.claimed_at_ms >= first.claimed_at_ms && first.claimed_at_ms.is_some());
    assert!(second.origin != first.origin && first.origin.is_some());
    daemon.kill().unwrap();
    drop(session);
    let _daemon = spawn(&bench.host);
    let (session, ..) = bench.controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    assert_eq!(session.own(true), LocalMac { role: Role::Slave, ..LocalMac::default() });
    let shown = bench.host.json(&["role", "show"]).unwrap();
    assert_eq!(shown, serde_json::json!([{ "role": "slave", "port": "tap0" }]));
}

#[test]
fn each_side_knows_the_other_by_its_certificate() {
    let host = Host::bare();
    let (pki, stranger) = (Pki::new().unwrap(), Pki::new().unwrap());
    let files = |files: vtep_tests::pki::TlsFiles| TlsFiles {
        private_key: files.private_key,
        certificate: files.certificate,
        ca_certificate: files.ca_certificate,
    };
    let own = pki.issue_at("pc-1", [127, 0, 0, 1]).unwrap();
    let controller = Controller::start_with(&host, 0, Some(files(own)));
    let configure = |files: &vtep_tests::pki::TlsFiles| {
        let address = format!("https://127.0.0.1:{}", controller.port);
        let source = format!("kind = \"controller\"\naddress = \"{address}\"\n{}", files.lines());
        host.configure("agent.toml", &host.pins(), &source, "");
    };
    let mut unknown = stranger.issue("host-1").unwrap();
    unknown.ca_certificate = pki.issue("any").unwrap().ca_certificate;
    configure(&unknown);
    let mut daemon = spawn(&host);
    let lost = || host.status()?["source"]["lost"].as_str().map(str::to_owned);
    wait_for("the refusal", PATIENCE, lost).unwrap();
    assert!(controller.sessions.try_recv().is_err());
    daemon.kill().unwrap();

    configure(&pki.issue("host-1").unwrap());
    let _daemon = spawn(&host);
    let (session, ..) = controller.attached();
    assert!(session.names.check("host-1").is_ok(), "{:?}", session.names);
    let error = session.names.check("host-2").unwrap_err().to_string();
    assert_eq!(error, "peer calls itself \"host-2\"; expected one of its certificate's names [\"host-1\"]");
}

#[test]
fn a_snapshot_that_lacks_too_much_empties_no_network_after_a_restart_either() {
    let (bench, mut daemon, session) = Bench::settled();
    let rows: Vec<_> = (1..101).map(|last| (last, "a")).collect();
    session.say(ToVtep::Table(table(None, 5, &rows)));
    session.applied(5);
    session.say(ToVtep::Table(table(None, 6, &[])));
    session.applied(6);
    assert_eq!(bench.host.macs(), 101);
    daemon.kill().unwrap();
    drop(session);
    let _daemon = spawn(&bench.host);
    let (session, ..) = bench.controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    session.say(ToVtep::Table(table(None, 6, &[])));
    session.applied(6);
    assert_eq!(bench.host.macs(), 101);
    let alarms = bench.host.status().unwrap()["alarms"].clone();
    let held = |alarm: &Value| alarm["kind"] == "removals_held";
    assert!(alarms.as_array().unwrap().iter().any(held), "{alarms}");
    assert_eq!(bench.host.json(&["release", "5001"]).unwrap()["macs"], 100);
    wait_for("the end of what was held", PATIENCE, || (bench.host.macs() == 1).then_some(())).unwrap();
}

/// With a port that learns, and `keys` of its network.
fn learning(keys: &str) -> (Host, Controller, Daemon, Session) {
    let host = Host::bare();
    let controller = Controller::start(&host, 0);
    let source = format!("kind = \"controller\"\naddress = \"http://127.0.0.1:{}\"", controller.port);
    host.configure("agent.toml", &host.pins(), &source, "");
    let text = std::fs::read_to_string(host.folder.path().join("agent.toml")).unwrap();
    let text = text.replace("macs = [\"02:00:00:00:00:aa\"]", "learn = true");
    host.write("agent.toml", &format!("{text}\n[[network]]\nvni = 5001\n{keys}\n"));
    let daemon = spawn(&host);
    let session = obeyed(&controller);
    (host, controller, daemon, session)
}

/// With an empty table.
fn obeyed(controller: &Controller) -> Session {
    let (session, ..) = controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    session.say(ToVtep::Table(table(None, 1, &[])));
    session.applied(1);
    session
}

/// A → B → A by a withdrawal at B, and once more by the MAC's age.
#[test]
fn a_late_frame_takes_no_mac_back_and_a_withdrawal_and_a_return_do() {
    let (host, _controller, _daemon, session) = learning("mac_age_secs = 4");
    let vm = PacketSocket::bind(&Link::named(&host.peer, "vm")).unwrap();
    let guest = Endpoint::new(OWN_MAC.octets(), [10, 0, 0, 1], 1000);
    let frame = udp(guest, Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 2], 2000), &[1; 20]);
    let next = || session.inbound.try_iter().find_map(|message| told(message, false, OWN_MAC));
    let claim_of_a_frame = || {
        let told = || {
            vm.send(&frame).unwrap();
            next()
        };
        match wait_for("what is told of the MAC", PATIENCE, told).unwrap() {
            Told::Claim(local) => local,
            Told::Withdrawal => panic!("it is withdrawn"),
        }
    };
    let master = || {
        let entry = host.json(&["fdb", "get", "5001", &OWN_MAC.to_string()])?;
        Some(entry["master"].clone())
    };
    let first = claim_of_a_frame();

    // It moved, the controller says; a frame of it comes late, or from a link that stands by.
    session.say(ToVtep::Table(table(Some(1), 2, &[(0xaa, "b")])));
    session.applied(2);
    assert_eq!(master().unwrap()["vtep"]["address"], "192.0.2.12");
    let speaks = Instant::now();
    while speaks.elapsed() < Duration::from_secs(3) {
        vm.send(&frame).unwrap();
        assert_eq!(next(), None, "nothing is claimed, and what is seen does not age");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(master().unwrap()["vtep"]["address"], "192.0.2.12");

    // The other VTEP withdraws it: it is here already.
    let gone = Change::Remove(Cause::Withdrawn);
    let changes = [(OWN_MAC, gone)].into_iter().collect();
    session.say(ToVtep::Table(TableUpdate { changes, ..table(Some(2), 3, &[]) }));
    session.applied(3);
    assert_eq!(master().unwrap()["port"]["name"], "tap0");

    // It moves again and is silent here; then it is back.
    session.say(ToVtep::Table(table(Some(3), 4, &[(0xaa, "b")])));
    session.applied(4);
    assert_eq!(session.until(|message| told(message, false, OWN_MAC)), Told::Withdrawal);
    let second = claim_of_a_frame();
    assert!(second.origin.is_some() && second.origin != first.origin, "{second:?}");
    assert!(second.claimed_at_ms > first.claimed_at_ms);
}

/// A → B → A while B withdraws nothing: what speaks here, and goes on speaking, is claimed anew. Of two hosts that both
/// hear a MAC each does so, until it is held.
#[test]
fn a_mac_that_is_back_is_claimed_anew_and_one_that_is_on_two_hosts_is_held() {
    let (host, _controller, _daemon, session) = learning("");
    let vm = PacketSocket::bind(&Link::named(&host.peer, "vm")).unwrap();
    let guest = Endpoint::new(OWN_MAC.octets(), [10, 0, 0, 1], 1000);
    let frame = udp(guest, Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 2], 2000), &[1; 20]);
    let claimed = || {
        vm.send(&frame).unwrap();
        let told = session.inbound.try_iter().find_map(|message| told(message, false, OWN_MAC))?;
        let Told::Claim(claim) = told else { panic!("it is withdrawn") };
        Some(claim)
    };
    let claim = || wait_for("a claim", PATIENCE, claimed).unwrap();
    let mut origins = vec![claim().origin];
    let mut version = 1;
    let mut outvote = |changes| {
        session.say(ToVtep::Table(TableUpdate { changes, ..table(Some(version), version + 1, &[]) }));
        version += 1;
        session.applied(version);
    };
    let behind = |name| table(None, 1, &[(0xaa, name)]).changes;
    for turn in 0..5 {
        outvote(behind(["a", "b"][turn % 2]));
        let since = Instant::now();
        origins.push(claim().origin);
        assert!(since.elapsed() >= Duration::from_secs(4), "it could be a late frame");
        if turn == 0 {
            outvote([(OWN_MAC, Change::Remove(Cause::Withdrawn))].into_iter().collect());
            let entry = host.json(&["fdb", "get", "5001", &OWN_MAC.to_string()]).unwrap();
            assert_eq!(entry["master"]["port"]["name"], "tap0", "the controller's answer");
        }
    }
    let known = origins.len();
    origins.sort_unstable();
    origins.dedup();
    assert_eq!((origins.len(), known), (6, 6), "each is another claim");
    outvote(behind("b"));
    let held = || {
        assert_eq!(claimed(), None, "it is held");
        let alarms = host.status()?["alarms"].clone();
        let alarm =
            |alarm: &Value| alarm["kind"] == "duplicate_mac" && alarm["subject"] == OWN_MAC.to_string();
        alarms.as_array()?.iter().any(alarm).then_some(())
    };
    wait_for("the alarm", PATIENCE, held).unwrap();
}

#[test]
fn the_address_from_which_a_station_asks_goes_upstream_with_its_mac_over_a_restart_too() {
    let (host, controller, mut daemon, session) = learning("suppress = true\nmac_age_secs = 20");
    let vm = PacketSocket::bind(&Link::named(&host.peer, "vm")).unwrap();
    let guest = Endpoint::new(OWN_MAC.octets(), [10, 0, 0, 1], 1000);
    let ips: vtep_api::Ips = [std::net::IpAddr::from([10, 0, 0, 1])].into();
    let (mut first, mut last) = (None, LocalMac::default());
    let is_told = || {
        vm.send(&arp_request(guest, [10, 0, 0, 99].into())).unwrap();
        let claims = session.inbound.try_iter().filter_map(|message| told(message, false, OWN_MAC));
        for claim in claims {
            let Told::Claim(claim) = claim else { panic!("a withdrawal") };
            first.get_or_insert(claim.origin);
            last = claim;
        }
        (last.ips == ips).then_some(())
    };
    wait_for("the address", PATIENCE, is_told).unwrap();
    assert_eq!(Some(last.origin), first, "an address is no new claim");

    daemon.kill().unwrap();
    drop(session);
    let _daemon = spawn(&host);
    let (session, ..) = controller.attached();
    session.welcome(PROTOCOL, 7);
    session.say(outline());
    session.say(ToVtep::Table(table(None, 1, &[])));
    assert_eq!(session.own(true), LocalMac { ips, ..LocalMac::default() });
    let neighbours = || host.json(&["vni", "show", "5001"]).unwrap()[0]["neighbours"].clone();
    assert_eq!(neighbours(), 1);
    assert_eq!(session.until(|message| told(message, false, OWN_MAC)), Told::Withdrawal);
    wait_for("no answer for it", PATIENCE, || (neighbours() == 0).then_some(())).unwrap();
}

#[test]
fn what_the_controller_says_of_bfd_makes_a_session_and_ends_it() {
    let (bench, _daemon, session) = Bench::settled();
    assert_eq!(bench.host.json(&["bfd", "show"]).unwrap().as_array().unwrap().len(), 0);
    // A shorter interval to send at than this would count as this.
    let min_rx = Some(50_i64.try_into().unwrap());
    let say = |interval: Option<i64>| {
        let ToVtep::Outline(mut outline) = outline() else { unreachable!("it is an outline") };
        let interval = interval.map(|ms| ms.try_into().unwrap());
        let word = &mut outline.vteps.get_mut(&vtep("a")).unwrap().bfd;
        (word.enabled, word.min_tx_ms, word.min_rx_ms) =
            (interval.map(|_| true), interval, interval.and(min_rx));
        session.say(ToVtep::Outline(outline));
    };
    let until = |interval: Option<i64>| {
        wait_for(&format!("a session at {interval:?}"), PATIENCE, || {
            let rows = bench.host.json(&["bfd", "show"])?;
            let row = rows.as_array()?.first().cloned();
            (row.as_ref().map(|row| row["min_tx_ms"].as_i64()) == interval.map(Some)).then_some(row)
        })
        .unwrap()
    };
    say(Some(60));
    let row = until(Some(60)).unwrap();
    assert_eq!(
        (&row["name"], &row["configured_by"], &row["min_rx_ms"]),
        (&"a".into(), &"controller".into(), &50.into())
    );
    say(Some(70));
    until(Some(70));
    say(None);
    until(None);
}
