//! Logical and physical controllers in processes of their own.

use std::net::SocketAddr;

use vtep_tests::lab::{Controller, ControllerConfig, ControllerRole};
use vtep_tests::netns::Netns;

use super::MAC;
use super::restarts::check_kept;
use super::rig::{SOON, Tor, declared, listen};

/// Two logical controllers, each with one network, and two physical ones with two TORs each.
struct Split {
    tors: [Tor; 4],
    logical: [Controller; 2],
    physical: [Controller; 2],
}

const LC: [&str; 2] = ["lc1", "lc2"];
const PC: [&str; 2] = ["pc1", "pc2"];

impl Split {
    fn new() -> Self {
        let netns = Netns::new("split").unwrap();
        let tors = [1, 2, 3, 4].map(|number| Tor::new(number).unwrap());
        let joins: Vec<(&str, SocketAddr)> = LC.into_iter().zip([listen(9481), listen(9482)]).collect();
        let start = |name, role, listen, logical: &[(&str, SocketAddr)]| {
            let config = ControllerConfig { name, role, listen, tls: None, logical };
            Controller::started(&netns, &config).unwrap()
        };
        let logical = [0, 1].map(|at| start(LC[at], ControllerRole::Logical, joins[at].1, &[]));
        let physical =
            [0, 1].map(|at| start(PC[at], ControllerRole::Physical, listen([9491, 9492][at]), &joins));
        let declared = Self::declared(&tors);
        for controller in &logical {
            controller.apply(&declared).unwrap();
        }
        for (tor, switch) in [(0, "x"), (1, "x"), (2, "x"), (0, "y"), (3, "y")] {
            tors[tor].wait_for_switch(switch).unwrap();
        }
        Self { tors, logical, physical }
    }

    /// x has tor1 to tor3 and belongs to lc1, y has tor1 and tor4 and belongs to lc2; pc1 serves tor1 and tor2.
    fn declared([a, b, c, d]: &[Tor; 4]) -> String {
        let switches = [
            ("x", 5001, vec![(a, "p1", 0), (b, "p1", 0), (c, "p1", 0)]),
            ("y", 5002, vec![(a, "p2", 0), (d, "p1", 0)]),
        ];
        let mut text = declared("", [a, b, c, d], &switches);
        for (switch, owner) in ["x", "y"].into_iter().zip(LC) {
            let name = format!("name = \"{switch}\"\nvni");
            text = text.replace(&name, &format!("logical_controller = \"{owner}\"\n{name}"));
        }
        for (tor, owner) in [(a, PC[0]), (b, PC[0]), (c, PC[1]), (d, PC[1])] {
            let name = format!("name = \"{}\"\novsdb", tor.name);
            text = text.replace(&name, &format!("physical_controller = \"{owner}\"\n{name}"));
        }
        text
    }
}

/// What each says of itself when a test has failed.
impl Drop for Split {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for controller in self.logical.iter().chain(&self.physical) {
                for words in ["status", "vteps", "fdb", "sync", "alarms"] {
                    eprintln!(
                        "{words}: {}",
                        controller.print(&[words, "--json"]).unwrap_or_else(|e| e.to_string())
                    );
                }
            }
        }
    }
}

#[test]
fn split_roles_give_the_same_tables_over_grpc() {
    let Split { tors: [a, b, c, d], physical, .. } = &Split::new();
    a.claim("x", MAC).unwrap();
    b.expect("x", &[(MAC, a)], SOON);
    c.expect("x", &[(MAC, a)], SOON);
    d.claim("y", MAC).unwrap();
    a.expect("y", &[(MAC, d)], SOON);
    c.claim("x", MAC).unwrap();
    for tor in [a, b] {
        tor.expect("x", &[(MAC, c)], SOON);
    }
    c.withdraw("x", MAC).unwrap();
    b.expect("x", &[(MAC, a)], SOON);
    c.expect("x", &[(MAC, a)], SOON);
    assert_eq!(d.ctl("list-ls").unwrap(), "y", "d takes no part in x");
    b.expect_flood("x", &[a, c]);
    a.expect_flood("y", &[d]);
    // Who rules elsewhere is named, for here is nothing of what he keeps.
    for (switch, sentence) in
        [("x", "is released at lc1"), ("y", "is released at lc2"), ("z", "knows no logical switch z")]
    {
        let refused = physical[0].command(&["release", "--withdrawals", switch]).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(3) && said.contains(sentence), "{switch}: {said}");
    }
}

#[test]
fn a_physical_controller_that_is_killed_and_starts_again_rewrites_nothing() {
    let mut split = Split::new();
    let [a, b, c, d] = &split.tors;
    c.claim("x", MAC).unwrap();
    b.expect("x", &[(MAC, c)], SOON);
    a.expect("x", &[(MAC, c)], SOON);
    for (tor, switch, to) in
        [(a, "x", vec![b, c]), (b, "x", vec![a, c]), (c, "x", vec![a, b]), (a, "y", vec![d])]
    {
        tor.expect_flood(switch, &to);
    }
    let before = [a.rows().unwrap(), b.rows().unwrap(), c.rows().unwrap()];
    split.physical[0].kill().unwrap();
    split.physical[0].start().unwrap();
    a.claim("x", "02:00:00:00:00:0a").unwrap();
    c.claim("x", "02:00:00:00:00:0c").unwrap();
    b.expect("x", &[(MAC, c), ("02:00:00:00:00:0a", a), ("02:00:00:00:00:0c", c)], SOON);
    for (tor, before) in split.tors.iter().zip(before) {
        check_kept(tor, &before);
    }
}
