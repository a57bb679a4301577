//! A host on which the programs are run by hand: interfaces that take every frame, the programs with either MAC table,
//! and an ear for copies.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
    },
};
use vtep_abi::{VERDICTS_MAX, Verdict};
use vtep_agent::kernel::MacTable;

use super::{
    Seed, Stimulus,
    case::hex,
    compare::{self, Seen},
    side::Side,
};
use crate::{
    link::Link,
    model::{self, Outcome, PortCount, Tables, VtepCount},
    netns::Netns,
};

pub(super) const PORTS: [u32; 4] = [11, 12, 13, 14];
pub(super) const UPLINKS: [u32; 2] = [21, 22];
pub(super) const TUNNEL: u32 = 31;
pub(super) const VTEPS_MAX: u32 = 8;
pub(super) const DOMAINS_MAX: u32 = 8;
pub(super) const LOCAL_PORTS_MAX: u32 = 64;

/// Well below the time after which a limit admits again.
const FILLED_MAX: Duration = Duration::from_secs(2);

pub struct Rig {
    /// With buckets, and with the kernel's hash.
    sides: [Side; 2],
    tables: Tables,
    filled: Instant,
    /// Frames that leave any interface.
    ear: OwnedFd,
    /// What the counters of VTEPs and of local ports should say.
    vteps: BTreeMap<u32, VtepCount>,
    ports: BTreeMap<u32, PortCount>,
    /// Frames that were counted before these tables were, and those that should have been since.
    counted_before: u64,
    ended: u64,
    tally: Tally,
    seed: Option<Seed>,
    late: bool,
}

/// What became of frames so far.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// By verdict code.
    pub verdicts: [u64; VERDICTS_MAX],
    /// Of these, what XDP finished.
    pub by_xdp: [u64; VERDICTS_MAX],
    /// What XDP left to TC.
    pub left: u64,
}

impl Tally {
    pub(super) const NONE: Self = Self { verdicts: [0; VERDICTS_MAX], by_xdp: [0; VERDICTS_MAX], left: 0 };

    pub(super) fn add(&mut self, other: &Self) {
        let counters = [(&mut self.verdicts, &other.verdicts), (&mut self.by_xdp, &other.by_xdp)];
        for (all, others) in counters {
            all.iter_mut().zip(others).for_each(|(all, other)| *all += other);
        }
        self.left += other.left;
    }

    pub fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    pub fn of_xdp(&self, verdict: Verdict) -> u64 {
        self.by_xdp[verdict as usize]
    }
}

impl Rig {
    /// In a namespace whose interfaces have the numbers above, so that a case is the same everywhere.
    pub fn with<T: Send>(work: impl FnOnce(&mut Self) -> T + Send) -> Result<T> {
        Self::seeded(None, work)
    }

    /// With maps that say something else than the tables, in one place.
    pub(super) fn seeded<T: Send>(seed: Option<Seed>, work: impl FnOnce(&mut Self) -> T + Send) -> Result<T> {
        let host = Netns::new("fuzz")?;
        for index in PORTS.into_iter().chain(UPLINKS).chain([TUNNEL]) {
            // A bridge without ports takes every frame, and does nothing with it.
            let kind = format!("index {index} mtu 9000 type bridge stp_state 0 mcast_snooping 0");
            // Copies show their tags.
            Link::add(&host, &format!("if{index}"), &kind)?.insert_tags_in_software()?;
        }
        host.within(|| Self::new(seed).map(|mut rig| work(&mut rig)))?
    }

