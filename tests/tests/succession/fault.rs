//! What can befall a process, and its end.

use nix::sys::signal::Signal;

use vtep_tests::deadline::wait_for;

use super::rig::{Rig, SOON};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The logical controller of the network.
    Logical,
    /// The physical controller of the first TOR.
    Physical,
    EtcdLeader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL, and a new process afterwards.
    Killed,
    /// SIGSTOP, and SIGCONT afterwards.
    Stopped,
    /// nft drops whatever it sends and is sent, also between a physical controller and its TORs.
    CutOff,
    /// nft drops what goes between it and etcd alone; a member of etcd, what goes between it and the other members.
    CutOffFromEtcd,
}

pub(crate) struct Fault {
    kind: Kind,
    whom: Whom,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom {
    Controller(&'static str),
    Etcd(u16),
}

impl Fault {
    pub(crate) fn strike(rig: &mut Rig, victim: Victim, kind: Kind) -> Self {
        let whom = match victim {
            Victim::Logical => Whom::Controller(rig.logical("lc1").unwrap()),
            Victim::Physical => {
                let holders = rig.holders("lc1").unwrap();
                Whom::Controller(rig.known(&holders["tor1"]).unwrap())
            }
            Victim::EtcdLeader => Whom::Etcd(rig.etcd.leader().unwrap()),
        };
        match (kind, whom) {
            (Kind::Killed, Whom::Controller(name)) => rig.controllers.get_mut(name).unwrap().kill().unwrap(),
            (Kind::Killed, Whom::Etcd(member)) => rig.etcd.kill(member).unwrap(),
            (Kind::Stopped, Whom::Controller(name)) => signal(rig, name, Signal::SIGSTOP),
            (Kind::Stopped, Whom::Etcd(member)) => rig.etcd.freeze(member).unwrap(),
            (Kind::CutOff, Whom::Controller(name)) => rig.place(name).cut_off().unwrap(),
            (Kind::CutOff, Whom::Etcd(member)) => rig.place_of_etcd(member).cut_off().unwrap(),
            (Kind::CutOffFromEtcd, whom) => {
                let addresses: Vec<_> = rig.addresses_of_etcd().collect();
                match whom {
                    Whom::Controller(name) => rig.place(name).cut_off_from(&addresses).unwrap(),
                    Whom::Etcd(member) => {
                        let own = addresses[usize::from(member)];
                        let others: Vec<_> = addresses.into_iter().filter(|other| *other != own).collect();
                        rig.place_of_etcd(member).cut_off_from(&others).unwrap();
                    }
                }
            }
        }
        Self { kind, whom }
    }

    /// Who can be asked meanwhile.
    pub(crate) fn witness(&self) -> &'static str {
        match self.whom {
            Whom::Controller("lc1") => "lc2",
            _ => "lc1",
        }
    }

    /// Until others are in his place, where he himself would go on for a while, or would not be missed.
    pub(crate) fn await_succession(&self, rig: &Rig) {
        match (self.kind, self.whom) {
            (_, Whom::Etcd(member)) => {
                rig.etcd.leader_beside(member).unwrap();
            }
            (Kind::CutOffFromEtcd, Whom::Controller(_)) => self.await_offices(rig),
            _ => {}
        }
    }

    /// Until others are in all his offices.
    pub(crate) fn await_offices(&self, rig: &Rig) {
        let Whom::Controller(name) = self.whom else { return };
        wait_for("others in all its offices", SOON, || {
            rig.holders(self.witness())?.values().all(|holder| holder != name).then_some(())
        })
        .unwrap();
    }

    pub(crate) fn heal(self, rig: &mut Rig) {
        if let (Kind::CutOff, Whom::Controller(name)) = (self.kind, self.whom) {
            assert!(!rig.reaches_tor(name), "{name} was never cut off from the TORs");
        }
        match (self.kind, self.whom) {
            (Kind::Killed, Whom::Controller(name)) => rig.controllers.get_mut(name).unwrap().start().unwrap(),
            (Kind::Killed, Whom::Etcd(member)) => rig.etcd.restart(member).unwrap(),
            (Kind::Stopped, Whom::Controller(name)) => signal(rig, name, Signal::SIGCONT),
            (Kind::Stopped, Whom::Etcd(member)) => rig.etcd.thaw(member).unwrap(),
            (Kind::CutOff | Kind::CutOffFromEtcd, Whom::Controller(name)) => {
                rig.place(name).rejoin().unwrap();
            }
            (Kind::CutOff | Kind::CutOffFromEtcd, Whom::Etcd(member)) => {
                rig.place_of_etcd(member).rejoin().unwrap();
            }
        }
    }
}

fn signal(rig: &mut Rig, name: &str, signal: Signal) {
    rig.controllers.get_mut(name).unwrap().daemon().unwrap().signal(signal).unwrap();
}
