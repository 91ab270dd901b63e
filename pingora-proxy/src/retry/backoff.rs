//! How long to wait ahead of a retry.

use std::time::Duration;

/// The wait ahead of each retry: none ahead of the first, and from the second on a random time (full
/// jitter) below a ceiling that doubles from retry to retry.
///
/// | retry | 1 | 2 | 3 | 4 | n |
/// |---|---|---|---|---|---|
/// | ceiling | 0 | `base` | 2 × `base` | 4 × `base` | 2ⁿ⁻² × `base`, at most `most` |
///
/// The first retry usually goes to another peer, for which there is no reason to wait. The default is 25
/// ms, at most 250 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(Duration::from_millis(25), Duration::from_millis(250))
    }
}

impl Backoff {
    /// Waits below `base` ahead of the second retry, and never longer than `most`.
    pub const fn new(base: Duration, most: Duration) -> Self {
        Backoff { base, most }
    }

    /// No waiting at all.
    pub const fn none() -> Self {
        Backoff::new(Duration::ZERO, Duration::ZERO)
    }

    /// The longest wait ahead of this retry; the first one is 1.
    fn ceiling(&self, retry: usize) -> Duration {
        let Some(doublings) = retry.checked_sub(2) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings as u32).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.most)
    }

    /// The wait ahead of this retry. `random` is from 0 up to 1, exclusive.
    pub(crate) fn wait(&self, retry: usize, random: f64) -> Duration {
        self.ceiling(retry).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_most() {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(70));
        let ceilings: Vec<u128> = (0..8).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [0, 0, 10, 20, 40, 70, 70, 70]);
        assert_eq!(backoff.ceiling(usize::MAX), Duration::from_millis(70));
        assert_eq!(backoff.wait(3, 0.5), Duration::from_millis(10));
        assert_eq!(backoff.wait(1, 0.9), Duration::ZERO);
        let forever = Backoff::new(Duration::MAX, Duration::MAX);
        assert!(forever.wait(40, 0.5) < Duration::MAX);
        assert_eq!(Backoff::none().wait(9, 0.9), Duration::ZERO);
    }
}
