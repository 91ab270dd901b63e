//! A number of events per time, with the state of each key in one word.
//!
//! This is the generic cell rate algorithm (GCRA, ITU-T I.371), which makes the same decisions as a token
//! bucket that is refilled continuously. The one number it keeps is the moment at which the bucket will be
//! full again:
//!
//! ```text
//!  tokens missing = (full_at - now) / interval      full_at <= now: the bucket is full
//!  an event may pass if   max(full_at, now) + interval - now  <=  burst × interval
//!  and then moves         full_at  to  max(full_at, now) + interval
//! ```
//!
//! A key that has been idle for long enough is therefore in the same state as one that was never seen, and
//! may be forgotten without being treated differently.
//!
//! [`Quota`] is the rule and pure: time is an argument. [`Bucket`] is the word for one key;
//! [`keyed`](crate::keyed) has many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many events may pass: a rate, and a burst.
///
/// In any span of time of the length *t*, at most *burst* + *t* × *rate* events pass.
///
/// ```
/// use pingora_limits::quota::{Bucket, Quota};
/// use std::time::Duration;
///
/// // A hundred in a minute, twenty of them at once.
/// let quota = Quota::new(100, Duration::from_secs(60)).with_burst(20);
/// let bucket = Bucket::default();
/// // Time is an argument, from any moment on.
/// let now = Duration::from_secs(5);
/// assert!((0..20).all(|_| bucket.take(&quota, now, 1).allowed));
/// let refused = bucket.take(&quota, now, 1);
/// assert!(!refused.allowed);
/// assert_eq!(refused.retry_after, Some(Duration::from_millis(600)));
/// assert!(bucket.take(&quota, now + Duration::from_millis(600), 1).allowed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The time in which one event is earned, in nanoseconds; at least one.
    interval: u64,
    burst: u32,
}

/// The decision about an event, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether it may pass. If not, it does not count.
    pub allowed: bool,
    /// The number of further events that could pass at this moment.
    pub remaining: u32,
    /// The time until a whole burst is available again, if nothing else happens.
    pub reset_after: Duration,
    /// For an event that may not pass, the time after which it could. `None` if it may, or if it never can
    /// because it counts for more than a burst.
    pub retry_after: Option<Duration>,
}

impl Quota {
    /// `count` events per `period`, all of them at once if necessary. With a count of 0, nothing passes.
    /// Earning an event takes at least a nanosecond: the fastest rate is 10⁹ events per second.
    pub const fn new(count: u32, period: Duration) -> Self {
        let period = period.as_nanos();
        let events = if count == 0 { 1 } else { count as u128 };
        // Rounded up: never more than requested.
        let interval = period.div_ceil(events);
        let interval = match interval {
            0 => 1,
            // 292 years.
            long if long > (u64::MAX / 2) as u128 => u64::MAX / 2,
            fits => fits as u64,
        };
        Quota {
            interval,
            burst: count,
        }
    }

    /// The same rate with another burst: the number of events that may pass at once after a pause. With
    /// 0, nothing passes.
    #[must_use]
    pub const fn with_burst(self, burst: u32) -> Self {
        Quota { burst, ..self }
    }

    /// The number of events that may pass at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time in which a whole burst is earned: the period, unless the burst was set.
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.depth())
    }

    /// The nanoseconds that a full bucket is worth.
    const fn depth(&self) -> u64 {
        self.interval.saturating_mul(self.burst as u64)
    }

    /// Decides about an event that counts for `cost`. `full_at` is the state: the time when the bucket will
    /// be full again, in nanoseconds since any moment, and 0 initially; `now` is the time since the same
    /// moment. Also returns the new state, which is the old one unless the event may pass.
    ///
    /// With a cost of 0, nothing changes, and the verdict only reports what is left.
    pub fn decide(&self, full_at: u64, now: u64, cost: u32) -> (u64, Verdict) {
        let depth = self.depth();
        let missing = full_at.saturating_sub(now);
        let price = self.interval.saturating_mul(u64::from(cost));
        let wanted = missing.saturating_add(price);
        let allowed = cost <= self.burst && (wanted <= depth || cost == 0);
        let (state, missing) = if allowed && cost > 0 {
            (now.saturating_add(wanted), wanted)
        } else {
            (full_at, missing)
        };
        let remaining = depth.saturating_sub(missing) / self.interval;
        let retry_after = (!allowed && cost <= self.burst)
            .then(|| Duration::from_nanos(wanted.saturating_sub(depth)));
        let verdict = Verdict {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_after: Duration::from_nanos(missing),
            retry_after,
        };
        (state, verdict)
    }
}

/// The part of its [`Quota`] that one key has used: one atomic word. Full initially.
#[derive(Debug, Default)]
pub struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Decides whether an event that counts for `cost` may pass. `now` is the time since any moment, the
    /// same one for all calls. Takes no lock. Between threads, each event is counted once; if their clocks
    /// differ, the answer is at most that of the latest one.
    pub fn take(&self, quota: &Quota, now: Duration, cost: u32) -> Verdict {
        let now = nanoseconds(now);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let (next, verdict) = quota.decide(full_at, now, cost);
            if next == full_at {
                return verdict;
            }
            let exchanged = self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchanged {
                Ok(_) => return verdict,
                Err(other) => full_at = other,
            }
        }
    }
}

