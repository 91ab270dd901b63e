//! Timers that are registered first and waited for later.

use crate::Deadline;
use std::time::Duration;

/// Gives timers. The runtime of whoever waits for one does the work, so that this holds nothing.
#[derive(Debug, Default)]
pub struct TimerManager {
    _private: (),
}

impl TimerManager {
    /// A source of timers. Costs nothing.
    pub fn new() -> Self {
        TimerManager::default()
    }

    /// A timer that begins now.
    pub fn register_timer(&self, duration: Duration) -> TimerStub {
        TimerStub(Deadline::after(duration), duration)
    }

    /// Nothing has to pause before a process forks: there is no thread of timers.
    pub fn pause_for_fork(&self) {}

    /// The counterpart of [`TimerManager::pause_for_fork`]; it does nothing either.
    pub fn unpause(&self) {}
}

/// A timer that runs.
#[derive(Debug)]
pub struct TimerStub(
    Deadline,
    #[expect(dead_code, reason = "shown by Debug")] Duration,
);

impl TimerStub {
    /// Waits until the time is over; not at all if it already is. Safe to cancel.
    pub async fn poll(self) {
        self.0.passed().await;
    }
}
