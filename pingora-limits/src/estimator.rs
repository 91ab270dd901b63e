//! Counting by key in bounded memory.

use crate::rows::Rows;
use std::hash::Hash;
use std::sync::atomic::{AtomicIsize, Ordering};

/// A count-min sketch: counts by key in memory that does not grow. The [crate's page](crate) describes the
/// error of a count.
///
/// ```
/// use pingora_limits::estimator::Estimator;
///
/// let errors = Estimator::new(4, 1024);
/// assert_eq!(errors.incr("192.0.2.1", 1), 1);
/// assert_eq!(errors.incr("192.0.2.1", 2), 3);
/// errors.decr("192.0.2.1", 1);
/// assert_eq!(errors.get("192.0.2.1"), 2);
/// errors.reset();
/// assert_eq!(errors.get("192.0.2.1"), 0);
/// ```
#[derive(Debug)]
pub struct Estimator {
    rows: Rows,
    cells: Box<[AtomicIsize]>,
}

impl Estimator {
    /// `hashes` rows of `slots` counters, at least one each: 8 bytes × `hashes` × `slots`. More rows
    /// make a wrong answer less likely, more slots make it more accurate.
    pub fn new(hashes: usize, slots: usize) -> Self {
        let rows = Rows::new(hashes, slots);
        let cells = (0..rows.cells()).map(|_| AtomicIsize::new(0)).collect();
        Estimator { rows, cells }
    }

    /// Adds `value` to the count of `key`, and returns the new one. Counts wrap around beyond
    /// `isize::MAX`.
    pub fn incr<T: Hash>(&self, key: T, value: isize) -> isize {
        self.add(self.hash(&key), value)
    }

    /// Subtracts `value` from the count of `key`. Only subtract what was added, or counts of other
    /// keys may become too low.
    pub fn decr<T: Hash>(&self, key: T, value: isize) {
        self.add(self.hash(&key), value.wrapping_neg());
    }

    /// The count of `key`; 0 for a key that was never counted, unless it shares all of its slots.
    pub fn get<T: Hash>(&self, key: T) -> isize {
        self.count(self.hash(&key))
    }

    /// Sets all counts to 0. Concurrent additions by other threads may be lost.
    pub fn reset(&self) {
        for cell in &self.cells {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// The hash of a key, for callers that count it more than once.
    pub(crate) fn hash<T: Hash>(&self, key: &T) -> u64 {
        self.rows.hash(key)
    }

    pub(crate) fn add(&self, hash: u64, value: isize) -> isize {
        let cells = self.rows.of(hash, &self.cells);
        let counts = cells.map(|cell| {
            let before = cell.fetch_add(value, Ordering::Relaxed);
            before.wrapping_add(value)
        });
        counts.min().unwrap_or(0)
    }

    pub(crate) fn count(&self, hash: u64) -> isize {
        let cells = self.rows.of(hash, &self.cells);
        cells
            .map(|cell| cell.load(Ordering::Relaxed))
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn nothing_is_lost_between_threads() {
        let estimator = Estimator::new(4, 64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| _ = estimator.incr("key", 3)));
            }
        });
        assert_eq!(estimator.get("key"), 12_000);
    }

    #[test]
    fn a_count_is_never_too_low_and_rarely_much_too_high() {
        let estimator = Estimator::new(4, 1024);
        (0..10_000_u32).for_each(|key| _ = estimator.incr(key, 1));
        let counts: Vec<isize> = (0..10_000_u32).map(|key| estimator.get(key)).collect();
        assert!(counts.iter().all(|&count| count >= 1));
        // e / 1024 of the total is 26.5; at most e^-4 of the keys, 183, are expected to be further
        // off.
        let far_off = counts.iter().filter(|&&count| count > 1 + 26).count();
        assert!(far_off < 183, "{far_off} keys");
    }

    #[test]
    fn a_sketch_without_slots_has_one() {
        let estimator = Estimator::new(0, 0);
        assert_eq!(estimator.incr("a", 1), 1);
        assert_eq!(estimator.incr("b", 1), 2);
    }
}
