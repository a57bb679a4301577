//! A logical controller, physical controllers and VTEPs, each of which takes what it is sent at its own pace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use vtep_api::{FromLogical, FromVtep, Inventory, PROTOCOL, Row, Term, VtepState};
use vtep_controller::declared::Batch;
use vtep_controller::logical::{self, Durable};
use vtep_controller::physical::{self, SessionId};
use vtep_controller::{Logical, Now, Physical};

use crate::churn::{Churn, Record};
use crate::receiver::{Receiver, index};
use crate::words::{declared, pc, vtep};
use crate::{NETWORKS, SERVERS, SLOTS, TICK_MS, VTEPS, members, network, pace, server_pace};

const SESSION: SessionId = SessionId(1);

pub(crate) struct Deployment {
    logical: Logical,
    servers: Vec<Server>,
    pub(crate) receivers: Vec<Receiver>,
    now: Now,
}

struct Server {
    core: Physical,
    queue: VecDeque<FromLogical>,
}

fn vtep_name(number: usize) -> String {
    format!("v{number}")
}

fn server_name(number: usize) -> String {
    format!("pc{number}")
}

fn server_of(vtep: usize) -> usize {
    vtep % SERVERS
}

fn number(name: &str) -> usize {
    name.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap()
}

impl Deployment {
    /// All are connected and have told what they have.
    pub(crate) fn new(churn: &Churn) -> Self {
        let now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let start = logical::Start {
            name: pc("lc"),
            term: Term(1),
            declared: Arc::new(deployed()),
            durable: Durable::default(),
            elected: false,
        };
        let server = |number| {
            let name = pc(&server_name(number));
            let start = physical::Start { name, term: Term(1), batch: Batch::default(), elected: false };
            Server { core: Physical::new(start, now), queue: VecDeque::new() }
        };
        let servers: Vec<Server> = (0..SERVERS).map(server).collect();
        let receivers = (0..VTEPS).map(|_| Receiver::default()).collect();
        let mut deployment = Self { logical: Logical::new(start, now), servers, receivers, now };
        for server in 0..SERVERS {
            let peer = pc(&server_name(server));
            deployment.of_logical(logical::Event::Connected { peer });
            deployment.of_physical(server, physical::Event::Connected { peer: pc("lc") });
        }
        deployment.settle();
        for vtep in 0..VTEPS {
            deployment.attach(vtep, churn.inventory(vtep));
        }
        deployment
    }

    fn attach(&mut self, number: usize, records: Vec<Record>) {
        let name = vtep(&vtep_name(number));
        self.say(number, FromVtep::Hello { protocol: PROTOCOL, name, term: Term(0), tables: Vec::new() });
        self.say(number, FromVtep::State(VtepState::default()));
        self.say(number, inventory(true, records));
    }

    pub(crate) fn report(&mut self, vtep: usize, records: Vec<Record>) {
        self.say(vtep, inventory(false, records));
    }

    /// Time passes; everybody takes what its pace allows. Who is fast takes all, and what comes of it.
    pub(crate) fn tick(&mut self, tick: u64) {
        self.now.mono_ms += TICK_MS;
        self.now.wall_ms += i64::try_from(TICK_MS).unwrap();
        if tick.is_multiple_of(10) {
            self.clocks();
            self.acknowledge();
        }
        self.take(|server| server_pace(server, tick), |vtep| pace(vtep, tick));
        while self.take(
            |server| if server_pace(server, tick) == usize::MAX { usize::MAX } else { 0 },
            |vtep| if pace(vtep, tick) == usize::MAX { usize::MAX } else { 0 },
        ) {}
    }

    /// Until nobody is sent anything any more.
    pub(crate) fn settle(&mut self) {
        while self.take(|_| usize::MAX, |_| usize::MAX) {}
        self.acknowledge();
    }

    fn clocks(&mut self) {
        self.of_logical(logical::Event::Tick);
        for server in 0..SERVERS {
            self.of_physical(server, physical::Event::Tick);
        }
    }

    fn acknowledge(&mut self) {
        for vtep in 0..VTEPS {
            for held in self.receivers[vtep].acknowledge() {
                self.say(vtep, FromVtep::Applied(held));
            }
        }
    }

    fn take(&mut self, of_server: impl Fn(usize) -> usize, of_vtep: impl Fn(usize) -> usize) -> bool {
        let mut any = false;
        for server in 0..SERVERS {
            let count = self.servers[server].queue.len().min(of_server(server));
            for _ in 0..count {
                let message = self.servers[server].queue.pop_front().unwrap();
                self.of_physical(server, physical::Event::Message { peer: pc("lc"), message });
            }
            if count > 0 {
                any = true;
                let messages = u32::try_from(count).unwrap();
                self.of_logical(logical::Event::Taken { peer: pc(&server_name(server)), messages });
            }
        }
        for number in 0..VTEPS {
            let messages = self.receivers[number].take(of_vtep(number));
            if messages > 0 {
                any = true;
                let vtep = vtep(&vtep_name(number));
                let event = physical::Event::VtepTaken { vtep, session: SESSION, messages };
                self.of_physical(server_of(number), event);
            }
        }
        any
    }

