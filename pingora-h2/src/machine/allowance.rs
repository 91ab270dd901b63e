//! Limits on the work that a peer may cause without doing anything useful.
//!
//! Each kind of work has a budget that useful work refills: a client that gets responses may reset
//! streams now and then, and a receiver of data has to update windows. Time also refills it, slowly,
//! for peers that ping an otherwise idle connection for hours.

use super::Clock;
use std::time::{Duration, Instant};

/// The kind of abuse that a peer is guilty of. Its connection ends with `ENHANCE_YOUR_CALM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// Too many streams were reset, by the peer itself (CVE-2023-44487) or by us because of it
    /// (CVE-2025-8671).
    Resets,
    /// The peer sent too many frames without useful content: PING, SETTINGS, PRIORITY,
    /// WINDOW_UPDATE, CONTINUATION, empty DATA, unknown ones.
    Overhead,
    /// One header block came in too many frames, or in too many bytes.
    HeaderBlock,
}

impl Offence {
    /// A description for the log.
    pub fn describe(self) -> &'static str {
        match self {
            Offence::Resets => "too many streams were reset before they were answered",
            Offence::Overhead => "too many frames carry nothing",
            Offence::HeaderBlock => "a header block is longer than any that could be accepted",
        }
    }
}

/// The credit for each message that we send, and for each data frame.
const PER_MESSAGE: u32 = 4;
const PER_DATA: u32 = 2;

#[derive(Debug, Clone)]
struct Bucket {
    left: u32,
    most: u32,
    /// The time up to which the refill has been counted.
    since: Instant,
}

impl Bucket {
    fn new(most: u32, now: Instant) -> Self {
        let left = most;
        Bucket {
            left,
            most,
            since: now,
        }
    }

    fn add(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(self.most);
    }

    /// `false`: the budget is exhausted. Reads the clock only in that case. A twentieth of the
    /// budget is refilled per second.
    fn take(&mut self, clock: Clock<'_>) -> bool {
        if self.left == 0 {
            let now = clock();
            let refill = Duration::from_secs(1) / (self.most / 20).max(1);
            let waited = now.saturating_duration_since(self.since).as_nanos();
            let earned = waited / refill.as_nanos().max(1);
            self.since = now;
            self.add(u32::try_from(earned).unwrap_or(u32::MAX));
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The rest of a connection's allowance.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    resets: Bucket,
    overhead: Bucket,
}

impl Allowance {
    pub(crate) fn new(resets: u32, overhead: u32, now: Instant) -> Self {
        Allowance {
            resets: Bucket::new(resets, now),
            overhead: Bucket::new(overhead, now),
        }
    }

    /// A stream was reset: by the peer, or by us because of the peer's fault.
    pub(crate) fn reset(&mut self, clock: Clock<'_>) -> Result<(), Offence> {
        if self.resets.take(clock) {
            Ok(())
        } else {
            Err(Offence::Resets)
        }
    }

    /// The peer sent a frame without useful content.
    pub(crate) fn overhead(&mut self, clock: Clock<'_>) -> Result<(), Offence> {
        if self.overhead.take(clock) {
            Ok(())
        } else {
            Err(Offence::Overhead)
        }
    }

    /// We sent a message's head.
    pub(crate) fn message_sent(&mut self) {
        self.resets.add(1);
        self.overhead.add(PER_MESSAGE);
    }

    /// We sent a frame of data.
    pub(crate) fn data_sent(&mut self) {
        self.overhead.add(PER_DATA);
    }

    /// The peer sent a piece of a body. Data provokes frames without useful content in both
    /// directions, so it refills the budget.
    pub(crate) fn data_received(&mut self) {
        self.overhead.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2023-44487 and CVE-2025-8671: resets count, whichever side sends them.
    #[test]
    fn resets_are_bounded_and_refilled_by_answers_and_time() {
        let start = Instant::now();
        let mut account = Allowance::new(40, 10, start);
        let at = |seconds: u64| move || start + Duration::from_secs(seconds);
        for _ in 0..40 {
            assert_eq!(account.reset(&at(0)), Ok(()));
        }
        assert_eq!(account.reset(&at(0)), Err(Offence::Resets));
        account.message_sent();
        assert_eq!(account.reset(&at(0)), Ok(()));
        assert_eq!(account.reset(&at(0)), Err(Offence::Resets));
        // Two per second.
        assert_eq!(account.reset(&at(1)), Ok(()));
        assert_eq!(account.reset(&at(1)), Ok(()));
        assert_eq!(account.reset(&at(1)), Err(Offence::Resets));
    }

    /// CVE-2019-9512, -9513, -9515, -9516, -9518: PING, PRIORITY, SETTINGS, empty frames.
    #[test]
    fn frames_that_carry_nothing_are_bounded_and_refilled_by_work() {
        let now = Instant::now();
        let clock = move || now;
        let mut account = Allowance::new(10, 3, now);
        for _ in 0..3 {
            assert_eq!(account.overhead(&clock), Ok(()));
        }
        assert_eq!(account.overhead(&clock), Err(Offence::Overhead));
        account.data_sent();
        assert_eq!(account.overhead(&clock), Ok(()));
        assert_eq!(account.overhead(&clock), Ok(()));
        assert_eq!(account.overhead(&clock), Err(Offence::Overhead));
        for _ in 0..100 {
            account.message_sent();
        }
        for _ in 0..3 {
            assert_eq!(
                account.overhead(&clock),
                Ok(()),
                "no more than the allowance"
            );
        }
        assert_eq!(account.overhead(&clock), Err(Offence::Overhead));
    }
}
