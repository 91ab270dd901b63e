//! How often each backend is checked, in addition to the frequency of the rounds.

use std::time::Duration;

/// Which rounds of checks a backend takes part in, and when in the round; see
/// [`HealthRegistry::set_check_pace`](crate::HealthRegistry::set_check_pace).
///
/// By default every backend is checked at the beginning of every round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckPace {
    jitter: Duration,
    stable_after: usize,
    every: usize,
}

impl CheckPace {
    /// Every backend at the beginning of every round.
    pub fn new() -> Self {
        CheckPace::default()
    }

    /// Delays each check by a random time up to this one, so that the checks of many proxies, or many checks
    /// of one, don't all come at once. With sequential checks the delays add up: enable
    /// [`parallel_health_check`](crate::LoadBalancer::parallel_health_check).
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// Checks a backend that was healthy in `after` checks in a row only in every `every`-th round. After one
    /// failed check it takes part in every round again; an unhealthy one always does. So set the frequency of
    /// the rounds to the one needed after a failure.
    pub fn slower_when_stable(mut self, after: usize, every: usize) -> Self {
        self.stable_after = after.max(1);
        self.every = every.max(1);
        self
    }

    /// The delay of one check.
    pub(crate) fn delay(&self) -> Duration {
        match self.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(fastrand::f64()),
        }
    }
}

/// The check history of one backend.
#[derive(Debug, Default)]
pub(crate) struct Rhythm {
    /// The number of consecutive checks that found it healthy.
    good: usize,
    /// The number of rounds it has skipped since the last check.
    left_out: usize,
}

impl Rhythm {
    /// Whether it takes part in the next round.
    pub(crate) fn is_due(&mut self, pace: &CheckPace) -> bool {
        let is_stable = pace.every > 1 && self.good >= pace.stable_after;
        if is_stable && self.left_out + 1 < pace.every {
            self.left_out += 1;
            return false;
        }
        self.left_out = 0;
        true
    }

    /// A check has ended.
    pub(crate) fn note(&mut self, success: bool) {
        self.good = if success {
            self.good.saturating_add(1)
        } else {
            0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rounds that a backend takes part in, if its checks have these results.
    fn rounds(pace: CheckPace, count: usize, results: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut rhythm = Rhythm::default();
        let mut due = |round: &usize| {
            let due = rhythm.is_due(&pace);
            if due {
                rhythm.note(results(*round));
            }
            due
        };
        (0..count).filter(|round| due(round)).collect()
    }

    #[test]
    fn a_stable_backend_leaves_rounds_out_until_a_check_fails() {
        let pace = CheckPace::new().slower_when_stable(2, 4);
        assert_eq!(rounds(pace, 12, |_| true), [0, 1, 5, 9]);
        assert_eq!(rounds(pace, 12, |round| round != 5), [0, 1, 5, 6, 7, 11]);
        assert_eq!(rounds(pace, 4, |_| false), [0, 1, 2, 3]);
        for every in [CheckPace::new(), CheckPace::new().slower_when_stable(0, 0)] {
            assert_eq!(rounds(every, 3, |_| true), [0, 1, 2]);
        }
    }

    #[test]
    fn delays_stay_within_the_jitter() {
        assert_eq!(CheckPace::new().delay(), Duration::ZERO);
        let pace = CheckPace::new().jitter(Duration::from_secs(1));
        let delays: Vec<Duration> = (0..100).map(|_| pace.delay()).collect();
        assert!(delays.iter().all(|delay| *delay < Duration::from_secs(1)));
        assert!(
            delays
                .iter()
                .any(|delay| *delay > Duration::from_millis(500))
        );
    }
}
