//! Measurements of the requests to one backend. They outlive the backend's membership for as long as requests
//! are in progress, and are shared by all sets of a registry.

use crate::circuit::Circuit;
use crate::clock::millis;
use crate::figures::Counts;
use crate::latency::{Average, Follow};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The minimum time that a failure counts as, so that a backend that fails quickly does not look
/// fast.
const FAILURE: Duration = Duration::from_secs(1);
/// The share of its weight that a backend has when it comes back.
const COLD: f64 = 0.1;

/// Measurements of the requests to one backend, and what they say about its readiness.
///
/// The order of the fields counts: what every selection reads shares one cache line, which requests don't write
/// to as long as all is well.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Load {
    pub(crate) circuit: Circuit,
    /// The result of the health check.
    healthy: AtomicBool,
    /// The maximum number of concurrent requests; 0: without limit.
    cap: AtomicUsize,
    /// When, and for how long, the backend is warming up, in milliseconds; not at all if the latter is
    /// 0.
    warm_from: AtomicU64,
    warm_for: AtomicU64,
    written: Written,
    pub(crate) counts: Counts,
}

/// What each request writes, and selections by load read.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Written {
    in_flight: AtomicUsize,
    peaks: Average,
    mean: Average,
}

impl Load {
    /// Whether another request may begin, according to health, circuit and their number. Reads the clock only if
    /// the circuit is not closed.
    #[inline]
    pub(crate) fn is_ready(&self, now: impl Fn() -> Duration) -> bool {
        self.is_healthy() && self.circuit.admits(now) && self.has_room()
    }

    #[inline]
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.written.in_flight.load(Ordering::Relaxed)
    }

    /// [`in_flight`](Self::in_flight) to compute with.
    #[inline]
    pub(crate) fn busyness(&self) -> f64 {
        // Signed, because that is one instruction.
        self.in_flight() as i64 as f64
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.written.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request begins, unless there are too many.
    pub(crate) fn try_begin(&self) -> bool {
        match self.cap.load(Ordering::Relaxed) {
            0 => self.begin(),
            cap => {
                let more = |count| (count < cap).then_some(count + 1);
                let order = Ordering::Relaxed;
                let in_flight = &self.written.in_flight;
                return in_flight.fetch_update(order, order, more).is_ok();
            }
        }
        true
    }

    /// A request has ended. Returns whether another one may be waiting for that.
    pub(crate) fn end(&self) -> bool {
        self.written.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.cap.load(Ordering::Relaxed) > 0
    }

    /// Sets the maximum number of concurrent requests; 0: without limit.
    pub(crate) fn set_cap(&self, cap: usize) {
        self.cap.store(cap, Ordering::Relaxed);
    }

    /// Whether another request may begin, according to their number.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        match self.cap.load(Ordering::Relaxed) {
            0 => true,
            cap => self.in_flight() < cap,
        }
    }

    /// Forgets the backend's latency, because it is ejected or has come back: a selector that considers it
    /// slow would send it no probes.
    pub(crate) fn forget_latency(&self) {
        self.written.peaks.clear();
        self.written.mean.clear();
    }

    /// An answer took `time`; if `failed`, it counts as slow. Failures of a backend that is already
    /// ejected are ignored.
    pub(crate) fn observe(&self, now: Duration, time: Duration, failed: bool) {
        if failed && !self.circuit.is_closed() {
            return;
        }
        let time = if failed { time.max(FAILURE) } else { time };
        self.written.peaks.observe(Follow::Peaks, now, time);
        self.written.mean.observe(Follow::Evenly, now, time);
    }

    /// The latency in microseconds, where slow answers count at once; `None` if none is known.
    #[inline]
    pub(crate) fn peak_latency(&self, now: Duration) -> Option<u32> {
        self.written.peaks.at(now)
    }

    /// The [latencies](Self::peak_latency) of two, for comparing them with each other.
    #[inline]
    pub(crate) fn peak_latencies(a: &Load, b: &Load) -> (Option<u32>, Option<u32>) {
        Average::side_by_side(&a.written.peaks, &b.written.peaks)
    }

    /// The average latency in microseconds; `None` if none is known.
    #[inline]
    pub(crate) fn mean_latency(&self, now: Duration) -> Option<u32> {
        self.written.mean.at(now)
    }

    /// The backend has come back: for `time`, it gets less than its share.
    pub(crate) fn warm_up(&self, now: Duration, time: Duration) {
        self.forget_latency();
        self.warm_from.store(millis(now), Ordering::Relaxed);
        self.warm_for.store(millis(time), Ordering::Relaxed);
    }

    /// Whether it has all of its weight; false negatives are possible.
    #[inline]
    pub(crate) fn is_warm(&self) -> bool {
        self.warm_for.load(Ordering::Relaxed) == 0
    }

    /// The share of its weight that the backend has: 1 unless it has just come back.
    #[inline]
    pub(crate) fn warmth(&self, now: impl Fn() -> Duration) -> f64 {
        match self.warm_for.load(Ordering::Relaxed) {
            0 => 1.0,
            time => self.warming(millis(now()), time),
        }
    }

    #[cold]
    fn warming(&self, now: u64, time: u64) -> f64 {
        let gone = now.saturating_sub(self.warm_from.load(Ordering::Relaxed));
        if gone >= time {
            self.warm_for.store(0, Ordering::Relaxed);
            return 1.0;
        }
        (gone as f64 / time as f64).max(COLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn a_backend_that_is_back_gets_its_share_gradually() {
        let load = Load::default();
        let at = |seconds| load.warmth(|| Duration::from_secs(seconds));
        assert!((at(0) - 1.0).abs() < 1e-9);
        load.warm_up(Duration::from_secs(100), Duration::from_secs(10));
        for (second, expected) in [(99, COLD), (100, COLD), (105, 0.5), (109, 0.9), (110, 1.0)] {
            assert!((at(second) - expected).abs() < 1e-9, "{second}");
        }
        assert!((at(101) - 1.0).abs() < 1e-9, "once warm, it stays so");
    }

    #[test]
    fn what_selections_read_is_apart_from_what_requests_write() {
        let line = |offset: usize| offset / 64;
        let read = [
            offset_of!(Load, circuit),
            offset_of!(Load, healthy),
            offset_of!(Load, cap),
            offset_of!(Load, warm_for),
        ];
        assert!(read.iter().all(|offset| line(*offset) == 0), "{read:?}");
        assert_eq!(line(offset_of!(Load, written)), 1);
    }

    #[test]
    fn a_cap_is_never_exceeded() {
        let load = Load::default();
        assert!(load.try_begin());
        load.set_cap(2);
        assert!(load.has_room() && load.try_begin());
        assert!(!load.has_room() && !load.try_begin());
        load.begin();
        assert_eq!(load.in_flight(), 3, "one that has to begin does");
        load.set_cap(0);
        assert!(load.try_begin());
    }

    #[test]
    fn quick_failures_are_not_fast() {
        let load = Load::default();
        load.observe(FAILURE, Duration::from_millis(1), true);
        assert_eq!(load.peak_latency(FAILURE), Some(1_000_000));
    }
}