    fn say(&mut self, number: usize, message: FromVtep) {
        let vtep = vtep(&vtep_name(number));
        self.of_physical(server_of(number), physical::Event::Vtep { vtep, session: SESSION, message });
    }

    fn of_physical(&mut self, server: usize, event: physical::Event) {
        let mut actions = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.servers[server].core.step(event, self.now, &mut actions);
            for action in actions.drain(..) {
                match action {
                    physical::Action::ToVtep { vtep, message, .. } => {
                        self.receivers[number(vtep.as_str())].push(message);
                    }
                    physical::Action::Send { peer, message } => {
                        let said_by = pc(&server_name(server));
                        self.of_logical(logical::Event::Message { peer: said_by, message });
                        events.push_back(physical::Event::Taken { peer, messages: 1 });
                    }
                    physical::Action::CloseVtep { reason, .. } | physical::Action::Close { reason, .. } => {
                        panic!("a session was closed: {reason}");
                    }
                    physical::Action::Serve(_) | physical::Action::Notice(_) => {}
                }
            }
        }
    }

    fn of_logical(&mut self, event: logical::Event) {
        let mut actions = Vec::new();
        self.logical.step(event, self.now, &mut actions);
        for action in actions {
            match action {
                logical::Action::Send { peer, message } => {
                    let queue = &mut self.servers[number(peer.as_str())].queue;
                    queue.push_back(message);
                    assert!(queue.len() <= logical::WINDOW as usize, "more than the window waits for {peer}");
                }
                logical::Action::Close { reason, .. } => panic!("a session was closed: {reason}"),
                logical::Action::Persist(_)
                | logical::Action::Remember { .. }
                | logical::Action::Notice(_) => {}
            }
        }
    }

    /// Nobody who is slow keeps it waiting.
    #[track_caller]
    pub(crate) fn check_current(&self, vtep: usize) {
        for view in self.logical.networks() {
            assert_eq!(self.receivers[vtep].version(&view.name), Some(view.version), "{}", view.name);
        }
    }

    /// The logical controller's tables are the model's, and everybody has exactly these.
    #[track_caller]
    pub(crate) fn check_all(&self, churn: &Churn) {
        for at in 0..NETWORKS {
            let name = network(at);
            let mut rows: Vec<Option<Row>> = vec![None; SLOTS];
            let mut owners = vec![None; SLOTS];
            for row in self.logical.table(&name).unwrap() {
                owners[index(row.mac)] = Some(number(row.master.as_str()));
                let placement = vtep_api::Placement { master: row.master, slaves: row.slaves };
                rows[index(row.mac)] = Some(Row { placement: Arc::new(placement), ips: row.ips });
            }
            assert!(
                owners == churn.owners[at * SLOTS..(at + 1) * SLOTS],
                "{name} is not as the model has it"
            );
            for vtep in members(at) {
                let receiver = &self.receivers[vtep];
                assert!(receiver.is_complete(&name), "VTEP {vtep} does not have all of {name}");
                assert!(receiver.tables[&name].rows == rows, "VTEP {vtep} has another table of {name}");
            }
        }
        for (number, receiver) in self.receivers.iter().enumerate() {
            let expected = (0..NETWORKS).filter(|at| members(*at).any(|member| member == number)).count();
            assert_eq!(receiver.tables.len(), expected, "VTEP {number} was told of what it is not in");
        }
        let behind: Vec<_> = self.logical.sync().into_iter().filter(|view| view.lag != Some(0)).collect();
        assert!(behind.is_empty(), "not acknowledged: {behind:?}");
    }
}

fn deployed() -> vtep_controller::Declared {
    let names: Vec<String> = (0..VTEPS).map(vtep_name).collect();
    let servers: Vec<String> = (0..SERVERS).map(server_name).collect();
    let networks: Vec<String> = (0..NETWORKS).map(|at| network(at).to_string()).collect();
    let with = |wanted: &dyn Fn(usize) -> bool| -> Vec<&str> {
        (0..VTEPS).filter(|number| wanted(*number)).map(|number| names[number].as_str()).collect()
    };
    let served: Vec<Vec<&str>> = (0..SERVERS).map(|at| with(&|number| server_of(number) == at)).collect();
    let taking_part: Vec<Vec<&str>> =
        (0..NETWORKS).map(|at| with(&|number| members(at).any(|member| member == number))).collect();
    let by_server: Vec<(&str, &[&str])> =
        servers.iter().zip(&served).map(|(name, vteps)| (name.as_str(), vteps.as_slice())).collect();
    let by_network: Vec<(&str, &[&str])> =
        networks.iter().zip(&taking_part).map(|(name, vteps)| (name.as_str(), vteps.as_slice())).collect();
    declared(&by_server, &by_network)
}

fn inventory(snapshot: bool, records: Vec<Record>) -> FromVtep {
    let mut networks = BTreeMap::<_, Vec<_>>::new();
    for (network, mac, local) in records {
        networks.entry(network).or_default().push((mac, local));
    }
    FromVtep::Inventory(Inventory { snapshot, networks: networks.into_iter().collect(), end: true })
}
