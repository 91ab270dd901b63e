//! Events by key and interval of time.

use crate::rows::Rows;
use crate::windows::Windows;
use std::hash::Hash;
use std::time::{Duration, Instant};

const HASHES: usize = 4;
const SLOTS: usize = 1024;

/// The shortest interval.
const SHORTEST: Duration = Duration::from_millis(1);

/// The number of events of a key: the input for calculating a [rate](Rate::rate_with).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct RateComponents {
    /// Events in the whole interval before the current one.
    pub prev_samples: isize,
    /// Events in the current interval, so far.
    pub curr_samples: isize,
    /// The length of an interval.
    pub interval: Duration,
    /// The elapsed part of the current interval, from 0 to 1.
    pub current_interval_fraction: f64,
}

/// Events per second over an interval's length up to this moment: the events of the current interval so far, and
/// the missing part from the previous one, assuming an even distribution. For [`Rate::rate_with`].
///
/// It reacts at once, whereas [`Rate::rate`] waits for the interval to end.
pub static PROPORTIONAL_RATE_ESTIMATE_CALC_FN: fn(RateComponents) -> f64 = proportional;

fn proportional(of: RateComponents) -> f64 {
    let of_previous = of.prev_samples as f64 * (1.0 - of.current_interval_fraction);
    (of_previous + of.curr_samples as f64) / of.interval.as_secs_f64()
}

/// Counts events by key, in consecutive intervals of fixed length.
///
/// Memory is bounded and no lock is taken; see the [crate's page](crate) for the error of a count. An
/// interval can hold 8.7 × 10¹² events of a key; its count saturates there.
///
/// ```
/// use pingora_limits::rate::{PROPORTIONAL_RATE_ESTIMATE_CALC_FN, Rate};
/// use std::time::Duration;
///
/// let bytes = Rate::new(Duration::from_secs(3600));
/// assert_eq!(bytes.observe(&"192.0.2.1", 1000), 1000);
/// assert_eq!(bytes.observe(&"192.0.2.1", 500), 1500);
/// // The last complete hour, in bytes per second.
/// assert_eq!(bytes.rate(&"192.0.2.1"), 0.0);
/// // The last 60 minutes.
/// let rate = bytes.rate_with(&"192.0.2.1", PROPORTIONAL_RATE_ESTIMATE_CALC_FN);
/// assert_eq!(rate, 1500.0 / 3600.0);
/// ```
#[derive(Debug)]
pub struct Rate {
    windows: Windows,
    interval: Duration,
    start: Instant,
}

impl Rate {
    /// Counts in intervals of this length, which is at least a millisecond. Takes 64 KiB.
    pub fn new(interval: Duration) -> Self {
        Rate::new_with_estimator_config(interval, HASHES, SLOTS)
    }

    /// The same with another size: `hashes` rows of `slots` counters, for each of two intervals; 16 bytes ×
    /// `hashes` × `slots`. See the [crate's page](crate) for their effect.
    pub fn new_with_estimator_config(interval: Duration, hashes: usize, slots: usize) -> Self {
        Rate {
            windows: Windows::new(Rows::new(hashes, slots)),
            interval: interval.max(SHORTEST),
            start: Instant::now(),
        }
    }

    /// Events per second of `key` in the last complete interval; 0 if there is none yet.
    pub fn rate<T: Hash>(&self, key: &T) -> f64 {
        self.rate_with(key, |of| of.prev_samples as f64 / of.interval.as_secs_f64())
    }

    /// Counts events of `key`, and returns the number in the current interval, including these.
    pub fn observe<T: Hash>(&self, key: &T, events: isize) -> isize {
        let hash = self.windows.rows.hash(key);
        self.windows
            .add(hash, events, || self.interval_at(self.start.elapsed()).0)
    }

    /// A rate of `key` as calculated by `rate_calc_fn`; see [`PROPORTIONAL_RATE_ESTIMATE_CALC_FN`].
    pub fn rate_with<F, T, K>(&self, key: &K, mut rate_calc_fn: F) -> T
    where
        F: FnMut(RateComponents) -> T,
        K: Hash,
    {
        rate_calc_fn(self.components(key, self.start.elapsed()))
    }

    fn components<K: Hash>(&self, key: &K, elapsed: Duration) -> RateComponents {
        let hash = self.windows.rows.hash(key);
        let (interval, fraction) = self.interval_at(elapsed);
        let previous = interval.checked_sub(1);
        RateComponents {
            prev_samples: previous.map_or(0, |previous| self.windows.count(hash, previous)),
            curr_samples: self.windows.count(hash, interval),
            interval: self.interval,
            current_interval_fraction: fraction,
        }
    }

    /// The number of the interval at this time after the start, and the elapsed part of it.
    fn interval_at(&self, elapsed: Duration) -> (u64, f64) {
        let length = nanoseconds(self.interval);
        let elapsed = nanoseconds(elapsed);
        (elapsed / length, (elapsed % length) as f64 / length as f64)
    }
}

/// Up to 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts as if this many milliseconds had passed since the start.
    fn observe_at(rate: &Rate, key: &str, events: isize, ms: u64) -> isize {
        let hash = rate.windows.rows.hash(&key);
        let (interval, _) = rate.interval_at(Duration::from_millis(ms));
        rate.windows.add(hash, events, || interval)
    }

    fn components_at(rate: &Rate, key: &str, ms: u64) -> RateComponents {
        rate.components(&key, Duration::from_millis(ms))
    }

    #[test]
    fn an_interval_follows_the_one_before() {
        let rate = Rate::new(Duration::from_secs(2));
        assert_eq!(observe_at(&rate, "a", 3, 0), 3);
        assert_eq!(observe_at(&rate, "a", 3, 1999), 6);
        assert_eq!(observe_at(&rate, "b", 1, 1999), 1);
        assert_eq!(observe_at(&rate, "a", 2, 2000), 2);
        let of = components_at(&rate, "a", 3000);
        let expected = RateComponents {
            prev_samples: 6,
            curr_samples: 2,
            interval: Duration::from_secs(2),
            current_interval_fraction: 0.5,
        };
        assert_eq!(of, expected);
        // Half of the six, and two, in two seconds.
        assert_eq!(PROPORTIONAL_RATE_ESTIMATE_CALC_FN(of), 2.5);
    }

    #[test]
    fn what_lies_further_back_is_forgotten() {
        let rate = Rate::new(Duration::from_secs(1));
        observe_at(&rate, "a", 3, 0);
        assert_eq!(components_at(&rate, "a", 1000).prev_samples, 3);
        for ms in [2000, 3000, 100_000_000] {
            let of = components_at(&rate, "a", ms);
            assert_eq!((of.prev_samples, of.curr_samples), (0, 0), "after {ms} ms");
        }
    }

    #[test]
    fn intervals_of_no_length_are_a_millisecond() {
        let rate = Rate::new(Duration::ZERO);
        assert_eq!(rate.components(&1, Duration::ZERO).interval, SHORTEST);
        assert!(rate.observe(&1, 1) >= 1);
        assert!(rate.rate(&1) >= 0.0);
    }

    #[test]
    fn the_longest_interval_never_ends() {
        let rate = Rate::new_with_estimator_config(Duration::MAX, 1, 1);
        assert_eq!(rate.observe(&1, 1), 1);
        assert_eq!(rate.rate(&1), 0.0);
    }
}
