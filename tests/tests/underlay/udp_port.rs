//! VXLAN on another port than the assigned one: two hosts with agents, and the kernel's own device.

use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Vm,
        rig::{SOON, VNI, binding, mac, network, table},
        transfer,
    },
    link::Vxlan,
    packet::PacketSocket,
};

/// What the kernel's device used before one was assigned.
const PORT: u16 = 8472;
const BYTES: usize = 2 << 20;

#[test]
fn hosts_and_a_tor_forward_to_each_other_on_another_udp_port() {
    for decap in ["program", "device"] {
        let mut fabric = Fabric::new().unwrap();
        let machines = [1, 2].map(|number| fabric.machine("host", number).unwrap());
        let tor = fabric.machine("tor", 11).unwrap();
        let [(one, _), (two, _)] =
            [0, 1].map(|host: u8| Vm::new(&machines[usize::from(host)].netns, "p1", host + 1).unwrap());
        let remotes = machines.each_ref().map(|machine| machine.address);
        let vxlan = Vxlan { port: PORT, ..Vxlan::new(VNI, tor.address) };
        let bridge = tor.kernel_vtep_with(&vxlan, &remotes).unwrap();
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        far_port.set_bridge(&bridge).unwrap();
        let agents = [
            started(&machines[0], &one, &[("two", 2, &two), ("tor", 11, &far)], decap),
            started(&machines[1], &two, &[("one", 1, &one), ("tor", 11, &far)], decap),
        ];
        for to in [&two, &far] {
            wait_for("an echo", SOON, || one.pings(to.address, 1).then_some(())).unwrap();
        }
        let wires = machines.each_ref().map(|machine| PacketSocket::bind(&machine.uplink).unwrap());
        for vm in [&one, &two, &far] {
            vm.netns.ip("neighbour flush all").unwrap();
        }
        for (from, to) in [(&one, &two), (&two, &far), (&far, &one)] {
            assert!(from.pings(to.address, 5), "decap {decap}: {} to {}", from.address, to.address);
            transfer(&from.netns, &to.netns, to.address.into(), BYTES).unwrap();
        }
        for (agent, wire) in agents.iter().zip(wires) {
            let mut tunnelled = 0;
            wire.drain(|frame| {
                let is_udp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
                if let (true, Some(port)) = (is_udp, frame.get(36..38)) {
                    assert_eq!(port, PORT.to_be_bytes(), "decap {decap}: all of it goes to this port");
                    tunnelled += 1;
                }
            })
            .unwrap();
            assert!(tunnelled > 20, "decap {decap}: {tunnelled} frames of tunnels on the wire");
            let shown = agent.json(&["port", "show"]).unwrap();
            assert_eq!(shown[0]["decap"], decap, "{shown}");
        }
    }
}

/// `others`: name, last octet, and the VM behind it.
fn started(machine: &Machine, vm: &Vm, others: &[(&str, u8, &Vm)], decap: &str) -> Agent {
    let vteps: Vec<_> = others.iter().map(|(name, number, _)| (*name, *number)).collect();
    let names: Vec<_> = others.iter().map(|(name, ..)| *name).collect();
    let behind: String = others.iter().map(|(name, _, vm)| mac("blue", vm, name)).collect();
    let macs = format!("macs = [\"{}\"]", vm.mac);
    let config = AgentConfig {
        name: "host",
        source: AgentSource::Table(table(
            &vteps,
            &(network("blue", VNI, &names) + &binding("p1", 0, "blue") + &behind),
        )),
        ports: vec![("p1", &macs)],
        dataplane: &format!("macs_max = 1000\ndecap = \"{decap}\""),
    };
    let mut agent = Agent::new(machine, &config).unwrap();
    let with_port =
        |text: String| text.replacen("[underlay]\n", &format!("[underlay]\nudp_port = {PORT}\n"), 1);
    agent.reconfigure(with_port).unwrap();
    agent.start().unwrap();
    agent
}
