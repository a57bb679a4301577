//! The demo: a host forwards by the table that a real ovsdb-server holds, and follows it to the other TOR of a rack.

use std::{
    process::{Command, ExitCode},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};
use vtep_tests::{
    deadline::wait_for,
    lab::{Agent, AgentConfig, AgentSource, Fabric, Machine, Stream, Vm, tcp_megabits},
    link::Link,
    netns::{Netns, output},
    ovsdb::OvsdbServer,
};

const VNI: u32 = 5001;
const SOON: Duration = Duration::from_secs(10);

/// Show the agent at work in network namespaces
#[derive(Parser)]
struct Args {
    /// Leave it running until Ctrl-C, and print what to try
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n  FAILED  {error:#}");
            ExitCode::FAILURE
        }
    }
}

const DIAGRAM: &str = r"
   vm1 10.1.0.1 ──p-vm1┐ host 192.0.2.1            ┌ tor-a 192.0.2.11 ─┐ rack
                       ├ vtep-agent ── underlay ───┤ bridge + vxlan    ├──── vm3 10.1.0.3
   vm2 10.1.0.2 ──p-vm2┘ eBPF: FDB → VXLAN         └ tor-b 192.0.2.12 ─┘ (one TOR forwards at a time)
                             ▲
                       ovsdb-server (hardware_vtep) ◀── vtep-ctl
";

fn run(args: &Args) -> Result<()> {
    println!("{DIAGRAM}");
    let timeline = Timeline { start: Instant::now(), interrupt: interrupt()? };
    let lab = Lab::new()?;
    timeline.step("six namespaces are laid out; ovsdb-server holds an empty hardware_vtep database")?;

    let agent = Agent::started(
        &lab.host,
        &AgentConfig {
            name: "host",
            source: AgentSource::Ovsdb(lab.ovsdb.remote()),
            ports: vec![("p-vm1", "learn = true"), ("p-vm2", "learn = true")],
            dataplane: "macs_max = 10000",
        },
    )?;
    wait_for("the Physical_Switch", SOON, || {
        lab.ovsdb.vtep_ctl("list-ports host").ok().filter(|p| p.contains("p-vm2"))
    })?;
    timeline.step(
        "vtep-agent runs: its programs are attached, its Physical_Switch and ports are in the database",
    )?;

    lab.write_tables()?;
    let vm3 = lab.vm3.mac.to_string();
    timeline.step(&format!(
        "vtep-ctl wrote: logical switch blue = VNI {VNI}, two port bindings, {vm3} behind 192.0.2.11 (tor-a)"
    ))?;
    lab.wait_for_locator(&agent, "192.0.2.11")?;

    ensure!(
        wait_for("a ping", SOON, || lab.vm1.pings(lab.vm3.address, 3).then_some(())).is_ok(),
        "vm1 cannot ping vm3"
    );
    ensure!(lab.vm1.pings(lab.vm3.address, 20), "vm1 lost echo replies from vm3");
    timeline.step("vm1 pings vm3 through VXLAN: 20 of 20 came back")?;
    ensure!(lab.vm1.pings(lab.vm2.address, 20), "vm1 lost echo replies from vm2");
    timeline.step("vm1 pings vm2 on the same host, without a tunnel: 20 of 20 came back")?;
    let forth = tcp_megabits(&lab.vm1, &lab.vm3, Duration::from_secs(1))?;
    let back = tcp_megabits(&lab.vm3, &lab.vm1, Duration::from_secs(1))?;
    timeline.step(&format!("TCP: {forth:.0} Mbit/s from vm1 to vm3, {back:.0} Mbit/s back"))?;
    wait_for("vm1's MAC in the database", SOON, || {
        lab.ovsdb
            .vtep_ctl("list-local-macs host")
            .or_else(|_| lab.ovsdb.vtep_ctl("list-local-macs blue"))
            .ok()
            .filter(|macs| macs.contains(&lab.vm1.mac.to_string()))
    })?;
    timeline.step("Ucast_Macs_Local shows what the agent learnt behind its ports")?;

    let dump = output(Command::new("bpftool").args(["map", "dump", "pinned"]).arg(fdb_pin(&agent)))?;
    ensure!(dump.contains("\"master\"") && dump.contains("\"mac\""), "bpftool shows no field names:\n{dump}");
    timeline.step("bpftool map dump, first entry of the MAC table:")?;
    for line in dump.lines().take(16) {
        println!("            {line}");
    }

    let stream = Stream::start(&lab.vm1, &lab.vm3, Duration::from_millis(1))?;
    wait_for("traffic at tor-a", SOON, || (lab.tor_a.received().ok()? > 0).then_some(()))?;
    let before = lab.tor_b.received()?;
    let moved = Instant::now();
    lab.move_rack_to_b()?;
    let rewired = moved.elapsed();
    lab.ovsdb.vtep_ctl(&format!("add-ucast-remote blue {vm3} 192.0.2.12"))?;
    let written = moved.elapsed();
    wait_for("traffic at tor-b", SOON, || (lab.tor_b.received().ok()? > before + 100).then_some(()))?;
    lab.wait_for_locator(&agent, "192.0.2.12")?;
    let report = stream.finish()?;
    ensure!(
        report.received > 0 && report.gap < Duration::from_secs(2),
        "the stream did not follow: {report:?}"
    );
    timeline.step(&format!(
        "failover: the rack moved to tor-b ({} ms), vtep-ctl changed the locator ({} ms); traffic followed",
        rewired.as_millis(),
        written.saturating_sub(rewired).as_millis()
    ))?;
    println!(
        "            of {} datagrams at 1000/s {} were lost; the gap was {:.1} ms",
        report.sent,
        report.sent - report.received,
        report.gap.as_secs_f64() * 1e3
    );
    ensure!(lab.vm1.pings(lab.vm3.address, 20), "vm1 lost echo replies from vm3 behind tor-b");
    timeline.step("vm1 pings vm3 behind tor-b: 20 of 20 came back")?;

    if args.keep {
        keep(&lab, &agent)?;
        timeline.interrupt.recv().context("no signal can be waited for")?;
    }
    drop(agent);
    drop(lab);
    timeline.step("cleaned up")
}

