//! Changes that go on whatever fails: every step a MAC appears behind the first TOR, the one before moves to the second,
//! and an older one goes.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use vtep_api::MacAddr;
use vtep_tests::ovsdb::OvsdbServer;

use super::rig::{NETWORK, TOR_1, TOR_2};

const PACE: Duration = Duration::from_millis(300);

pub(crate) struct Churn {
    steps: Arc<Mutex<Steps>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// When each step began.
#[derive(Default)]
pub(crate) struct Steps(Vec<Instant>);

pub(crate) fn serial(number: usize) -> MacAddr {
    let [.., a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
    MacAddr::new([2, 0, 1, a, b, c])
}

pub(crate) fn is_serial(mac: MacAddr) -> bool {
    mac.octets()[..3] == [2, 0, 1]
}

impl Steps {
    /// Where the MACs are by now.
    pub(crate) fn truth(&self) -> BTreeMap<MacAddr, Ipv4Addr> {
        let done = self.0.len();
        let at_second =
            (done.saturating_sub(3)..done.saturating_sub(1)).map(|number| (serial(number), TOR_2));
        let at_first = done.checked_sub(1).map(|last| (serial(last), TOR_1));
        at_second.chain(at_first).collect()
    }

    fn step(&mut self, first: &OvsdbServer, second: &OvsdbServer) {
        let now = Instant::now();
        let number = self.0.len();
        if let Some(last) = number.checked_sub(1) {
            let gone = number.checked_sub(3).map(serial);
            let gone = gone.map_or_else(String::new, |gone| format!(" -- del-ucast-local {NETWORK} {gone}"));
            let moves = format!("add-ucast-local {NETWORK} {} {TOR_2}{gone}", serial(last));
            second.vtep_ctl(&moves).unwrap();
        }
        let left = number.checked_sub(1).map(serial);
        let left = left.map_or_else(String::new, |left| format!(" -- del-ucast-local {NETWORK} {left}"));
        first.vtep_ctl(&format!("add-ucast-local {NETWORK} {} {TOR_1}{left}", serial(number))).unwrap();
        self.0.push(now);
    }
}

impl Churn {
    pub(crate) fn start(first: Arc<OvsdbServer>, second: Arc<OvsdbServer>) -> Self {
        let (steps, stop) = (Arc::new(Mutex::new(Steps::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&steps), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                shared.lock().unwrap().step(&first, &second);
                thread::sleep(PACE);
            }
        });
        Self { steps, stop, thread: Some(thread) }
    }

    /// Nothing changes while this is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap()
    }

    /// The MAC that appeared first after a moment.
    pub(crate) fn first_after(&self, moment: Instant) -> Option<MacAddr> {
        self.pause().0.iter().position(|began| *began > moment).map(serial)
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the changes ended by themselves");
        }
    }
}
