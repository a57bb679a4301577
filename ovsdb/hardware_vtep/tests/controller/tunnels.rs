//! BFD on the TOR's tunnels: asked for in rows that the TOR made, unless somebody else has; what the TOR tells of it.

use std::collections::BTreeMap;

use hardware_vtep::controller::{Conflict, Subject, TunnelOutline};

use crate::server::Server;
use crate::tor::{Controller, OWN, ip, tor};
use crate::tunnel_row::add_tunnel;

const PEER: &str = "192.0.2.12";

/// With a tunnel, as a TOR makes it.
fn tor_with_tunnel() -> Server {
    let server = tor();
    add_tunnel(&server, "tor1", [OWN, PEER], &[]);
    server
}

fn row(controller: &Controller) -> String {
    controller.tor.mirror().tunnels.iter().next().unwrap().0.to_string()
}

fn params(controller: &Controller) -> BTreeMap<String, String> {
    controller.tor.mirror().tunnels.iter().next().unwrap().1.bfd_params.clone()
}

async fn ask(controller: &mut Controller, min_rx_ms: Option<u32>) {
    let wanted = TunnelOutline { min_rx_ms, ..TunnelOutline::default() };
    controller.outline.tunnels = [(ip(PEER), wanted)].into();
    controller.write_outline().await;
}

#[tokio::test]
async fn a_session_is_asked_for_changed_and_left_once_that_is_certain() {
    let server = tor_with_tunnel();
    let mut controller = Controller::start(&server).await;
    controller.write_outline().await;
    assert_eq!(params(&controller), BTreeMap::new(), "nothing is asked for");
    ask(&mut controller, Some(300)).await;
    ask(&mut controller, Some(100)).await;
    let asked = server.ctl(&["get", "Tunnel", &row(&controller), "bfd_params"]);
    assert!(asked.contains("enable=\"true\"") && asked.contains("min_rx=\"100\""), "{asked}");
    let before = controller.transactions;
    controller.tor.audit();
    controller.settle().await;
    assert_eq!(controller.transactions, before, "it says what it should");

    controller.outline.tunnels.clear();
    controller.outline.complete = false;
    controller.write_outline().await;
    assert_eq!(
        params(&controller)["min_rx"],
        "100",
        "nothing is concluded from an outline that may lack something"
    );
    controller.outline.complete = true;
    controller.write_outline().await;
    assert_eq!(params(&controller), BTreeMap::new());
}

#[tokio::test]
async fn what_somebody_else_asks_for_stays_and_is_told() {
    let server = tor_with_tunnel();
    let mut controller = Controller::start(&server).await;
    server.ctl(&["set", "Tunnel", &row(&controller), "bfd_params:enable=false"]);
    controller.catch_up().await;
    ask(&mut controller, Some(100)).await;
    assert_eq!(params(&controller), BTreeMap::from([("enable".to_owned(), "false".to_owned())]));
    let conflict = Conflict::TunnelForeign { address: ip(PEER) }.to_string();
    assert_eq!(controller.refused()[&Subject::Tunnel(ip(PEER))], conflict);
    controller.outline.tunnels.clear();
    controller.write_outline().await;
    assert_eq!(params(&controller)["enable"], "false");
}

#[tokio::test]
async fn the_tors_own_word_on_its_sessions_is_in_its_state() {
    let server = tor_with_tunnel();
    let mut controller = Controller::observe(&server).await;
    assert_eq!(controller.tor.state().bfd, BTreeMap::new());
    let row = row(&controller);
    for (state, why, expected) in
        [("up", "", "up"), ("down", "Control Detection Time Expired", "down: Control Detection Time Expired")]
    {
        let state = format!("bfd_status:state={state}");
        let why = format!("bfd_status:diagnostic=\"{why}\"");
        server.ctl(&["set", "Tunnel", &row, "bfd_status:enabled=true", &state, &why]);
        controller.catch_up().await;
        assert_eq!(controller.tor.state().bfd, BTreeMap::from([(ip(PEER), expected.to_owned())]));
    }
    server.ctl(&["set", "Tunnel", &row, "bfd_status:enabled=false"]);
    controller.catch_up().await;
    assert_eq!(controller.tor.state().bfd, BTreeMap::new());
}
