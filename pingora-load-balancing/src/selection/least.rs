//! Selection of the least busy backend.

use super::BackendSelection;
use super::ordered::{OrderedIterator, Turns, cheapest_ready};
use crate::backends::Member;
use crate::clock::{now, roughly};
use crate::{Backend, Candidates};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
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
/// Costs time in proportion to the number of backends: all of them are examined for each request, and once more if more
/// than 128 are equal. That is some 4 ns for each backend, 0.45 µs for a hundred. Counts of requests and readiness
/// change at any moment, so no order of the backends that was made before could be trusted; with thousands of them,
/// `PeakEwma` costs the same as with two.
pub struct LeastConnections {
    candidates: Candidates,
    turns: Turns,
}

impl LeastConnections {
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let turn = self.turns.next();
        cheapest_ready(&self.candidates, turn, now, |_, member, weight| {
            connections(member, weight)
        })
    }
}

/// Requests in progress for each unit of weight.
fn connections(member: &Member, weight: f64) -> f64 {
    member.load().busyness() / weight
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
            turns: Turns::default(),
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> OrderedIterator {
        let turn = self.turns.upcoming();
        OrderedIterator::by(&self.candidates, turn, |_, member, weight| {
            connections(member, weight)
        })
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
/// 7 ns for each backend, 0.75 µs for a hundred.
pub struct LeastTime {
    candidates: Candidates,
    turns: Turns,
}

impl LeastTime {
    #[cfg(test)]
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        self.pick_at(now(), now)
    }

    /// `time` is for the latencies.
    fn pick_at(&self, time: Duration, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let turn = self.turns.next();
        let latencies = Latencies::of(self.candidates.0.all(), time);
        cheapest_ready(&self.candidates, turn, now, |index, member, weight| {
            work(member, latencies.get(index, member)) / weight
        })
    }
}

/// How many latencies are remembered; others are read once more.
const REMEMBERED: usize = 128;

/// The average latencies of all members at one time.
struct Latencies {
    time: Duration,
    /// The lowest known one in microseconds.
    fastest: u32,
    /// Of the first members; 0: unknown.
    first: [u32; REMEMBERED],
}

impl Latencies {
    fn of(members: &[Member], time: Duration) -> Self {
        let (mut first, mut fastest) = ([0; REMEMBERED], u32::MAX);
        for (index, member) in members.iter().enumerate() {
            if let Some(latency) = member.load().mean_latency(time) {
                fastest = fastest.min(latency);
                if let Some(place) = first.get_mut(index) {
                    *place = latency;
                }
            }
        }
        Latencies {
            time,
            fastest,
            first,
        }
    }

    /// That of the member with this index. An unknown one counts as the fastest.
    #[inline]
    fn get(&self, index: usize, member: &Member) -> u32 {
        match self.first.get(index) {
            Some(0) => self.fastest,
            Some(known) => *known,
            None => {
                let known = member.load().mean_latency(self.time);
                known.unwrap_or(self.fastest)
            }
        }
    }
}

/// The time until all requests in progress and one more are answered, if they are one after the other.
pub(super) fn work(member: &Member, latency: u32) -> f64 {
    f64::from(latency) * (member.load().busyness() + 1.0)
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
            turns: Turns::default(),
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> OrderedIterator {
        let turn = self.turns.upcoming();
        let latencies = Latencies::of(self.candidates.0.all(), now());
        OrderedIterator::by(&self.candidates, turn, |index, member, weight| {
            work(member, latencies.get(index, member)) / weight
        })
    }

    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        self.candidates.backend(self.pick_at(roughly(), now)?)
    }

    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        self.pick_at(roughly(), now)
    }
}

impl fmt::Debug for LeastTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeastTime").field(&self.candidates).finish()
    }
}
