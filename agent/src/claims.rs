//! What this host claims: each MAC behind its ports, as what, since when, and by which claim.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_abi::{FdbKey, Target};
use vtep_api::{Ips, LocalMac, LogicalSwitchName, MacAddr, Origin, Role};

use crate::dataplane::{Dataplane, PortId};
use crate::learnt::Learnt;
use crate::source::LocalMacs;

#[derive(Debug)]
pub struct Claims {
    made: Arc<LocalMacs>,
    /// Behind our ports before this process began, and not claimed by it yet: (VNI, MAC). To tell them again is no news.
    recovered: BTreeSet<(u32, MacAddr)>,
    /// To be claimed anew, as if they had not been.
    renewed: BTreeSet<(u32, MacAddr)>,
    /// Apart from those of every other process.
    next: u128,
}

/// What is told of MACs beside their claims.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub vnis: &'a BTreeMap<LogicalSwitchName, u32>,
    /// By VNI and MAC.
    pub ips: &'a BTreeMap<(u32, [u8; 6]), Ips>,
    pub learnt: &'a Learnt,
}

impl Known<'_> {
    fn has_learnt(&self, vni: u32, mac: MacAddr) -> bool {
        self.learnt.contains(&FdbKey::new(vni, mac.octets()))
    }
}

impl Claims {
    /// `random` tells this process from others.
    pub fn recover(installed: &Dataplane, random: u64) -> Self {
        let fdb = installed.fdb.iter();
        let local = fdb.filter(|(_, target)| matches!(target.master, Target::LocalPort(_)));
        let claimed = installed.seen.iter().filter(|(_, target)| matches!(target, Target::LocalPort(_)));
        let keys = local.map(|(key, _)| key).chain(claimed.map(|(key, _)| key));
        let recovered = keys.map(|key| (key.vni, MacAddr::new(key.mac))).collect();
        Self { made: Arc::default(), recovered, renewed: BTreeSet::new(), next: u128::from(random) << 64 }
    }

    pub fn made(&self) -> &Arc<LocalMacs> {
        &self.made
    }

    /// A MAC that is behind our ports again, though its claim never ended.
    pub fn renew(&mut self, vni: u32, mac: MacAddr) {
        self.renewed.insert((vni, mac));
    }

    /// Claims what is behind our ports. A claim that stands as what it should stays as it is.
    pub fn revise(
        &mut self,
        local: &BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, PortId>>,
        known: Known<'_>,
        role: impl Fn(&LogicalSwitchName, PortId) -> Role,
        wall_ms: i64,
    ) {
        let before = Arc::clone(&self.made);
        let mut made = LocalMacs::new();
        let renewed = std::mem::take(&mut self.renewed);
        for (name, macs) in local {
            let before = before.get(name);
            let vni = known.vnis.get(name).copied();
            let claims = macs.iter().map(|(mac, port)| {
                let role = role(name, *port);
                let is_renewed = vni.is_some_and(|vni| renewed.contains(&(vni, *mac)));
                let claim = match before.and_then(|before| before.get(mac)) {
                    Some(claim) if claim.role == role && !is_renewed => claim.clone(),
                    // The role alone is another: nothing was seen. Of a named MAC the operator says that it is here.
                    Some(claim) if !is_renewed && vni.is_some_and(|vni| known.has_learnt(vni, *mac)) => {
                        LocalMac { role, claimed_at_ms: Some(wall_ms), ..claim.clone() }
                    }
                    None if self.is_recovered(vni, *mac) => LocalMac { role, ..LocalMac::default() },
                    _ => self.claim(role, wall_ms),
                };
                let ips = vni.and_then(|vni| known.ips.get(&(vni, mac.octets()))).cloned();
                (*mac, LocalMac { ips: ips.unwrap_or_default(), ..claim })
            });
            made.insert(name.clone(), claims.collect());
        }
        if made != *before {
            self.made = Arc::new(made);
        }
    }

    fn is_recovered(&mut self, vni: Option<u32>, mac: MacAddr) -> bool {
        !self.recovered.is_empty() && vni.is_some_and(|vni| self.recovered.remove(&(vni, mac)))
    }

