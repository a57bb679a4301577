//! BFD over an IPv6 underlay, with BIRD.

use serde_json::Value;
use vtep_tests::{
    bird::Bird,
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Vm,
        rig::{SOON, VNI, binding, network},
    },
};

use crate::rig::Hops;

#[test]
fn sessions_with_bird_over_ipv6_outlive_the_agent_and_end_with_bird() {
    for (hops, transport) in [(Hops::Single, "single-hop"), (Hops::Multi, "multi-hop")] {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("tor", 11).unwrap();
        let (ours, theirs) = (host.add_ipv6(1).unwrap(), tor.add_ipv6(11).unwrap());
        let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
        let mut bird = Bird::start(&tor, &hops.bird(theirs.into(), ours.into())).unwrap();

        let vtep = format!("version = 1\n[[vtep]]\nname = \"tor\"\naddress = \"{theirs}\"\n");
        let macs = format!("macs = [\"{}\"]", vm.mac);
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(vtep + &network("blue", VNI, &["tor"]) + &binding("p1", 0, "blue")),
            ports: vec![("p1", &macs)],
            dataplane: "macs_max = 1000",
        };
        let mut agent = Agent::new(&host, &config).unwrap();
        let section = format!(
            "\n[bfd]\nenabled = true\ntransport = \"{transport}\"\nmin_tx_ms = 50\nmin_rx_ms = 50\nhold_ms = 500\n"
        );
        agent.reconfigure(|text| text.replace("\"192.0.2.1\"", &format!("\"{ours}\"")) + &section).unwrap();
        agent.start().unwrap();
        let until_up = |agent: &Agent| {
            wait_for("the session", SOON, || {
                let session = shown(agent, "bfd")?;
                (session["state"] == "up" && session["detection_ms"] == 150).then_some(session)
            })
            .unwrap_or_else(|error| panic!("{transport}: {error}: {:?}", shown(agent, "bfd")))
        };
        until_up(&agent);
        let seen = bird.sessions().unwrap();
        let line = seen.lines().find(|line| line.starts_with("2001:db8::1 ")).unwrap_or_default();
        assert!(line.contains("Up"), "{seen}");

        agent.daemon().unwrap().kill().unwrap();
        // Many detection times.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(bird.sessions().unwrap().contains("Up"), "the programs answer");
        agent.start().unwrap();
        let session = until_up(&agent);
        assert!(session["answered"].as_u64().unwrap() > 5, "{session}");

        bird.daemon().kill().unwrap();
        wait_for("silence", SOON, || (shown(&agent, "vtep")?["suspect"] == true).then_some(())).unwrap();
    }
}

fn shown(agent: &Agent, what: &str) -> Option<Value> {
    agent.row(&[what, "show", "tor"])
}
