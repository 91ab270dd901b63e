//! Limits of time that a byte now and then does not put off.

use super::super::deadline::{DELIVERY_END, REQUEST_END, RESPONSE_END};
use super::super::state::{Exchange, RequestFlow, ResponseFlow};
use super::Turn;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::time::Instant;

/// A rate is that of so much time.
const WINDOW: Duration = Duration::from_secs(10);

/// When parts of an exchange have to be over, regardless of progress; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Until {
    /// The request's body, up to its end.
    pub request_body: Option<Instant>,
    /// How fast the request's body has to arrive.
    pub request_rate: Option<MinRate>,
    /// The response's head.
    pub response_head: Option<Instant>,
    /// The exchange as a whole, a tunnel included.
    pub end: Option<Instant>,
}

/// The minimum rate at which a body has to arrive. Pure: it is told the time and never asks for it.
///
/// ```text
/// begin ──▶ due in 10 s ── arrived(bytes): later by bytes ÷ rate, but never more than 10 s from now
///                       ── due(not read): stands still until the next due(read)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    bytes_per_second: NonZeroUsize,
    /// When the body has been too slow, without what has arrived since.
    due: Instant,
    arrived: usize,
    /// Since when the body is not read.
    paused: Option<Instant>,
}

impl MinRate {
    /// A body that is read from now on.
    pub fn begin(bytes_per_second: NonZeroUsize, now: Instant) -> Self {
        MinRate {
            bytes_per_second,
            due: now + WINDOW,
            arrived: 0,
            paused: None,
        }
    }

    /// So many bytes have arrived.
    pub fn arrived(&mut self, bytes: usize) {
        self.arrived = self.arrived.saturating_add(bytes);
    }

    /// When the body is too slow, unless more of it arrives; `None` while it is not `read`, because then its sender
    /// can do nothing.
    pub fn due(&mut self, read: bool, now: Instant) -> Option<Instant> {
        if let Some(since) = self.paused.take() {
            self.due += now.saturating_duration_since(since);
        }
        let arrived = std::mem::take(&mut self.arrived) as f64;
        let earned = arrived / self.bytes_per_second.get() as f64;
        let earned = Duration::from_secs_f64(earned.min(WINDOW.as_secs_f64()));
        self.due = (self.due + earned).min(now + WINDOW);
        if read {
            return Some(self.due);
        }
        self.paused = Some(now);
        None
    }
}

impl Turn {
    /// Sets when parts of the exchange have to be over, from now on.
    pub fn limit_until(&mut self, until: Until) {
        self.idles = false;
        self.until = Some(Box::new(until));
    }

    /// So many bytes of the request's body have arrived.
    #[inline]
    pub(super) fn note_request(&mut self, bytes: usize) {
        let until = self.until.as_mut();
        if let Some(rate) = until.and_then(|until| until.request_rate.as_mut()) {
            rate.arrived(bytes);
        }
    }

    /// The absolute limits, each with the side that the exchange is waiting for.
    pub(super) fn watch_until(
        &mut self,
        exchange: &Exchange,
        reads_body: bool,
        down_blocked: bool,
        now: Instant,
    ) {
        let Some(until) = self.until.as_deref_mut() else {
            return;
        };
        let is_open = exchange.request == RequestFlow::Open && !exchange.tunnel;
        let in_head = exchange.response == ResponseFlow::Head;
        let head = until.response_head.filter(|_| in_head);
        let (request, response, delivery) = if is_open {
            let rate = until.request_rate.as_mut();
            let due = rate.and_then(|rate| rate.due(reads_body, now));
            let request = earlier(until.request_body, until.end);
            (earlier(request, due), head, None)
        } else if down_blocked {
            (None, head, until.end)
        } else {
            (None, earlier(head, until.end), None)
        };
        self.deadlines.set(REQUEST_END, request);
        self.deadlines.set(RESPONSE_END, response);
        self.deadlines.set(DELIVERY_END, delivery);
    }
}

pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_body_that_keeps_to_the_rate_is_never_late() {
        let mut now = Instant::now();
        let mut rate = MinRate::begin(RATE, now);
        for _ in 0..1000 {
            now += seconds(2);
            rate.arrived(2000);
            assert!(rate.due(true, now).unwrap() > now);
        }
    }

    #[test]
    fn a_byte_now_and_then_puts_off_little() {
        let begun = Instant::now();
        let mut rate = MinRate::begin(RATE, begun);
        let mut now = begun;
        while rate.due(true, now).unwrap() > now {
            now += seconds(1);
            rate.arrived(1);
        }
        assert_eq!(now, begun + seconds(11));
    }

    #[test]
    fn a_fast_beginning_is_worth_ten_seconds() {
        let mut now = Instant::now();
        let mut rate = MinRate::begin(RATE, now);
        now += seconds(1);
        rate.arrived(usize::MAX);
        rate.arrived(1);
        assert_eq!(rate.due(true, now), Some(now + WINDOW));
    }

    #[test]
    fn the_time_in_which_nothing_is_read_does_not_count() {
        let mut now = Instant::now();
        let mut rate = MinRate::begin(RATE, now);
        now += seconds(9);
        assert_eq!(rate.due(false, now), None);
        now += seconds(100);
        assert_eq!(rate.due(false, now), None);
        now += seconds(100);
        assert_eq!(rate.due(true, now), Some(now + seconds(1)));
    }
}
