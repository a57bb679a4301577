//! Grace periods: after one, no program runs that ran before it. Waited for by a thread of their own, for one takes
//! tens of milliseconds.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::kernel::bpf;

#[derive(Debug)]
pub(super) struct Grace {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    is_ending: bool,
}

impl Grace {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("grace".to_owned()).spawn(move || of_thread.serve())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The number of a grace period that begins after this call.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.shared.lock();
        state.begun += 1;
        self.shared.changed.notify_all();
        state.begun
    }

    pub(super) fn is_over(&self, number: u64) -> bool {
        self.shared.over.load(Ordering::Acquire) >= number
    }

    pub(super) fn wait(&self, number: u64) {
        let mut state = self.shared.lock();
        while !self.is_over(number) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let begun = state.begun;
            if state.is_ending {
                return;
            }
            if self.over.load(Ordering::Relaxed) == begun {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            bpf::wait_for_programs();
            state = self.lock();
            self.over.store(begun, Ordering::Release);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grace {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
