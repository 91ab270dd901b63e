//! How much a peer may ask for that is no useful work.
//!
//! Each kind of work has a budget, which useful work refills: who gets responses may reset streams
//! now and then, who takes data has to update windows. Time refills it as well, slowly, for peers
//! that ping a connection on which nothing happens for hours.

use super::frames::{END_OR_ACK, FrameHead, kind};
use std::time::Duration;
use tokio::time::Instant;

/// What a peer did too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It had too many streams reset, by itself (CVE-2023-44487) or by making us do it
    /// (CVE-2025-8671).
    Resets,
    /// It sent too many frames that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
    /// CONTINUATION, empty DATA, unknown ones.
    Overhead,
}

impl Offence {
    /// What happened, for the log.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Offence::Resets => "too many streams were reset before they were answered",
            Offence::Overhead => "too many frames carry nothing",
        }
    }
}

/// What one response makes up for, and what one piece of data does.
const PER_RESPONSE: u32 = 4;
const PER_DATA: u32 = 2;

#[derive(Debug, Clone)]
struct Bucket {
    left: u32,
    most: u32,
    /// One is added for each such time, counted when the bucket is found empty.
    refill: Duration,
    /// Up to when time was counted.
    since: Instant,
}

impl Bucket {
    fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Bucket {
            left: most,
            most,
            refill: Duration::from_secs(1) / per_second.max(1),
            since: now,
        }
    }

    fn add(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(self.most);
    }

    /// `false`: there is nothing left. Asks for the time only then.
    fn take(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let waited = now.saturating_duration_since(self.since).as_nanos();
            let earned = waited / self.refill.as_nanos().max(1);
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

/// How much of each kind a connection allows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Streams that were reset and not answered.
    pub(crate) resets: u32,
    /// Frames that carry nothing.
    pub(crate) overhead: u32,
}

/// What is left of a connection's allowance.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    resets: Bucket,
    overhead: Bucket,
}

impl Budget {
    /// Of a connection that begins now. Time gives back a twentieth of each allowance per second.
    pub(crate) fn new(allowance: Allowance, now: Instant) -> Self {
        let bucket = |most: u32| Bucket::new(most, most / 20, now);
        Budget {
            resets: bucket(allowance.resets),
            overhead: bucket(allowance.overhead),
        }
    }

    /// The peer sent this frame.
    ///
    /// # Errors
    /// Where it has done so too often.
    #[inline]
    pub(crate) fn received(
        &mut self,
        head: FrameHead,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Offence> {
        match head.kind {
            kind::HEADERS => Ok(()),
            kind::DATA if head.length > 0 || head.flags & END_OR_ACK != 0 => Ok(()),
            kind::RST_STREAM => self.reset(now),
            _ if self.overhead.take(now) => Ok(()),
            _ => Err(Offence::Overhead),
        }
    }

    /// We sent this frame.
    ///
    /// # Errors
    /// Where the peer has made us do so too often.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        head: FrameHead,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Offence> {
        match head.kind {
            kind::HEADERS => {
                self.resets.add(1);
                self.overhead.add(PER_RESPONSE);
                Ok(())
            }
            kind::DATA => {
                self.overhead.add(PER_DATA);
                Ok(())
            }
            kind::RST_STREAM => self.reset(now),
            _ => Ok(()),
        }
    }

    fn reset(&mut self, now: impl FnOnce() -> Instant) -> Result<(), Offence> {
        match self.resets.take(now) {
            true => Ok(()),
            false => Err(Offence::Resets),
        }
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
