//! A bound on the share of requests that are tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A thousandth of a retry.
type Milli = u64;
const WHOLE: Milli = 1000;
/// Retries that were not used are kept for this many seconds.
const KEPT_SECONDS: u64 = 10;
/// The most retries that requests may save up, at any rate.
const MOST_SAVED: u64 = 100;

/// A bound on retries over all requests that share it, so that retries never multiply the load of
/// upstreams that fail because of their load.
///
/// ```text
/// comes in    request_begins   adds its share of a retry
///             time             adds the floor, per second
/// goes out    try_take         takes one retry, if there is one
/// ```
///
/// Unused retries are kept: those of the floor for 10 seconds, those of the share up to 100. Clones share
/// one account. Three words of state, lock-free; each request costs one addition.
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    share: Milli,
    floor: Milli,
    most: Milli,
    started: Instant,
    saved: AtomicU64,
    /// The last instant up to which the floor was added, in milliseconds since the start.
    refilled: AtomicU64,
    refused: AtomicU64,
}

impl Default for RetryBudget {
    /// A fifth of the requests, and 10 retries per second in any case.
    fn default() -> Self {
        RetryBudget::new(0.2, 10)
    }
}

impl RetryBudget {
    /// Allows `share` retries per request (0.2: one for five requests), and `floor` per second in any
    /// case. A `share` that is no number, or negative, counts as 0; more than 10 counts as 10.
    pub fn new(share: f64, floor: u32) -> Self {
        let share = (share.clamp(0.0, 10.0) * WHOLE as f64) as Milli;
        let floor = Milli::from(floor) * WHOLE;
        let most = (floor * KEPT_SECONDS).max(MOST_SAVED * WHOLE * u64::from(share > 0));
        RetryBudget(Arc::new(BudgetState {
            share,
            floor,
            most,
            started: Instant::now(),
            saved: AtomicU64::new(floor),
            refilled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// How many retries were refused because the budget was spent.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn request_begins(&self) {
        let account = &*self.0;
        if account.share > 0 && account.saved.load(Ordering::Relaxed) < account.most {
            account.saved.fetch_add(account.share, Ordering::Relaxed);
        }
    }

    /// Takes one retry. `false`: none is left, which is counted.
    pub(crate) fn try_take(&self) -> bool {
        let taken = self.0.take_at(self.0.started.elapsed());
        if !taken {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl BudgetState {
    fn take_at(&self, since_start: Duration) -> bool {
        self.refill(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX));
        let take = |saved: Milli| saved.min(self.most).checked_sub(WHOLE);
        let order = Ordering::Relaxed;
        self.saved.fetch_update(order, order, take).is_ok()
    }

    /// Adds the floor for the time that has passed. One caller adds each stretch of time.
    fn refill(&self, now: u64) {
        let before = self.refilled.load(Ordering::Relaxed);
        let passed = now.saturating_sub(before).min(KEPT_SECONDS * 1000);
        let due = passed * self.floor / 1000;
        if due == 0 {
            return;
        }
        let order = Ordering::Relaxed;
        if self
            .refilled
            .compare_exchange(before, now, order, order)
            .is_ok()
        {
            self.saved.fetch_add(due, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &RetryBudget, at: Duration) -> usize {
        (0..10_000).take_while(|_| budget.0.take_at(at)).count()
    }

    #[test]
    fn a_share_of_the_requests_is_tried_again() {
        let budget = RetryBudget::new(0.2, 0);
        assert_eq!(taken(&budget, Duration::ZERO), 0);
        (0..50).for_each(|_| budget.request_begins());
        assert_eq!(taken(&budget, Duration::ZERO), 10);
        (0..100_000).for_each(|_| budget.request_begins());
        assert_eq!(taken(&budget, Duration::ZERO), MOST_SAVED as usize);
    }

    #[test]
    fn the_floor_comes_with_time() {
        let budget = RetryBudget::new(0.0, 5);
        let mut at = Duration::ZERO;
        assert_eq!(taken(&budget, at), 5);
        for (seconds, expected) in [(1, 5), (2, 10), (100, 50), (0, 0)] {
            at += Duration::from_secs(seconds);
            assert_eq!(taken(&budget, at), expected, "after {seconds} s");
        }
        assert_eq!(taken(&budget, Duration::MAX), 50);
    }

    #[test]
    fn odd_numbers_are_taken_as_documented() {
        for (share, floor, expected) in [
            (f64::NAN, 0, 0),
            (-1.0, 0, 0),
            (f64::INFINITY, 0, 10),
            (0.0, u32::MAX, 10_000),
        ] {
            let budget = RetryBudget::new(share, floor);
            budget.request_begins();
            assert_eq!(taken(&budget, Duration::ZERO), expected, "{share} {floor}");
        }
    }

    #[test]
    fn what_is_taken_at_once_is_never_more_than_there_is() {
        let budget = RetryBudget::new(0.0, 1000);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| taken(&budget, Duration::ZERO)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
        assert!(!budget.0.take_at(Duration::ZERO));
        assert_eq!(budget.refused(), 0);
    }
}
