//! How busy a connection is: the state shared by its exchanges, its pool and its driver.

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

use futures::task::AtomicWaker;

/// In place of a timeout: there is none.
const NEVER: u64 = u64::MAX;

/// Set in the stream count once no more streams may begin.
const RETIRED: usize = 1 << (usize::BITS - 1);
/// One stream in use, and no more may begin.
const LAST_OF_RETIRED: usize = RETIRED | 1;

/// How busy a connection is.
///
/// ```text
///   idle ──reserve──▶ busy ──release──▶ idle ──idle for too long, evicted──▶ retired, idle: closes
///                       └──GOAWAY, closed──▶ retired, busy ──the last release──▲
/// ```
#[derive(Debug)]
pub(crate) struct Activity {
    /// Streams in use, and [`RETIRED`].
    streams: AtomicUsize,
    /// The total number of streams that were used.
    begun: AtomicUsize,
    epoch: Instant,
    /// The time since which no stream is in use, in milliseconds since the epoch.
    idle_since: AtomicU64,
    /// The idle time that is allowed, in milliseconds.
    idle_timeout: AtomicU64,
    /// The number of idle connections in the same pool.
    idle_count: OnceLock<Arc<AtomicIsize>>,
    driver: AtomicWaker,
    /// The server's first SETTINGS have arrived.
    settled: AtomicBool,
    awaiting_settings: Mutex<Vec<Waker>>,
}

impl Default for Activity {
    fn default() -> Self {
        Activity {
            streams: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            epoch: Instant::now(),
            idle_since: AtomicU64::new(0),
            idle_timeout: AtomicU64::new(NEVER),
            idle_count: OnceLock::new(),
            driver: AtomicWaker::new(),
            settled: AtomicBool::new(false),
            awaiting_settings: Mutex::default(),
        }
    }
}

/// The outcome of a request for a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reservation {
    Taken { was_idle: bool },
    Full,
    Retired,
}

