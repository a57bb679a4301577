//! A host with an agent, and a pair of TORs that serve the same station: the kernel's VXLAN device, with BIRD for BFD.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use vtep_tests::{
    bird::Bird,
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Pace, Vm,
        rig::{SOON, VNI, binding, network, table},
    },
    process::Daemon,
};

const PORT: u16 = 7000;
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
const MAC_OF_FAR: &str = "02:00:00:00:00:03";

pub(crate) struct Pair {
    pub(crate) agent: Agent,
    pub(crate) vm: Vm,
    pub(crate) tors: [Tor; 2],
    /// That says nothing of sessions.
    table: String,
    pub(crate) host: Machine,
    pub(crate) fabric: Fabric,
}

pub(crate) struct Tor {
    pub(crate) machine: Machine,
    pub(crate) bird: Option<Bird>,
    /// The same station behind both.
    pub(crate) far: Vm,
}

/// For both ends of a session.
#[derive(Clone, Copy)]
pub(crate) enum Hops {
    Single,
    Multi,
}

impl Pair {
    /// `bfd`: further lines of the agent's `[bfd]`.
    pub(crate) fn new(hops: Hops, bfd: &str) -> Self {
        let transport = match hops {
            Hops::Single => "single-hop",
            Hops::Multi => "multi-hop",
        };
        let section = format!(
            "\n[bfd]\nenabled = true\ntransport = \"{transport}\"\nmin_tx_ms = 50\nmin_rx_ms = 50\nmultiplier = 3\n{bfd}\n"
        );
        Self::with(hops, &section, None)
    }

    /// Of sessions only the table speaks: of that with a, of several hops, at this interval.
    pub(crate) fn told(interval_ms: u32) -> Self {
        Self::with(Hops::Multi, "", Some(interval_ms))
    }

    /// Nobody asks for sessions. Until both are reached.
    pub(crate) fn unwatched() -> Self {
        let pair = Self::with(Hops::Multi, "", None);
        wait_for("next hops", SOON, || {
            let rows = pair.agent.json(&["vtep", "show"]).ok()?;
            (rows.as_array()?.iter().filter(|row| row["resolved"] == true).count() == 2).then_some(())
        })
        .unwrap();
        pair
    }

    pub(crate) fn tell(&self, interval_ms: u32) {
        self.agent.write_table(&of_a(&self.table, Some(interval_ms))).unwrap();
    }

    pub(crate) fn say_nothing(&self) {
        self.agent.write_table(&self.table).unwrap();
    }

