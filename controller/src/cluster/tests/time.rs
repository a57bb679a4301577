//! Time that passes when nobody has anything to do, and the tasks that live in it. One thread, nothing by chance.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Microseconds since the begin of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cluster) struct Instant(u64);

/// When the cluster of a run is founded.
pub(super) const TERM_BASE: u64 = 1_000_000;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static TIMERS: RefCell<Timers> = RefCell::default();
}

#[derive(Default)]
struct Timers {
    order: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    wakers: BTreeMap<u64, Waker>,
}

impl Instant {
    pub(in crate::cluster) fn now() -> Self {
        Self(NOW.get())
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_micros()).unwrap())
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

pub(in crate::cluster) fn unix_ms() -> u64 {
    TERM_BASE
}

/// From 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a chance")]
pub(in crate::cluster) fn chance() -> f64 {
    (draw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// `SplitMix64`.
pub(super) fn draw() -> u64 {
    let next = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(next);
    let mut z = next;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn below(bound: u64) -> u64 {
    draw() % bound.max(1)
}

pub(super) fn percent(percent: u64) -> bool {
    below(100) < percent
}

pub(super) fn jitter_ms(ms: u64) -> Duration {
    Duration::from_micros(below(ms * 1000))
}

pub(in crate::cluster) async fn sleep(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

pub(in crate::cluster) async fn sleep_until(until: Instant) {
    let mut waits = false;
    poll_fn(|context| {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        // A future stays with its task.
        if std::mem::replace(&mut waits, true) {
            return Poll::Pending;
        }
        TIMERS.with_borrow_mut(|timers| {
            timers.order += 1;
            timers.due.push(Reverse((until.0, timers.order)));
            timers.wakers.insert(timers.order, context.waker().clone());
        });
        Poll::Pending
    })
    .await;
}

pub(in crate::cluster) async fn timeout_at<T>(
    until: Instant,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let (mut future, mut end) = (pin!(future), pin!(sleep_until(until)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => end.as_mut().poll(context).map(|()| Err(Elapsed)),
    })
    .await
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    /// To which process it belongs.
    process: usize,
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

/// The time was over first.
pub(in crate::cluster) struct Elapsed;

/// All tasks of a run. A process that is stopped is not polled, and its timers go off when it goes on.
pub(super) struct Tasks {
    tasks: Vec<Task>,
    pub(super) stopped: Vec<bool>,
}

impl Tasks {
    pub(super) fn new(seed: u64, processes: usize) -> Self {
        NOW.set(0);
        CHANCE.set(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        TIMERS.take();
        Self { tasks: Vec::new(), stopped: vec![false; processes] }
    }

    pub(super) fn spawn(&mut self, process: usize, future: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.push(Task { process, future: Box::pin(future), woken });
    }

    /// By SIGKILL.
    pub(super) fn kill(&mut self, process: usize) {
        self.tasks.retain(|task| task.process != process);
        self.stopped[process] = false;
    }

    /// Until then; after every moment at which something happened `look` is asked.
    pub(super) fn run<E>(
        &mut self,
        time: Duration,
        mut look: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = (Instant::now() + time).0;
        loop {
            self.poll_woken();
            look(self)?;
            let next = TIMERS.with_borrow_mut(|timers| {
                let Reverse((at, order)) = *timers.due.peek()?;
                if at > end {
                    return None;
                }
                timers.due.pop();
                Some((at, timers.wakers.remove(&order)))
            });
            let Some((at, waker)) = next else { break };
            NOW.set(NOW.get().max(at));
            waker.inspect(Waker::wake_by_ref);
        }
        NOW.set(end);
        Ok(())
    }

    fn poll_woken(&mut self) {
        loop {
            let mut some = false;
            let stopped = &self.stopped;
            self.tasks.retain_mut(|task| {
                if stopped[task.process] || !task.woken.0.swap(false, Ordering::Relaxed) {
                    return true;
                }
                some = true;
                let waker = Waker::from(task.woken.clone());
                task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            if !some {
                return;
            }
        }
    }
}
