//! Counting things that have begun and not ended.

use crate::estimator::Estimator;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Rows of the sketch. Being refused is worse than being miscounted for a moment, and at any time
/// little is in flight.
const HASHES: usize = 4;
const SLOTS: usize = 8192;

/// The number of things in flight by key. Takes 256 KiB; the [crate's page](crate) describes the error of
/// a count.
///
/// ```
/// use pingora_limits::inflight::Inflight;
///
/// let requests = Inflight::new();
/// let (first, count) = requests.incr("192.0.2.1", 1);
/// assert_eq!(count, 1);
/// let (_second, count) = requests.incr("192.0.2.1", 1);
/// assert_eq!(count, 2);
/// drop(first);
/// let (_third, count) = requests.incr("192.0.2.1", 1);
/// assert_eq!(count, 2);
/// ```
#[derive(Debug)]
pub struct Inflight {
    estimator: Arc<Estimator>,
}

impl Inflight {
    /// Nothing is in flight yet.
    #[allow(clippy::new_without_default, reason = "the interface has no default")]
    pub fn new() -> Self {
        Inflight {
            estimator: Arc::new(Estimator::new(HASHES, SLOTS)),
        }
    }

    /// Adds `value` to the in-flight count of `key`, and returns the new count, including this value. The
    /// count is decremented when the guard is dropped; keep it in the context of a request, for instance.
    pub fn incr<T: Hash>(&self, key: T, value: isize) -> (Guard, isize) {
        let hash = self.estimator.hash(&key);
        let count = self.estimator.add(hash, value);
        let guard = Guard {
            estimator: self.estimator.clone(),
            hash,
            value,
            counted: AtomicIsize::new(value),
        };
        (guard, count)
    }
}

/// Something that is in flight until this is dropped. It may outlive its [`Inflight`].
pub struct Guard {
    estimator: Arc<Estimator>,
    hash: u64,
    value: isize,
    /// The sum that this guard has added.
    counted: AtomicIsize,
}

impl Guard {
    /// Adds the value of this guard once more, and returns the new count of its key. Dropping the guard
    /// subtracts everything.
    pub fn incr(&self) -> isize {
        self.counted.fetch_add(self.value, Ordering::Relaxed);
        self.estimator.add(self.hash, self.value)
    }

    /// The count of the guard's key.
    pub fn get(&self) -> isize {
        self.estimator.count(self.hash)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let counted = *self.counted.get_mut();
        self.estimator.add(self.hash, counted.wrapping_neg());
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("value", &self.value)
            .field("count", &self.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_guard_takes_back_all_that_it_added() {
        let inflight = Inflight::new();
        let (other, _) = inflight.incr("key", 1);
        let (guard, count) = inflight.incr("key", 2);
        assert_eq!((count, guard.incr(), guard.get()), (3, 5, 5));
        drop(guard);
        assert_eq!(other.get(), 1);
    }

    #[test]
    fn a_guard_outlives_what_it_came_from() {
        let (guard, _) = Inflight::new().incr("key", 1);
        assert_eq!(guard.get(), 1);
    }

    #[test]
    fn nothing_stays_behind_when_all_threads_are_done() {
        let inflight = Inflight::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..1000 {
                        let (guard, count) = inflight.incr(key % 7, 1);
                        assert!(count >= 1);
                        guard.incr();
                    }
                });
            }
        });
        for key in 0..7 {
            assert_eq!(inflight.incr(key, 1).1, 1);
        }
    }
}