/// Becomes ready at Ctrl-C or SIGTERM, so that whoever is interrupted still cleans up. Other than a blocked signal, a
/// handler is nothing that child processes inherit (execve(2)).
fn interrupt() -> Result<Receiver<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut int, mut term) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let (caught, interrupt) = sync_channel(1);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
        });
        // Nobody listens where the demo has just ended.
        caught.send(()).ok();
    });
    Ok(interrupt)
}

struct Timeline {
    start: Instant,
    interrupt: Receiver<()>,
}

impl Timeline {
    /// Fails when the demo was interrupted.
    fn step(&self, what: &str) -> Result<()> {
        println!("  {:>6.2} s  ✓ {what}", self.start.elapsed().as_secs_f64());
        if self.interrupt.try_recv().is_ok() {
            bail!("interrupted");
        }
        Ok(())
    }
}

struct Lab {
    ovsdb: OvsdbServer,
    vm1: Vm,
    vm2: Vm,
    vm3: Vm,
    tor_a: Tor,
    tor_b: Tor,
    host: Machine,
    _rack: Netns,
    _fabric: Fabric,
}

/// A TOR and its port toward the rack.
struct Tor {
    machine: Machine,
    rack_port: Link,
}

impl Tor {
    fn new(
        fabric: &mut Fabric,
        role: &str,
        number: u8,
        host: &Machine,
        rack: &Netns,
        bridge: &Link,
    ) -> Result<Self> {
        let machine = fabric.machine(role, number)?;
        let vtep = machine.kernel_vtep(VNI, &[host.address])?;
        let (rack_port, rack_end) = Link::veth(&machine.netns, "rack", rack, role)?;
        rack_port.set_bridge(&vtep)?;
        rack_end.set_bridge(bridge)?;
        Ok(Self { machine, rack_port })
    }

    /// Whether frames pass between its network and the rack, as VRRP's winner lets them.
    fn forward(&self, on: bool) -> Result<()> {
        let state = if on { 3 } else { 0 };
        self.machine
            .netns
            .run(&format!("bridge link set dev {} state {state}", self.rack_port.name()))
            .map(drop)
    }