    fn new(seed: Option<Seed>) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let ear = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        setsockopt(&ear, sockopt::RcvBufForce, &(8 << 20))?;
        Ok(Self {
            sides: [Side::new(MacTable::Bucketed)?, Side::new(MacTable::Hash)?],
            tables: Tables::default(),
            filled: Instant::now(),
            ear,
            vteps: BTreeMap::new(),
            ports: BTreeMap::new(),
            counted_before: 0,
            ended: 0,
            tally: Tally::NONE,
            seed,
            late: false,
        })
    }

    fn side(&mut self) -> &mut Side {
        &mut self.sides[usize::from(self.tables.hashed)]
    }

    /// As they are: what frames cost is in them.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn install(&mut self, tables: &Tables) -> Result<()> {
        self.tables = tables.clone();
        let mut installed = tables.clone();
        if let Some(seed) = self.seed {
            seed(&mut installed);
        }
        self.side().install(&installed)?;
        self.filled = Instant::now();
        self.vteps = self.side().vteps()?;
        self.ports = self.side().ports()?;
        self.counted_before = self.side().counted();
        self.ended = 0;
        self.late = false;
        Ok(())
    }

    /// Whether a frame took so long since the tables were installed that what follows cannot be judged.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// Runs a frame, and says how the program's answer differs from the model's. The counters of the bridge domain that
    /// the model names are read, and all of them where these did not move; [`Self::unsettled`] reads the rest.
    pub(super) fn differs(&mut self, stimulus: &Stimulus) -> Result<Option<String>> {
        if self.filled.elapsed() > FILLED_MAX {
            self.refill()?;
        }
        let Stimulus { hook, ifindex, frame } = stimulus;
        let expected = model::judge(&self.tables, *hook, *ifindex, frame);
        if expected.tells {
            self.side().let_tell(*ifindex)?;
        }
        let ran = self.side().run(stimulus);
        let ran = ran.with_context(|| format!("the kernel does not run {}", hex(frame)))?;
        if self.filled.elapsed() > 2 * FILLED_MAX {
            // Somebody else had the machine meanwhile, and a limit may have been given something back.
            self.late = true;
            return Ok(None);
        }
        let mut moved = self.side().moved(expected.bd)?;
        if moved.is_empty() {
            for bd in 0..=DOMAINS_MAX {
                moved.extend(self.side().moved(bd)?);
            }
        }
        let seen = Seen { moved, ran, copies: self.heard()? };
        let difference = compare::difference(&expected, stimulus, &seen);
        if difference.is_none() {
            self.expect(*hook, &expected, &seen);
        }
        Ok(difference)
    }

    fn refill(&mut self) -> Result<()> {
        let tables = self.tables.clone();
        self.side().refill(&tables)?;
        self.filled = Instant::now();
        Ok(())
    }

    fn expect(&mut self, hook: model::Hook, expected: &Outcome, seen: &Seen) {
        if seen.is_left_to_tc(hook) {
            self.tally.left += 1;
            return;
        }
        self.ended += 1;
        self.tally.verdicts[expected.verdict as usize] += 1;
        self.tally.by_xdp[expected.verdict as usize] += u64::from(hook.is_xdp());
        for (index, count) in &expected.vteps {
            self.vteps.entry(*index).or_default().add(*count);
        }
        for (index, count) in &expected.ports {
            self.ports.entry(*index).or_default().add(*count);
        }
        self.tables.pay(expected.paid);
    }

    /// None if all counters are where the frames since the tables were installed should have brought them: each frame
    /// counted once, each VTEP and each port with what it got and sent.
    pub(super) fn unsettled(&mut self) -> Result<Option<String>> {
        for bd in 0..=DOMAINS_MAX {
            let moved = self.side().moved(bd)?;
            if !moved.is_empty() {
                return Ok(Some(format!("domain {bd} counts what no frame came to: {moved:?}")));
            }
        }
        let counted = self.side().counted() - self.counted_before;
        if counted != self.ended {
            return Ok(Some(format!("{counted} frames are counted of {}", self.ended)));
        }
        let vteps = self.side().vteps()?;
        if vteps != self.vteps {
            return Ok(Some(format!("VTEPs count {vteps:?}, not {:?}", self.vteps)));
        }
        let ports = self.side().ports()?;
        let differs = |index: &u32| ports.get(index) != self.ports.get(index);
        let different = ports.keys().chain(self.ports.keys()).find(|index| differs(index));
        Ok(different.map(|index| {
            format!("local port {index} counts {:?}, not {:?}", ports.get(index), self.ports.get(index))
        }))
    }

    fn heard(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        const OUTGOING: u8 = libc::PACKET_OUTGOING;
        let mut all = Vec::new();
        loop {
            let mut frame = vec![0; 4096];
            match recvfrom::<LinkAddr>(self.ear.as_raw_fd(), &mut frame) {
                Ok((length, Some(from))) if from.pkttype() == OUTGOING => {
                    frame.truncate(length);
                    all.push((u32::try_from(from.ifindex())?, frame));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(all),
                Err(error) => return Err(error).context("copies cannot be heard"),
            }
        }
    }
}
