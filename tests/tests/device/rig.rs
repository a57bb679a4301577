//! A host whose agent is the device `host` of a database, a VM on it, and a TOR with a VM.

use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Vm,
        rig::{SOON, VNI},
    },
    ovsdb::OvsdbServer,
};

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) ovsdb: OvsdbServer,
    pub(crate) vm: Vm,
    pub(crate) far: Vm,
    pub(crate) tor: Machine,
    pub(crate) host: Machine,
    _fabric: Fabric,
}

impl Rig {
    /// The agent's rows are in the database, and no controller has written.
    pub(crate) fn new() -> Self {
        let ovsdb = OvsdbServer::start().unwrap();
        let source = AgentSource::Ovsdb(ovsdb.remote());
        Self::with(|_| (ovsdb, source))
    }

    pub(crate) fn with(server: impl FnOnce(&Machine) -> (OvsdbServer, AgentSource)) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("tor", 11).unwrap();
        let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
        let bridge = tor.kernel_vtep(VNI, &[host.address]).unwrap();
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        far_port.set_bridge(&bridge).unwrap();
        let (ovsdb, source) = server(&host);
        let macs = format!("macs = [\"{}\"]", vm.mac);
        let ports = vec![("p1", macs.as_str()), ("p2", "learn = true")];
        let config = AgentConfig { name: "host", source, ports, dataplane: "macs_max = 1000" };
        let agent = Agent::started(&host, &config).unwrap();
        let rig = Self { agent, ovsdb, vm, far, tor, host, _fabric: fabric };
        rig.wait_for_ports();
        rig
    }

    /// VM 1 and VM 3 reach each other in `blue`.
    pub(crate) fn connected() -> Self {
        let rig = Self::new();
        rig.connect();
        rig
    }

    pub(crate) fn connect(&self) {
        self.write(&[
            &format!("add-ls blue -- set Logical_Switch blue tunnel_key={VNI}"),
            "bind-ls host p1 0 blue",
            "add-mcast-remote blue unknown-dst 192.0.2.11",
            &format!("add-ucast-remote blue {} 192.0.2.11", self.far.mac),
        ]);
        self.wait_for_master(VNI, &self.far.mac.to_string(), Some("192.0.2.11"));
        self.wait_until_forwarding();
    }

    #[track_caller]
    pub(crate) fn wait_until_forwarding(&self) {
        wait_for("the first echo reply", SOON, || self.vm.pings(self.far.address, 1).then_some(())).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait_for_ports(&self) {
        let ports = || self.ovsdb.vtep_ctl("list-ports host").ok();
        wait_for("our ports in the database", SOON, || ports()?.ends_with("p1\np2").then_some(())).unwrap();
    }

    /// What a controller does: a line, a transaction of `vtep-ctl`.
    #[track_caller]
    pub(crate) fn write(&self, lines: &[&str]) {
        for line in lines {
            self.ovsdb.vtep_ctl(line).unwrap();
        }
    }

    /// Several operations of RFC 7047, of which none may fail.
    #[track_caller]
    pub(crate) fn transact(&self, operations: &Value) {
        let results = self.ovsdb.transact(operations).unwrap();
        assert!(!results.to_string().contains("\"error\""), "{results}");
    }

    /// The UUIDs of rows, as `[["uuid", "…"]]` has them.
    pub(crate) fn rows(&self, table: &str, wanted: &Value) -> Vec<Value> {
        let select = json!([{"op": "select", "table": table, "where": wanted, "columns": ["_uuid"]}]);
        let results = self.ovsdb.transact(&select).unwrap();
        results[0]["rows"].as_array().unwrap().iter().map(|row| row["_uuid"].clone()).collect()
    }

    pub(crate) fn network(&self, name: &str) -> Value {
        self.rows("Logical_Switch", &json!([["name", "==", name]])).swap_remove(0)
    }

    /// What refers to the locator of an address, and the operation that makes it if there is none.
    pub(crate) fn locator(&self, address: &str) -> (Value, Option<Value>) {
        if let Some(row) = self.rows("Physical_Locator", &json!([["dst_ip", "==", address]])).pop() {
            return (row, None);
        }
        let name = format!("locator_{}", address.replace('.', "_"));
        let row = json!({"encapsulation_type": "vxlan_over_ipv4", "dst_ip": address});
        let insert = json!({"op": "insert", "table": "Physical_Locator", "uuid-name": name, "row": row});
        (json!(["named-uuid", name]), Some(insert))
    }

    /// The operations that insert a row beside those that are there, which `vtep-ctl` would not.
    pub(crate) fn ucast(&self, network: &str, mac: &str, address: &str) -> Vec<Value> {
        let (locator, made) = self.locator(address);
        let row = json!({"MAC": mac, "logical_switch": self.network(network), "locator": locator});
        let insert = json!({"op": "insert", "table": "Ucast_Macs_Remote", "row": row});
        made.into_iter().chain([insert]).collect()
    }

    /// The address of the VTEP behind which the kernel's table has a MAC.
    pub(crate) fn master(&self, vni: u32, mac: &str) -> Option<String> {
        let entry = self.agent.json(&["fdb", "get", &vni.to_string(), mac]).ok()?;
        Some(entry["master"]["vtep"]["address"].as_str()?.to_owned())
    }

    #[track_caller]
    pub(crate) fn wait_for_master(&self, vni: u32, mac: &str, expected: Option<&str>) {
        let what = format!("{mac} of VNI {vni} behind {expected:?}");
        wait_for(&what, SOON, || (self.master(vni, mac).as_deref() == expected).then_some(())).unwrap();
    }

    /// Until something was set aside for a reason that has this in it.
    #[track_caller]
    pub(crate) fn wait_for_refusal(&self, expected: &str) {
        wait_for(&format!("{expected:?} in the status"), SOON, || {
            let refused = self.status()["source"]["first_refused"].to_string();
            refused.replace('\\', "").contains(expected).then_some(())
        })
        .unwrap();
    }

    pub(crate) fn status(&self) -> Value {
        self.agent.json(&["status"]).unwrap()
    }

    /// A binding as the agent has it.
    pub(crate) fn binding(&self, port: &str, vlan: u16) -> Option<Value> {
        let rows = self.agent.json(&["port", "show"]).ok()?;
        rows.as_array()?.iter().find(|row| row["port"] == port && row["vlan"] == vlan).cloned()
    }
}
