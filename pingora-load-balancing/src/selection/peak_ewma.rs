//! Selection of the better of two: by latency and requests in progress.

use super::BackendSelection;
use super::ordered::OrderedIterator;
use super::weighted::schedule;
use crate::backends::{Member, Panic};
use crate::clock::now;
use crate::{Backend, Candidates};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The number of times that a draw is repeated if it led to a backend that is not ready, or to the
/// same one again.
const DRAWS: usize = 4;

/// The better of two backends drawn at random, in proportion to their weights: the one with the lower
/// product of latency and requests in progress. A slow answer raises the latency at once, faster ones
/// lower it gradually (peak-EWMA), and it halves every seven seconds without an answer.
///
/// The choice for most sets: it follows differences in speed, avoids failing backends, costs the same for
/// any number of backends, and many proxies don't all choose the same backend. The requests have to be
/// reported: by [leases](crate::LoadBalancer::lease) or [tickets](crate::Backends::begin); with bare
/// `select` it is random selection.
///
/// Don't use it where latency depends on the request rather than on the backend (use
/// [`LeastConnections`](super::LeastConnections)), or where every backend has to get exactly its share.
pub struct PeakEwma {
    candidates: Candidates,
    /// Indices of candidates, each repeated in proportion to its weight.
    places: Box<[u32]>,
}

impl PeakEwma {
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let members = &*self.candidates.0;
        let panic = Panic::default();
        let may = |member: &Member| member.is_ready(now) || panic.takes(members, member);
        let one = self.draw(may, None).or_else(|| self.search(may, None))?;
        let other = self.draw(may, Some(one));
        let other = other.or_else(|| {
            if self.candidates.len() <= DRAWS {
                self.search(may, Some(one))
            } else {
                None
            }
        });
        Some(match other {
            Some(other) => self.better(one, other, now),
            None => one,
        })
    }

    /// A selectable one, drawn by weight.
    fn draw(&self, may: impl Fn(&Member) -> bool, not: Option<usize>) -> Option<usize> {
        let all = self.candidates.0.all();
        (0..DRAWS).find_map(|_| {
            let place = random_below(self.places.len())?;
            let index = *self.places.get(place)? as usize;
            let member = all.get(index)?;
            (Some(index) != not && may(member)).then_some(index)
        })
    }

    /// A selectable one, whatever the weights: if few are left, draws find none.
    #[cold]
    fn search(&self, may: impl Fn(&Member) -> bool, not: Option<usize>) -> Option<usize> {
        let all = self.candidates.0.all();
        let usable = |index: &usize| {
            let weighs = |member: &&Member| member.backend().weight > 0;
            Some(*index) != not && all.get(*index).filter(weighs).is_some_and(&may)
        };
        let count = (0..all.len()).filter(usable).count();
        (0..all.len()).filter(usable).nth(random_below(count)?)
    }

    fn better(&self, one: usize, other: usize, now: impl Fn() -> Duration + Copy) -> usize {
        let all = self.candidates.0.all();
        let (Some(a), Some(b)) = (all.get(one), all.get(other)) else {
            return one;
        };
        let time = now();
        let (of_a, of_b) = (a.load().peak_latency(time), b.load().peak_latency(time));
        let unknown = of_a.or(of_b).unwrap_or(1);
        let costs_a = cost(a, of_a.unwrap_or(unknown), now);
        let costs_b = cost(b, of_b.or(of_a).unwrap_or(unknown), now);
        // Both were drawn at random, so equals need no further draw.
        if costs_b < costs_a { other } else { one }
    }
}

fn cost(member: &Member, latency: u32, now: impl Fn() -> Duration) -> f64 {
    f64::from(latency) * (member.load().in_flight() as f64 + 1.0) / member.weight(now)
}

fn random_below(bound: usize) -> Option<usize> {
    (bound > 0).then(|| fastrand::usize(..bound))
}

impl BackendSelection for PeakEwma {
    type Iter = OrderedIterator;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        PeakEwma::build_over(&Candidates::detached(backends), None)
    }

    fn build_over(candidates: &Candidates, _config: Option<&()>) -> Self {
        let weights: Vec<u64> = candidates
            .iter()
            .map(|candidate| candidate.backend().weight as u64)
            .collect();
        PeakEwma {
            places: schedule(&weights),
            candidates: candidates.clone(),
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> OrderedIterator {
        let (turn, time) = (fastrand::usize(..), now());
        OrderedIterator::by(&self.candidates, turn, |member| {
            let latency = member.load().peak_latency(time).unwrap_or(1);
            cost(member, latency, now)
        })
    }

    #[inline]
    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        self.candidates.backend(self.pick(now)?)
    }

    #[inline]
    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        self.pick(now)
    }
}

impl fmt::Debug for PeakEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeakEwma").field(&self.candidates).finish()
    }
}