    /// Packets that came out of its tunnel.
    fn received(&self) -> Result<u64> {
        Ok(Link::named(&self.machine.netns, &format!("vx-{VNI}")).counters()?.received_packets)
    }
}

impl Lab {
    fn new() -> Result<Self> {
        let mut fabric = Fabric::new()?;
        let host = fabric.machine("host", 1)?;
        let (vm1, _) = Vm::new(&host.netns, "p-vm1", 1)?;
        let (vm2, _) = Vm::new(&host.netns, "p-vm2", 2)?;
        let rack = Netns::new("rack")?;
        let bridge = Link::bridge(&rack, "rack0")?;
        let (vm3, vm3_port) = Vm::new(&rack, "p-vm3", 3)?;
        vm3_port.set_bridge(&bridge)?;
        let tor_a = Tor::new(&mut fabric, "tor-a", 11, &host, &rack, &bridge)?;
        let tor_b = Tor::new(&mut fabric, "tor-b", 12, &host, &rack, &bridge)?;
        tor_b.forward(false)?;
        Ok(Self {
            ovsdb: OvsdbServer::start()?,
            vm1,
            vm2,
            vm3,
            tor_a,
            tor_b,
            host,
            _rack: rack,
            _fabric: fabric,
        })
    }

    fn write_tables(&self) -> Result<()> {
        let vm3 = self.vm3.mac;
        for line in [
            "add-ls blue".to_owned(),
            format!("set Logical_Switch blue tunnel_key={VNI}"),
            "bind-ls host p-vm1 0 blue".to_owned(),
            "bind-ls host p-vm2 0 blue".to_owned(),
            format!("add-ucast-remote blue {vm3} 192.0.2.11"),
            "add-mcast-remote blue unknown-dst 192.0.2.11".to_owned(),
            "add-mcast-remote blue unknown-dst 192.0.2.12".to_owned(),
            "set Logical_Switch blue replication_mode=source_node".to_owned(),
        ] {
            self.ovsdb.vtep_ctl(&line)?;
        }
        Ok(())
    }

    /// As VRRP would: the other TOR's port toward the rack takes over.
    fn move_rack_to_b(&self) -> Result<()> {
        self.tor_a.forward(false)?;
        self.tor_b.forward(true)
    }

    fn wait_for_locator(&self, agent: &Agent, address: &str) -> Result<()> {
        let (vni, mac) = (VNI.to_string(), self.vm3.mac.to_string());
        wait_for(&format!("{mac} behind {address} in the kernel"), SOON, || {
            agent.json(&["fdb", "get", &vni, &mac]).ok().filter(|entry| entry.to_string().contains(address))
        })
        .map(drop)
    }
}

fn fdb_pin(agent: &Agent) -> std::path::PathBuf {
    agent.pins().join(format!("v{}/maps/FDB", vtep_abi::ABI_VERSION))
}

fn keep(lab: &Lab, agent: &Agent) -> Result<()> {
    let socket = agent.socket();
    let socket = socket.display();
    let vtep_agent = vtep_tests::process::binary("vtep-agent")?;
    let vtep_agent = vtep_agent.display();
    println!("\n  It is running. In another shell, try:\n");
    for line in [
        format!("{vtep_agent} status --socket {socket}"),
        format!("{vtep_agent} fdb show --socket {socket}"),
        format!("{vtep_agent} stats --drops --socket {socket}"),
        format!("bpftool map dump pinned {}", fdb_pin(agent).display()),
        format!("nsenter --net={} ping {}", lab.vm1.netns.path().display(), lab.vm3.address),
        format!("vtep-ctl --db={} show", lab.ovsdb.remote()),
        format!(
            "bridge -n {} link set dev rack state 0; bridge -n {} link set dev rack state 3; vtep-ctl --db={} add-ucast-remote blue {} 192.0.2.11",
            lab.tor_b.machine.netns.name(),
            lab.tor_a.machine.netns.name(),
            lab.ovsdb.remote(),
            lab.vm3.mac
        ),
    ] {
        println!("    {line}");
    }
    println!("\n  Ctrl-C ends it and cleans up.");
    Ok(())
}