    fn claim(&mut self, role: Role, wall_ms: i64) -> LocalMac {
        let origin = Some(Origin(self.next));
        self.next += 1;
        LocalMac { role, claimed_at_ms: Some(wall_ms), origin, ..LocalMac::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::FdbTarget;
    use crate::learnt::Sight;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const PORT: PortId = PortId { ifindex: 7, vlan: 0 };

    struct Host {
        claims: Claims,
        blue: LogicalSwitchName,
        ips: BTreeMap<(u32, [u8; 6]), Ips>,
        learnt: Learnt,
    }

    impl Host {
        fn new(installed: &Dataplane) -> Self {
            let blue = LogicalSwitchName::try_from("blue").unwrap();
            Self {
                claims: Claims::recover(installed, 9),
                blue,
                ips: BTreeMap::new(),
                learnt: Learnt::default(),
            }
        }

        fn revise(&mut self, macs: &[MacAddr], role: Role, wall_ms: i64) -> Option<LocalMac> {
            let macs = macs.iter().map(|mac| (*mac, PORT)).collect();
            let local = BTreeMap::from([(self.blue.clone(), macs)]);
            let vnis = BTreeMap::from([(self.blue.clone(), 5001)]);
            let known = Known { vnis: &vnis, ips: &self.ips, learnt: &self.learnt };
            self.claims.revise(&local, known, |_, _| role, wall_ms);
            self.claims.made()[&self.blue].get(&MAC).cloned()
        }
    }

    fn claim(role: Role, at: i64, number: u128) -> LocalMac {
        let origin = Some(Origin((9 << 64) + number));
        LocalMac { role, claimed_at_ms: Some(at), origin, ..LocalMac::default() }
    }

    #[test]
    fn a_new_role_and_a_return_are_new_claims_and_nothing_else_is() {
        let mut host = Host::new(&Dataplane::default());
        assert_eq!(host.revise(&[MAC], Role::Master, 1), Some(claim(Role::Master, 1, 0)));
        assert_eq!(host.revise(&[MAC], Role::Master, 2), Some(claim(Role::Master, 1, 0)));
        assert_eq!(host.revise(&[MAC], Role::Slave, 3), Some(claim(Role::Slave, 3, 1)));
        assert_eq!(host.revise(&[], Role::Slave, 4), None);
        assert_eq!(host.revise(&[MAC], Role::Slave, 5), Some(claim(Role::Slave, 5, 2)));
    }

    #[test]
    fn another_role_of_a_learnt_mac_is_a_claim_of_the_same_sight() {
        let mut host = Host::new(&Dataplane::default());
        let sight = Sight { now_secs: 1, port_max: 1, vni_max: 1 };
        host.learnt.observe(FdbKey::new(5001, MAC.octets()), PORT, sight);
        host.revise(&[MAC], Role::Slave, 1);
        assert_eq!(host.revise(&[MAC], Role::Master, 2), Some(claim(Role::Master, 2, 0)));
        host.claims.renew(5001, MAC);
        assert_eq!(host.revise(&[MAC], Role::Slave, 3), Some(claim(Role::Slave, 3, 1)), "it is back as well");
    }

    #[test]
    fn a_mac_that_is_back_is_claimed_anew_once() {
        let mut host = Host::new(&Dataplane::default());
        host.revise(&[MAC], Role::Master, 1);
        host.claims.renew(5001, MAC);
        assert_eq!(host.revise(&[MAC], Role::Master, 2), Some(claim(Role::Master, 2, 1)));
        assert_eq!(host.revise(&[MAC], Role::Master, 3), Some(claim(Role::Master, 2, 1)));
        host.claims.renew(6001, MAC);
        assert_eq!(host.revise(&[MAC], Role::Master, 4), Some(claim(Role::Master, 2, 1)), "another VNI");
    }

    #[test]
    fn an_address_is_told_without_a_new_claim() {
        let mut host = Host::new(&Dataplane::default());
        let claimed = host.revise(&[MAC], Role::Master, 1).unwrap();
        let ips: Ips = [std::net::IpAddr::from([10, 0, 0, 1])].into();
        host.ips.insert((5001, MAC.octets()), ips.clone());
        assert_eq!(host.revise(&[MAC], Role::Master, 2), Some(LocalMac { ips, ..claimed.clone() }));
        host.ips.clear();
        assert_eq!(host.revise(&[MAC], Role::Master, 3), Some(claimed));
    }

    #[test]
    fn what_a_restart_finds_in_the_kernel_is_told_again_without_a_claim() {
        let mut installed = Dataplane::default();
        let target = FdbTarget { master: Target::LocalPort(1), slave: Target::None, flags: 0 };
        installed.fdb.insert(FdbKey::new(5001, MAC.octets()), target);
        let mut host = Host::new(&installed);
        assert_eq!(host.revise(&[MAC], Role::Master, 1), Some(LocalMac::default()));
        assert_eq!(host.revise(&[MAC], Role::Slave, 2), Some(claim(Role::Slave, 2, 0)));
    }
}