impl Activity {
    /// Streams in use.
    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire) & !RETIRED
    }

    /// Whether there has been more than one exchange.
    pub(crate) fn is_shared(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 1
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.streams.load(Ordering::Acquire) & RETIRED != 0
    }

    pub(crate) fn reserve(&self, limit: usize) -> Reservation {
        let taken = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                (streams < limit.min(RETIRED - 1)).then_some(streams + 1)
            });
        match taken {
            Ok(before) => {
                self.begun.fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    self.count_idle(-1);
                }
                let was_idle = before == 0;
                Reservation::Taken { was_idle }
            }
            Err(streams) if streams & RETIRED != 0 => Reservation::Retired,
            Err(_) => Reservation::Full,
        }
    }

    pub(crate) fn release(&self) {
        // While the connection is in use, the start of its idle time has no meaning.
        let now = self.epoch.elapsed().as_millis() as u64;
        self.idle_since.store(now, Ordering::Release);
        match self.streams.fetch_sub(1, Ordering::AcqRel) {
            1 => self.count_idle(1),
            // The connection will not be requested again.
            LAST_OF_RETIRED => self.driver.wake(),
            _ => {}
        }
    }

    /// Allows no more streams to begin. Returns whether none was in use.
    pub(crate) fn retire(&self) -> bool {
        match self.streams.fetch_or(RETIRED, Ordering::AcqRel) {
            0 => {
                self.count_idle(-1);
                self.driver.wake();
                true
            }
            before => before == RETIRED,
        }
    }

    /// Allows no more streams to begin, if none is in use. Returns whether none was.
    pub(crate) fn retire_if_idle(&self) -> bool {
        let retired =
            self.streams
                .compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Acquire);
        match retired {
            Ok(_) => {
                self.count_idle(-1);
                self.driver.wake();
                true
            }
            Err(streams) => streams == RETIRED,
        }
    }

    /// From now on, counts this connection among the idle ones of a pool whenever it is idle.
    pub(crate) fn belong_to(&self, idle_count: Arc<AtomicIsize>) {
        if self.idle_count.set(idle_count).is_ok() && self.streams.load(Ordering::Acquire) == 0 {
            self.count_idle(1);
        }
    }

    fn count_idle(&self, change: isize) {
        if let Some(idle) = self.idle_count.get() {
            idle.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Sets the idle time that is allowed from now on; `None`: unlimited.
    pub(crate) fn set_idle_timeout(&self, timeout: Option<Duration>) {
        let millis = timeout.map_or(NEVER, |limit| {
            u64::try_from(limit.as_millis()).unwrap_or(NEVER)
        });
        if self.idle_timeout.swap(millis, Ordering::AcqRel) != millis {
            self.driver.wake();
        }
    }

    /// In milliseconds; [`u64::MAX`]: unlimited.
    pub(crate) fn idle_timeout(&self) -> u64 {
        self.idle_timeout.load(Ordering::Acquire)
    }

    /// When it will have been idle for too long, as of `now`; `None`: never.
    pub(crate) fn idle_until(&self, now: Instant) -> Option<Instant> {
        let timeout = match self.idle_timeout() {
            NEVER => return None,
            millis => Duration::from_millis(millis),
        };
        match self.streams() {
            0 => self.idle_begin().checked_add(timeout),
            _ => now.checked_add(timeout),
        }
    }

    /// When it became idle; meaningless while it is in use.
    pub(crate) fn idle_begin(&self) -> Instant {
        self.epoch + Duration::from_millis(self.idle_since.load(Ordering::Acquire))
    }

    pub(crate) fn register_driver(&self, cx: &Context<'_>) {
        self.driver.register(cx.waker());
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// The server's first SETTINGS have arrived, or never will.
    pub(crate) fn settle(&self) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.lock_waiting());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready once the server's first SETTINGS have arrived.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_settled() {
            return Poll::Ready(());
        }
        let mut waiting = self.lock_waiting();
        if self.is_settled() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.awaiting_settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pool() -> (Activity, Arc<AtomicIsize>) {
        let (activity, idle) = (Activity::default(), Arc::<AtomicIsize>::default());
        activity.belong_to(idle.clone());
        (activity, idle)
    }

    #[test]
    fn streams_are_counted_up_to_the_limit() {
        let (activity, idle) = in_pool();
        assert_eq!(idle.load(Ordering::Relaxed), 1);
        assert_eq!(activity.reserve(2), Reservation::Taken { was_idle: true });
        assert!(!activity.is_shared());
        assert_eq!(activity.reserve(2), Reservation::Taken { was_idle: false });
        assert!(activity.is_shared());
        assert_eq!(activity.reserve(2), Reservation::Full);
        assert_eq!(
            activity.reserve(0),
            Reservation::Full,
            "the server takes none any more"
        );
        assert_eq!((activity.streams(), idle.load(Ordering::Relaxed)), (2, 0));
        activity.release();
        activity.release();
        assert_eq!((activity.streams(), idle.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn nothing_begins_on_a_retired_connection_and_it_is_idle_nowhere() {
        let (activity, idle) = in_pool();
        activity.reserve(9);
        assert!(!activity.retire_if_idle() && !activity.is_retired());
        assert!(!activity.retire(), "an exchange is under way");
        assert_eq!(activity.reserve(9), Reservation::Retired);
        activity.release();
        assert_eq!((activity.streams(), idle.load(Ordering::Relaxed)), (0, 0));
        assert!(activity.retire_if_idle() && activity.retire());
        assert_eq!(idle.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_begins_with_the_last_release() {
        let (activity, _) = in_pool();
        assert_eq!(activity.idle_until(Instant::now()), None);
        activity.set_idle_timeout(Some(Duration::from_secs(3)));
        activity.reserve(1);
        tokio::time::advance(Duration::from_secs(10)).await;
        let released = Instant::now();
        activity.release();
        tokio::time::advance(Duration::from_secs(1)).await;
        let until = activity.idle_until(Instant::now());
        assert_eq!(until, Some(released + Duration::from_secs(3)));
    }
}