/// Up to 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_in_each_interval() {
        let quota = Quota::new(10, SECOND).with_burst(3);
        let bucket = Bucket::default();
        let at = |ms: u64| bucket.take(&quota, Duration::from_millis(ms), 1);
        let passed: Vec<u64> = (0..=1000).filter(|ms| at(*ms).allowed).collect();
        assert_eq!(passed[..6], [0, 1, 2, 100, 200, 300]);
        assert_eq!(passed.len(), 3 + 10);
        let after_a_pause: Vec<bool> = (0..5).map(|_| at(60_000).allowed).collect();
        assert_eq!(after_a_pause, [true, true, true, false, false]);
    }

    #[test]
    fn verdicts_say_what_is_left() {
        let quota = Quota::new(10, SECOND);
        assert_eq!((quota.burst(), quota.window()), (10, SECOND));
        let bucket = Bucket::default();
        let ms = Duration::from_millis;
        #[rustfmt::skip]
        let rows = [
            // Time, cost: allowed, remaining, reset after, retry after; in milliseconds.
            (0,    1,  true,  9, 100,  None),
            (0,    4,  true,  5, 500,  None),
            (0,    0,  true,  5, 500,  None),
            (0,    6,  false, 5, 500,  Some(100)),
            (50,   6,  false, 5, 450,  Some(50)),
            (100,  6,  true,  0, 1000, None),
            (100,  1,  false, 0, 1000, Some(100)),
            (100,  11, false, 0, 1000, None),
            (150,  0,  true,  0, 950,  None),
            (9999, 0,  true, 10, 0,    None),
        ];
        for (at, cost, allowed, remaining, reset, retry) in rows {
            let expected = Verdict {
                allowed,
                remaining,
                reset_after: ms(reset),
                retry_after: retry.map(ms),
            };
            assert_eq!(bucket.take(&quota, ms(at), cost), expected, "{at} {cost}");
        }
    }

    #[test]
    fn quotas_at_the_ends_do_not_overflow() {
        let none = Quota::new(0, SECOND);
        let fastest = Quota::new(u32::MAX, Duration::ZERO);
        let slowest = Quota::new(2, Duration::MAX);
        for (quota, expected) in [(none, 0), (fastest, 5), (slowest, 2)] {
            let bucket = Bucket::default();
            let passed = (0..5).filter(|_| bucket.take(&quota, SECOND, 1).allowed);
            let passed = passed.count();
            assert_eq!(passed, expected, "{quota:?}");
            bucket.take(&quota, Duration::MAX, u32::MAX);
        }
        assert!(!Bucket::default().take(&none, SECOND, 1).allowed);
        // A third of a second is not a whole number of nanoseconds: slightly too slow is preferred.
        assert_eq!(Quota::new(3, SECOND).interval, 333_333_334);
    }

    /// A textbook token bucket, in whole nanoseconds of credit.
    struct Textbook {
        credit: u128,
        at: u64,
    }

    #[test]
    fn it_decides_as_a_token_bucket_does() {
        let mut random = Random::new(1);
        for _ in 0..200 {
            let quota = Quota::new(random.below(20) as u32 + 1, SECOND)
                .with_burst(random.below(30) as u32 + 1);
            let depth = u128::from(quota.depth());
            let mut textbook = Textbook {
                credit: depth,
                at: 0,
            };
            let bucket = Bucket::default();
            let mut now = 0;
            for _ in 0..500 {
                now += random.below(200_000_000);
                let cost = random.below(4) as u32;
                let earned = u128::from(now - textbook.at);
                textbook.credit = (textbook.credit + earned).min(depth);
                textbook.at = now;
                let price = u128::from(quota.interval) * u128::from(cost);
                let expected = cost <= quota.burst && price <= textbook.credit;
                if expected {
                    textbook.credit -= price;
                }
                let found = bucket.take(&quota, Duration::from_nanos(now), cost);
                assert_eq!(found.allowed, expected, "{quota:?} at {now}");
                let left = textbook.credit / u128::from(quota.interval);
                assert_eq!(u128::from(found.remaining), left, "{quota:?} at {now}");
            }
        }
    }

    /// Random arrivals over simulated hours, at several loads: the passed events match the rate, and no
    /// span of time has more than its burst in addition.
    #[test]
    fn what_passes_is_the_rate_whatever_arrives() {
        let mut random = Random::new(2);
        let quota = Quota::new(100, SECOND).with_burst(50);
        for (load, least, most) in [(0.5, 0.49, 0.51), (1.0, 0.94, 1.01), (3.0, 0.999, 1.001)] {
            let bucket = Bucket::default();
            let (mut now, mut passed) = (0.0_f64, vec![]);
            let seconds = 3600.0;
            while now < seconds {
                // The time between arrivals of a Poisson process.
                now -= random.fraction().ln() / (100.0 * load);
                let at = Duration::from_secs_f64(now);
                if bucket.take(&quota, at, 1).allowed {
                    passed.push(now);
                }
            }
            let share = passed.len() as f64 / (100.0 * seconds);
            assert!((least..most).contains(&share), "load {load}: {share}");
            for (length, limit) in [(50, 50.0 + 1.0), (149, 50.0 + 100.0)] {
                let spans = passed.windows(length + 1);
                let shortest = spans.map(|span| span[length] - span[0]);
                let shortest = shortest.fold(f64::MAX, f64::min);
                // This many events and one more take at least the time that all but a burst of them
                // are worth.
                let bound = (length as f64 + 1.0 - 50.0) / 100.0 - 1e-6;
                assert!(shortest >= bound, "{length} {limit}: {shortest}");
            }
        }
    }

    #[test]
    fn threads_together_get_exactly_a_burst() {
        let quota = Quota::new(5000, Duration::from_secs(3600));
        let (bucket, passed) = (Bucket::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let take = || bucket.take(&quota, SECOND, 1);
                    let count = (0..2000).filter(|_| take().allowed).count();
                    passed.fetch_add(count, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), 5000);
    }
}
