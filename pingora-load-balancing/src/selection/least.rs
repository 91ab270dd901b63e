//! Selection of the least busy backend.

use super::BackendSelection;
use super::ordered::{OrderedIterator, cheapest_ready};
use crate::backends::Member;
use crate::clock::now;
use crate::{Backend, Candidates};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The backend with the fewest requests in progress, in proportion to its weight. Equals take turns.
///
/// For requests of very different duration. The requests have to be counted: by
/// [leases](crate::LoadBalancer::lease) or [tickets](crate::Backends::begin); with bare `select` all
/// backends are always equal, and take turns.
///
/// Don't use it with several proxies in front of few backends, because each proxy sees only its own
/// requests; or where a broken backend answers quickly, because it is always the least busy: set a
/// [`Breaker`](crate::circuit::Breaker) or use [`PeakEwma`](super::PeakEwma).
///
/// Costs time in proportion to the number of backends: all of them are examined for each request, and those up to the
/// one whose turn it is once more if several are equal. That is some 12 ns for each backend, 1.2 µs for a hundred. Counts of
/// requests and readiness change at any moment, so no order of the backends that was made before could be trusted; with
/// thousands of them, `PeakEwma` costs the same as with two.
pub struct LeastConnections {
    candidates: Candidates,
    turn: AtomicUsize,
}

impl LeastConnections {
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        cheapest_ready(&self.candidates, turn, now, |member| {
            connections(member, now)
        })
    }
}

/// Requests in progress for each unit of weight.
fn connections(member: &Member, now: impl Fn() -> Duration) -> f64 {
    member.load().in_flight() as f64 / member.weight(now)
}

impl BackendSelection for LeastConnections {
    type Iter = OrderedIterator;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        LeastConnections::build_over(&Candidates::detached(backends), None)
    }

    fn build_over(candidates: &Candidates, _config: Option<&()>) -> Self {
        LeastConnections {
            candidates: candidates.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> OrderedIterator {
        let turn = self.turn.load(Ordering::Relaxed);
        OrderedIterator::by(&self.candidates, turn, |member| connections(member, now))
    }

    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        self.candidates.backend(self.pick(now)?)
    }

    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        self.pick(now)
    }
}

impl fmt::Debug for LeastConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeastConnections")
            .field(&self.candidates)
            .finish()
    }
}

/// The backend with the lowest product of average latency and requests in progress, in proportion
/// to its weight.
///
/// For a few backends of different speed. Latencies are those of response heads, which
/// [leases](crate::LoadBalancer::lease) and [tickets](crate::Backends::begin) report. An unknown backend
/// counts as being as fast as the fastest.
///
/// Don't use it where latency depends on the request rather than on the backend, or with many proxies: all
/// of them go to the fastest one at the same time; [`PeakEwma`](super::PeakEwma) is made for that.
///
/// Costs time in proportion to the number of backends: all of them are examined twice for each request, which is some
/// 18 ns for each backend, 1.8 µs for a hundred.
pub struct LeastTime {
    candidates: Candidates,
    turn: AtomicUsize,
}

impl LeastTime {
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (time, fastest) = (now(), self.fastest(now()));
        cheapest_ready(&self.candidates, turn, now, |member| {
            work(member, time, fastest, now)
        })
    }

    /// The lowest known latency in microseconds.
    fn fastest(&self, now: Duration) -> u32 {
        let members = self.candidates.0.all().iter();
        let known = members.filter_map(|member| member.load().mean_latency(now));
        known.min().unwrap_or(1)
    }
}

fn work(member: &Member, time: Duration, fastest: u32, now: impl Fn() -> Duration) -> f64 {
    let load = member.load();
    let latency = load.mean_latency(time).unwrap_or(fastest);
    f64::from(latency) * (load.in_flight() as f64 + 1.0) / member.weight(now)
}

impl BackendSelection for LeastTime {
    type Iter = OrderedIterator;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        LeastTime::build_over(&Candidates::detached(backends), None)
    }

    fn build_over(candidates: &Candidates, _config: Option<&()>) -> Self {
        LeastTime {
            candidates: candidates.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> OrderedIterator {
        let turn = self.turn.load(Ordering::Relaxed);
        let (time, fastest) = (now(), self.fastest(now()));
        OrderedIterator::by(&self.candidates, turn, |member| {
            work(member, time, fastest, now)
        })
    }

    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        self.candidates.backend(self.pick(now)?)
    }

    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        self.pick(now)
    }
}

impl fmt::Debug for LeastTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeastTime").field(&self.candidates).finish()
    }
}
