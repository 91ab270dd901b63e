//! Requests that wait until a backend has room.

use pingora_core::metrics::Process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A bounded queue of requests that wait because every ready backend has [as many as it
/// may](crate::HealthRegistry::set_max_in_flight).
///
/// Don't use a long one: serving requests whose clients no longer wait is wasted work. When a place becomes
/// free, a request that has just arrived may get it before those that wait.
#[derive(Debug)]
pub struct Queue {
    waiting: AtomicUsize,
    most: usize,
    longest: Duration,
}

/// Longer times can't be added to an instant.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Queue {
    /// A queue where at most `most` requests wait at a time, each for at most `longest` (a year at most).
    pub fn new(most: usize, longest: Duration) -> Self {
        Queue {
            waiting: AtomicUsize::new(0),
            most,
            longest: longest.min(YEAR),
        }
    }

    /// The number of requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// A place, until it is dropped; `None` if all are taken.
    pub(crate) fn enter(&self) -> Option<Waiter<'_>> {
        let more = |count| (count < self.most).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.waiting.fetch_update(order, order, more).ok()?;
        Some(Waiter {
            queue: self,
            since: Instant::now(),
        })
    }
}

/// A place in a queue.
pub(crate) struct Waiter<'a> {
    queue: &'a Queue,
    since: Instant,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
        Process::queued(self.since.elapsed());
    }
}
