//! Counting one request.

use super::histogram;
use super::listener::{FailedSide, Listener, RequestEnd};
use super::recent::is_slow;
use super::workers::COUNTS;
use crate::sys::ticks;
use std::time::Duration;

/// Measures one request, from its head to its end. Looks at the clock three times; costs no allocation.
#[derive(Debug)]
pub struct RequestMeter {
    /// In ticks.
    began: u64,
    /// Until the head of the upstream's response, in units of 2⁻²⁰ s; zero: not yet.
    first_byte: u32,
    listener: Listener,
    /// Tries over connections that were kept, and over new ones.
    reused: u8,
    fresh: u8,
    ended: bool,
}

impl Drop for RequestMeter {
    /// A request whose task was ended from outside is active no longer, and counts nowhere else.
    fn drop(&mut self) {
        if COUNTS && !self.ended {
            self.listener.request_given_up();
        }
    }
}

impl RequestMeter {
    /// The head of a request has arrived here.
    #[inline]
    pub fn begin(listener: Listener) -> Self {
        if COUNTS {
            listener.request_begins();
        }
        RequestMeter {
            began: if COUNTS { ticks::now() } else { 0 },
            first_byte: 0,
            listener,
            reused: 0,
            fresh: 0,
            ended: false,
        }
    }

    /// The head of the upstream's response has arrived; of several, the first counts.
    #[inline]
    pub fn answered(&mut self) {
        if COUNTS && self.first_byte == 0 {
            let units = ticks::units_since(self.began);
            self.first_byte = u32::try_from(units).unwrap_or(u32::MAX).max(1);
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
        histogram::duration(ticks::units_since(self.began))
    }

    /// The trace of this request was kept: it becomes the example for the buckets that its times are counted in, see
    /// [`Histogram::exemplars`](super::Histogram::exemplars). To be called when the request ends.
    #[cold]
    pub fn trace_kept(&self, trace_id: u128) {
        let took = ticks::units_since(self.began).max(1);
        self.listener.trace_kept(trace_id, took, self.first_byte);
    }

    /// The request has ended, however. Returns its duration if that is worth remembering: see
    /// [`slow_after`](super::slow_after).
    #[inline]
    pub fn end(&mut self, end: &RequestEnd) -> Option<Duration> {
        self.ended = true;
        if !COUNTS {
            return None;
        }
        // A request takes time, however little.
        let took = ticks::units_since(self.began).max(1);
        self.listener
            .request_ends(end, [self.fresh, self.reused], took, self.first_byte);
        is_slow(took).then(|| histogram::duration(took))
    }
}
