//! Selection of the better of two: by latency and requests in progress.

use super::BackendSelection;
use super::least::work;
use super::ordered::OrderedIterator;
use super::weighted::schedule;
use crate::backends::{Member, Panic};
use crate::clock::now;
use crate::load::Load;
use crate::{Backend, Candidates};
use std::collections::BTreeSet;
use std::fmt;
use std::hint::select_unpredictable;
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
    #[inline]
    pub(crate) fn pick(&self, now: impl Fn() -> Duration + Copy) -> Option<usize> {
        let members = &*self.candidates.0;
        let panic = Panic::default();
        let may = |member: &Member| member.is_ready(now) || panic.takes(members, member);
        let drawn = fastrand::u64(..);
        let one = self.at(drawn >> 32, may, None);
        let one = one.or_else(|| self.draw(may, None))?;
        let other = self.at(drawn & u64::from(u32::MAX), may, Some(one));
        Some(match other.or_else(|| self.draw(may, Some(one))) {
            Some(other) => self.better(one, other, now),
            None => one,
        })
    }

    /// The one to which `number`, of 32 bits, leads, if it is selectable.
    #[inline]
    fn at(&self, number: u64, may: impl Fn(&Member) -> bool, not: Option<usize>) -> Option<usize> {
        // There are far fewer than 2³² places.
        let place = (number * self.places.len() as u64) >> 32;
        let index = *self.places.get(place as usize)? as usize;
        let member = self.candidates.0.all().get(index)?;
        (Some(index) != not && may(member)).then_some(index)
    }

    /// A selectable one, drawn by weight; after some draws in vain, if there is no other way to find one, any.
    #[cold]
    fn draw(&self, may: impl Fn(&Member) -> bool + Copy, not: Option<usize>) -> Option<usize> {
        let drawn = (1..DRAWS).find_map(|_| self.at(u64::from(fastrand::u32(..)), may, not));
        drawn.or_else(|| {
            if not.is_none() || self.candidates.len() <= DRAWS {
                self.search(may, not)
            } else {
                None
            }
        })
    }

    /// A selectable one, whatever the weights: if few are left, draws find none.
    #[cold]
    fn search(&self, may: impl Fn(&Member) -> bool, not: Option<usize>) -> Option<usize> {
        let all = self.candidates.0.all();
        let usable = |index: &usize| {
            let weighs = |member: &&Member| member.has_weight();
            Some(*index) != not && all.get(*index).filter(weighs).is_some_and(&may)
        };
        let count = (0..all.len()).filter(usable).count();
        (0..all.len()).filter(usable).nth(random_below(count)?)
    }

    #[inline]
    fn better(&self, one: usize, other: usize, now: impl Fn() -> Duration + Copy) -> usize {
        let all = self.candidates.0.all();
        let (Some(a), Some(b)) = (all.get(one), all.get(other)) else {
            return one;
        };
        let (of_a, of_b) = Load::peak_latencies(a.load(), b.load());
        let unknown = of_a.or(of_b).unwrap_or(1);
        // The quotients of work and weight, compared without dividing.
        let costs_a = work(a, of_a.unwrap_or(unknown)) * b.weight(now);
        let costs_b = work(b, of_b.unwrap_or(unknown)) * a.weight(now);
        // Both were drawn at random, so equals need no further draw; and no branch could be predicted.
        select_unpredictable(costs_b < costs_a, other, one)
    }
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
        OrderedIterator::by(&self.candidates, turn, |_, member, weight| {
            let latency = member.load().peak_latency(time).unwrap_or(1);
            work(member, latency) / weight
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