    fn with(hops: Hops, section: &str, told: Option<u32>) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
        let tors = [11, 12].map(|number| {
            let machine = fabric.machine("tor", number).unwrap();
            let bridge = machine.kernel_vtep(VNI, &[host.address]).unwrap();
            let (far, port) = Vm::new(&machine.netns, "p3", 3).unwrap();
            port.set_bridge(&bridge).unwrap();
            far.eth0.add_neighbour(vm.address, vm.mac).unwrap();
            let bird =
                Some(Bird::start(&machine, &hops.bird(machine.address.into(), host.address.into())).unwrap());
            Tor { machine, bird, far }
        });
        let mac = format!(
            "\n[[mac]]\nlogical_switch = \"blue\"\nmac = \"{MAC_OF_FAR}\"\nmaster = \"a\"\nslave = \"b\"\n"
        );
        let rest = format!("{}{}{mac}", network("blue", VNI, &["a"]), binding("p1", 0, "blue"));
        let macs = format!("macs = [\"{}\"]", vm.mac);
        let table = table(&[("a", 11), ("b", 12)], &rest);
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(of_a(&table, told)),
            ports: vec![("p1", &macs)],
            dataplane: "macs_max = 1000",
        };
        let agent = Agent::new(&host, &config).unwrap();
        agent.reconfigure(|text| text + section).unwrap();
        let mut pair = Self { agent, vm, tors, table, host, fabric };
        pair.agent.start().unwrap();
        pair.vm.eth0.add_neighbour(pair.tors[0].far.address, pair.tors[0].far.mac).unwrap();
        pair
    }

    pub(crate) fn session(&self, vtep: &str) -> Option<Value> {
        self.agent.row(&["bfd", "show", vtep])
    }

    pub(crate) fn wait_until_up(&self) {
        for vtep in ["a", "b"] {
            wait_for(&format!("session {vtep}"), SOON, || {
                // Packets at the fast interval, which the first ones are not.
                let session = self.session(vtep)?;
                (session["state"] == "up" && session["detection_ms"] == 150 && session["heard"].as_u64()? > 3)
                    .then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.session(vtep)));
        }
    }

    /// What it says, if it is raised.
    pub(crate) fn alarm(&self, kind: &str, subject: &str) -> Option<String> {
        let status = self.agent.json(&["status"]).unwrap();
        let mut alarms = status["alarms"].as_array().unwrap().iter();
        let alarm = alarms.find(|alarm| alarm["kind"] == kind && alarm["subject"] == subject)?;
        Some(alarm["message"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn wait_for_alarm(&self, kind: &str, subject: &str, says: &str) {
        wait_for(&format!("alarm {kind} of {subject}"), SOON, || {
            self.alarm(kind, subject)?.contains(says).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", self.agent.json(&["status"]).unwrap()["alarms"]));
    }

    #[track_caller]
    pub(crate) fn wait_for_no_alarm(&self, kind: &str, subject: &str) {
        wait_for(&format!("an end of alarm {kind} of {subject}"), SOON, || {
            self.alarm(kind, subject).is_none().then_some(())
        })
        .unwrap();
    }

    /// The station behind the first TOR, so often, until it is dropped.
    pub(crate) fn ping(&self, every_secs: &str) -> Daemon {
        let mut ping = self.vm.netns.command("ping");
        ping.args(["-n", "-q", "-i", every_secs]).arg(self.tors[0].far.address.to_string());
        Daemon::spawn("ping", &mut ping).unwrap()
    }

    /// An agent that just began may not have read its table yet.
    pub(crate) fn vtep(&self, name: &str) -> Value {
        wait_for(&format!("VTEP {name}"), SOON, || self.agent.row(&["vtep", "show", name])).unwrap()
    }
}

fn of_a(table: &str, interval_ms: Option<u32>) -> String {
    let Some(ms) = interval_ms else { return table.to_owned() };
    let bfd = format!("bfd = {{ enabled = true, min_tx_ms = {ms}, min_rx_ms = {ms} }}");
    table.replacen("name = \"a\"", &format!("name = \"a\"\n{bfd}"), 1)
}

impl Hops {
    /// What stands in BIRD's `protocol bfd`.
    pub(crate) fn bird(self, local: IpAddr, remote: IpAddr) -> String {
        let timers = "interval 50 ms; multiplier 3; idle tx interval 200 ms;";
        match self {
            Self::Single => {
                format!("interface \"*\" {{ {timers} }};\nneighbor {remote} dev \"uplink\";")
            }
            Self::Multi => {
                format!("multihop {{ {timers} }};\nneighbor {remote} local {local} multihop;")
            }
        }
    }
}

/// Ten thousand datagrams a second from the VM to the station, wherever it is reached.
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    pub(crate) arrived: [Arc<AtomicU64>; 2],
    receivers: Vec<JoinHandle<()>>,
    start: Instant,
}

pub(crate) struct Flown {
    pub(crate) sent: u64,
    pub(crate) arrived: [u64; 2],
    pub(crate) took: Duration,
}

impl Flow {
    const INTERVAL: Duration = Duration::from_micros(100);

    pub(crate) fn start(pair: &Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = [Arc::default(), Arc::default()];
        let receivers = pair.tors.iter().zip(&arrived).map(|(tor, arrived)| {
            let socket =
                tor.far.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            // A receiver that the machine lets wait is no loss of the dataplane's.
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
            let (stop, arrived): (_, Arc<AtomicU64>) = (Arc::clone(&stop), Arc::clone(arrived));
            thread::spawn(move || receive(&socket, &stop, &arrived))
        });
        let receivers = receivers.collect();
        let to = pair.tors[0].far.address;
        let socket = pair.vm.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
        socket.connect((to, PORT)).unwrap();
        let start = Instant::now();
        let stopping = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            let mut sent = 0_u64;
            let mut pace = Pace::new(Self::INTERVAL);
            while !stopping.load(Ordering::Relaxed) {
                // The station's host answers nothing; an error would be a frame lost, which the count shows.
                let _ = socket.send(&sent.to_be_bytes());
                sent += 1;
                pace.wait();
            }
            sent
        });
        Self { stop, sender, arrived, receivers, start }
    }

    pub(crate) fn arrived(&self, tor: usize) -> u64 {
        self.arrived[tor].load(Ordering::Relaxed)
    }

    pub(crate) fn finish(self) -> Flown {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let took = self.start.elapsed();
        self.receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
        Flown { sent, arrived: self.arrived.map(|arrived| arrived.load(Ordering::Relaxed)), took }
    }
}

impl Flown {
    pub(crate) fn lost(&self) -> u64 {
        self.sent - self.arrived.iter().sum::<u64>()
    }

    /// For how long nothing arrived, by what was lost at the rate that was sent at.
    pub(crate) fn outage(&self) -> Duration {
        let few = |count| u32::try_from(count).unwrap();
        self.took * few(self.lost()) / few(self.sent)
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, arrived: &AtomicU64) {
    let mut bytes = [0; 64];
    loop {
        match socket.recv(&mut bytes) {
            Ok(_) => {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return,
            Err(_) => {}
        }
    }
}
