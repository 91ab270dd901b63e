//! The common part of selectors that use the state of backends.

use super::BackendIter;
use crate::backends::Member;
use crate::clock::now;
use crate::{Backend, Candidates};
use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};
use std::time::Duration;

/// Backends in an order computed for one request: the best first, then those that are not ready.
#[derive(Debug)]
pub struct OrderedIterator {
    candidates: Candidates,
    order: std::vec::IntoIter<usize>,
}

impl BackendIter for OrderedIterator {
    fn next(&mut self) -> Option<&Backend> {
        self.candidates.backend(self.order.next()?)
    }
}

impl OrderedIterator {
    /// By `cost`, lowest first, among those with a weight. `turn` decides between equals.
    pub(super) fn by(
        candidates: &Candidates,
        turn: usize,
        cost: impl Fn(usize, &Member, f64) -> f64,
    ) -> OrderedIterator {
        let all = candidates.0.all();
        let weighted = all.iter().enumerate();
        let weighted = weighted.filter(|(_, member)| member.has_weight());
        let mut order: Vec<(bool, f64, usize)> = weighted
            .map(|(index, member)| {
                let cost = cost(index, member, member.weight(now));
                (!member.is_ready(now), cost, index)
            })
            .collect();
        let begin = turn.checked_rem(order.len()).unwrap_or(0);
        order.rotate_left(begin);
        order.sort_by(|a, b| {
            let by_cost = || a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal);
            a.0.cmp(&b.0).then_with(by_cost)
        });
        let order: Vec<usize> = order.into_iter().map(|(_, _, index)| index).collect();
        OrderedIterator {
            candidates: candidates.clone(),
            order: order.into_iter(),
        }
    }
}

/// How many equals are remembered; more are looked for once more.
const REMEMBERED: usize = 128;

/// The index of the candidate with the lowest `cost`, which gets its index and weight, too, among those with a weight that `may` accepts. Equals
/// take turns, in proportion to their weights.
fn cheapest(
    candidates: &Candidates,
    turn: usize,
    now: impl Fn() -> Duration + Copy,
    may: impl Fn(&Member) -> bool,
    cost: impl Fn(usize, &Member, f64) -> f64,
) -> Option<usize> {
    let all = candidates.0.all();
    let usable = || {
        let members = all.iter().enumerate();
        members.filter(|(_, member)| member.has_weight() && may(member))
    };
    let mut lowest = f64::INFINITY;
    let mut equals = Equals::default();
    for (index, member) in usable() {
        let weight = member.weight(now);
        let cost = cost(index, member, weight);
        if cost > lowest {
            continue;
        }
        if cost < lowest {
            lowest = cost;
            equals.forget();
        }
        equals.add(index, weight);
    }
    let width = |index: usize| all.get(index).map_or(1, |m| sixteenths(m.weight(now)));
    match equals.remembered() {
        Some([]) => None,
        Some([only]) => Some(*only as usize),
        Some(indices) => {
            let indices = indices.iter().map(|index| *index as usize);
            equals.choose(turn, indices, width)
        }
        None => {
            let cost = |index, member: &Member| cost(index, member, member.weight(now));
            let again = usable().filter(|(index, member)| cost(*index, member) <= lowest);
            let first = equals.indices.first().map(|index| *index as usize);
            let chosen = equals.choose(turn, again.map(|(index, _)| index), width);
            // Their state may have changed in between.
            chosen.or(first)
        }
    }
}

/// A weight as a whole number, which also tells apart backends that are warming up.
fn sixteenths(weight: f64) -> usize {
    ((weight * 16.0) as usize).max(1)
}

/// Backends that cost the same.
struct Equals {
    count: usize,
    /// Of the first one.
    weight: f64,
    /// Whether others have another weight.
    mixed: bool,
    /// The first ones.
    indices: [u32; REMEMBERED],
}

impl Default for Equals {
    fn default() -> Self {
        Equals {
            count: 0,
            weight: 0.0,
            mixed: false,
            indices: [0; REMEMBERED],
        }
    }
}

impl Equals {
    fn forget(&mut self) {
        self.count = 0;
        self.mixed = false;
    }

    #[inline]
    fn add(&mut self, index: usize, weight: f64) {
        if let Some(place) = self.indices.get_mut(self.count) {
            *place = index as u32;
        }
        if self.count == 0 {
            self.weight = weight;
        }
        self.mixed |= self.weight != weight;
        self.count += 1;
    }

    /// Their indices; `None` if there are too many.
    fn remembered(&self) -> Option<&[u32]> {
        self.indices.get(..self.count)
    }

    /// The one of `indices` whose turn it is: in sequence if weights are equal, otherwise spread over a line on
    /// which each is as wide as its weight (a Weyl sequence), so that a heavy backend does not get its turns in
    /// a row.
    fn choose(
        &self,
        turn: usize,
        mut indices: impl Iterator<Item = usize> + Clone,
        width: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        if !self.mixed {
            return indices.nth(turn.checked_rem(self.count)?);
        }
        let widths = indices.clone().map(&width);
        let line = widths.fold(0, usize::saturating_add);
        let spread = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut place = ((u128::from(spread) * line as u128) >> 64) as usize;
        indices.find(|index| match place.checked_sub(width(*index)) {
            Some(rest) => {
                place = rest;
                false
            }
            None => true,
        })
    }
}

/// [`cheapest`] among those that are ready, or, if almost none is and a program wants that, among all.
pub(super) fn cheapest_ready(
    candidates: &Candidates,
    turn: usize,
    now: impl Fn() -> Duration + Copy,
    cost: impl Fn(usize, &Member, f64) -> f64,
) -> Option<usize> {
    if candidates.is_panicking() {
        return cheapest(candidates, turn, now, Member::is_enabled, cost);
    }
    cheapest(candidates, turn, now, |m| m.is_ready(now), cost)
}

/// Numbers the turns, across all threads. On cache lines of its own: every selection writes to it, and would take
/// away from the other workers what lies beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Turns(AtomicUsize);

impl Turns {
    #[inline]
    pub(super) fn next(&self) -> usize {
        self.0.fetch_add(1, AtomicOrdering::Relaxed)
    }

    /// The number of the next one, without taking it.
    pub(super) fn upcoming(&self) -> usize {
        self.0.load(AtomicOrdering::Relaxed)
    }
}
