//! Counting one request.

use super::listener::{FailedSide, Listener, RequestEnd};
use super::recent::slow_after;
use std::time::{Duration, Instant};

/// Measures one request, from its head to its end. Looks at the clock three times; costs no allocation.
#[derive(Debug)]
pub struct RequestMeter {
    began: Instant,
    /// Until the head of the upstream's response; zero: not yet.
    first_byte: Duration,
    listener: Listener,
    /// Tries over connections that were kept, and over new ones.
    reused: u16,
    fresh: u16,
    ended: bool,
}

impl Drop for RequestMeter {
    /// A request whose task was ended from outside is active no longer, and counts nowhere else.
    fn drop(&mut self) {
        if !self.ended {
            self.listener.request_given_up();
        }
    }
}

impl RequestMeter {
    /// The head of a request has arrived here.
    #[inline]
    pub fn begin(listener: Listener) -> Self {
        listener.request_begins();
        RequestMeter {
            began: Instant::now(),
            first_byte: Duration::ZERO,
            listener,
            reused: 0,
            fresh: 0,
            ended: false,
        }
    }

    /// The head of the upstream's response has arrived; of several, the first counts.
    #[inline]
    pub fn answered(&mut self) {
        if self.first_byte.is_zero() {
            self.first_byte = self.began.elapsed();
        }
    }

    /// A try has a connection; `reused`: one that was kept from an earlier request.
    #[inline]
    pub fn tried(&mut self, reused: bool) {
        let tries = if reused {
            &mut self.reused
        } else {
            &mut self.fresh
        };
        *tries = tries.saturating_add(1);
    }

    /// The request has failed.
    #[cold]
    pub fn failed(&self, side: FailedSide) {
        self.listener.request_failed(side);
    }

    /// How long the request has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The request has ended, however. Returns its duration if that is worth remembering: see [`slow_after`].
    #[inline]
    pub fn end(&mut self, end: &RequestEnd) -> Option<Duration> {
        self.ended = true;
        let took = self.began.elapsed();
        self.listener
            .request_ends(end, [self.fresh, self.reused], took, self.first_byte);
        slow_after().filter(|limit| took >= *limit).map(|_| took)
    }
}
