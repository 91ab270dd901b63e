//! The response time of a backend: a moving average from which old answers fade. Pure: the time is an
//! argument.
//!
//! The average halves every [`HALF_LIFE`] without news from the backend, so that one that was slow once
//! gets another chance.

use crate::clock::millis;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time, earlier observations weigh half as much.
const HALF_LIFE_MS: u32 = 7_000;
/// The weight of one observation if many follow each other closely: an eighth, like TCP's estimate of a
/// round trip.
const CLOSE: u64 = 8;

/// How an average follows its observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// A slower answer counts in full at once; faster ones take effect gradually.
    Peaks,
    /// Both take effect gradually.
    Evenly,
}

/// A moving average in one word: microseconds in the upper half, the time of the last observation in
/// milliseconds in the lower.
#[derive(Debug, Default)]
pub(crate) struct Average(AtomicU64);

impl Average {
    /// The average in microseconds; `None` before the first observation.
    #[inline]
    pub(crate) fn at(&self, now: Duration) -> Option<u32> {
        let (value, seen) = unpack(self.0.load(Ordering::Relaxed))?;
        Some(faded(value, stamp(now).wrapping_sub(seen)))
    }

    /// The averages `a` and `b` in microseconds, as of the later of their last observations. Both fade alike, so
    /// that to compare them needs no clock.
    #[inline]
    pub(crate) fn side_by_side(a: &Average, b: &Average) -> (Option<u32>, Option<u32>) {
        let known = |average: &Average| unpack(average.0.load(Ordering::Relaxed));
        let (Some((of_a, seen_a)), Some((of_b, seen_b))) = (known(a), known(b)) else {
            return (known(a).map(|k| k.0), known(b).map(|k| k.0));
        };
        // Stamps wrap: the difference is the shorter way round. Without a branch, which would be unpredictable.
        let later = seen_b.wrapping_sub(seen_a) as i32;
        let since = |time: i32| time.max(0).unsigned_abs();
        (
            Some(faded(of_a, since(later))),
            Some(faded(of_b, since(later.wrapping_neg()))),
        )
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Observes that an answer took `sample`.
    pub(crate) fn observe(&self, follow: Follow, now: Duration, sample: Duration) {
        let sample = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).max(1);
        let now = stamp(now);
        let next = |packed| {
            let value = match unpack(packed) {
                None => sample,
                Some((value, seen)) => {
                    let since = now.wrapping_sub(seen);
                    // An observation older than the last one, by a thread that was overtaken.
                    let since = if since > u32::MAX / 2 { 0 } else { since };
                    blend(follow, value, since, sample)
                }
            };
            Some(pack(value, now))
        };
        // The closure always returns a value, so this always succeeds.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

fn stamp(now: Duration) -> u32 {
    // Wraps after 49 days, which at worst makes one average older than it is.
    (millis(now) & u64::from(u32::MAX)) as u32
}

fn pack(micros: u32, stamp: u32) -> u64 {
    u64::from(micros.max(1)) << 32 | u64::from(stamp)
}

fn unpack(packed: u64) -> Option<(u32, u32)> {
    let (value, seen) = ((packed >> 32) as u32, packed as u32);
    (value > 0).then_some((value, seen))
}

/// `value` after nothing was observed for `since` milliseconds: halved for each half-life, linear in
/// between.
fn faded(value: u32, since: u32) -> u32 {
    // A reader may see an observation that is slightly newer than its own time.
    if since > u32::MAX / 2 {
        return value;
    }
    let (halvings, rest) = (since / HALF_LIFE_MS, since % HALF_LIFE_MS);
    let whole = value.checked_shr(halvings).unwrap_or(0);
    let part = u64::from(whole) * u64::from(rest) / u64::from(2 * HALF_LIFE_MS);
    whole.saturating_sub(part as u32).max(1)
}

fn blend(follow: Follow, value: u32, since: u32, sample: u32) -> u32 {
    let old = u64::from(faded(value, since));
    let sample = u64::from(sample);
    if follow == Follow::Peaks && sample > old {
        return sample as u32;
    }
    // A sample after a long silence counts for more: it gains the weight that the old value has
    // lost.
    let kept = u64::from(faded(1 << 16, since));
    let weight = (1 << 16) - kept * (CLOSE - 1) / CLOSE;
    let mixed = (old * ((1 << 16) - weight) + sample * weight) >> 16;
    u32::try_from(mixed).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_average_fades_by_half_in_each_half_life() {
        let average = Average::default();
        assert_eq!(average.at(MS), None);
        average.observe(Follow::Evenly, MS, 100 * MS);
        assert_eq!(average.at(MS), Some(100_000));
        assert_eq!(average.at(MS * (HALF_LIFE_MS + 1)), Some(50_000));
        assert_eq!(average.at(MS * (2 * HALF_LIFE_MS + 1)), Some(25_000));
        assert_eq!(average.at(MS * (HALF_LIFE_MS * 100)), Some(1));
        // Read by a thread whose time is slightly older.
        assert_eq!(average.at(Duration::ZERO), Some(100_000));
    }

    #[test]
    fn of_two_averages_the_older_one_fades() {
        let at = |time: Duration, sample: u32| {
            let average = Average::default();
            average.observe(Follow::Peaks, time, MS * sample);
            average
        };
        let half_life = MS * HALF_LIFE_MS;
        let (known, unknown) = (at(MS, 100), Average::default());
        let wrapping = MS * (u32::MAX - 10);
        for (a, b, expected) in [
            (&known, &unknown, (Some(100_000), None)),
            (&unknown, &known, (None, Some(100_000))),
            (&unknown, &unknown, (None, None)),
            (&known, &at(MS, 60), (Some(100_000), Some(60_000))),
            (
                &known,
                &at(MS + half_life, 60),
                (Some(50_000), Some(60_000)),
            ),
            (
                &at(MS + half_life, 60),
                &known,
                (Some(60_000), Some(50_000)),
            ),
            (
                &at(wrapping, 80),
                &at(wrapping + half_life, 60),
                (Some(40_000), Some(60_000)),
            ),
        ] {
            assert_eq!(Average::side_by_side(a, b), expected);
        }
    }

    #[test]
    fn peaks_count_at_once_and_dips_gradually() {
        for (follow, after_slow, after_fast) in [
            (Follow::Peaks, 80_000..=80_000, 60_000..=75_000),
            (Follow::Evenly, 15_000..=20_000, 13_000..=20_000),
        ] {
            let average = Average::default();
            average.observe(follow, MS, 10 * MS);
            average.observe(follow, MS, 80 * MS);
            let slow = average.at(MS).unwrap();
            assert!(after_slow.contains(&slow), "{follow:?}: {slow}");
            average.observe(follow, MS, 10 * MS);
            let fast = average.at(MS).unwrap();
            assert!(after_fast.contains(&fast), "{follow:?}: {fast}");
        }
    }

    #[test]
    fn what_is_observed_steadily_becomes_the_average() {
        for follow in [Follow::Peaks, Follow::Evenly] {
            let average = Average::default();
            average.observe(follow, MS, 500 * MS);
            for turn in 1..200 {
                average.observe(follow, MS * turn, 20 * MS);
            }
            let value = average.at(MS * 200).unwrap();
            assert!((19_000..=21_000).contains(&value), "{value}");
        }
    }

    #[test]
    fn the_longest_and_the_shortest_stay_within_bounds() {
        let average = Average::default();
        average.observe(Follow::Peaks, MS, Duration::ZERO);
        assert_eq!(average.at(MS), Some(1));
        average.observe(Follow::Peaks, MS, Duration::MAX);
        average.observe(Follow::Evenly, Duration::MAX, Duration::MAX);
        assert!(average.at(Duration::MAX).unwrap() > u32::MAX / 2);
    }
}
