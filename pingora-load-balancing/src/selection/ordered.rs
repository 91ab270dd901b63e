//! The common part of selectors that use the state of backends.

use super::BackendIter;
use crate::backends::Member;
use crate::clock::now;
use crate::{Backend, Candidates};
use std::cmp::Ordering;
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
        cost: impl Fn(&Member) -> f64,
    ) -> OrderedIterator {
        let all = candidates.0.all();
        let weighted = all.iter().enumerate();
        let weighted = weighted.filter(|(_, member)| member.backend().weight > 0);
        let mut order: Vec<(bool, f64, usize)> = weighted
            .map(|(index, member)| (!member.is_ready(now), cost(member), index))
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

/// The index of the candidate with the lowest `cost`, among those with a weight that `may` accepts. Equals
/// take turns, in proportion to their weights.
pub(super) fn cheapest(
    candidates: &Candidates,
    turn: usize,
    now: impl Fn() -> Duration + Copy,
    may: impl Fn(&Member) -> bool,
    cost: impl Fn(&Member) -> f64,
) -> Option<usize> {
    // In sixteenths, for backends that are warming up.
    let weight = |member: &Member| ((member.weight(now) * 16.0) as usize).max(1);
    let all = candidates.0.all();
    let usable = || {
        let members = all.iter().enumerate();
        members.filter(|(_, m)| m.backend().weight > 0 && may(m))
    };
    let mut best: Option<(f64, usize)> = None;
    let mut equals = Equals::default();
    for (index, member) in usable() {
        let cost = cost(member);
        match &best {
            Some((lowest, _)) if cost > *lowest => continue,
            Some((lowest, _)) if cost >= *lowest => {}
            _ => {
                best = Some((cost, index));
                equals = Equals::default();
            }
        }
        equals.add(weight(member));
    }
    let (lowest, first) = best?;
    if equals.count == 1 {
        return Some(first);
    }
    let mut place = equals.place(turn);
    for (index, member) in usable() {
        if cost(member) <= lowest {
            match place.checked_sub(equals.width(weight(member))) {
                Some(rest) => place = rest,
                None => return Some(index),
            }
        }
    }
    // Their state changed in between.
    Some(first)
}

/// Backends that cost the same.
#[derive(Default)]
struct Equals {
    count: usize,
    weights: usize,
    /// Of the first one; 0 if others have another weight.
    weight: usize,
}

impl Equals {
    fn add(&mut self, weight: usize) {
        if self.count == 0 {
            self.weight = weight;
        } else if self.weight != weight {
            self.weight = 0;
        }
        self.count += 1;
        self.weights = self.weights.saturating_add(weight);
    }

    /// The width of a backend on the line that [`Equals::place`] points to.
    fn width(&self, weight: usize) -> usize {
        if self.weight > 0 { 1 } else { weight }
    }

    /// Where the turn with this number falls: in sequence if weights are equal, otherwise spread over the
    /// line (a Weyl sequence), so that a heavy backend does not get its turns in a row.
    fn place(&self, turn: usize) -> usize {
        if self.weight > 0 {
            return turn % self.count;
        }
        let spread = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(spread) * self.weights as u128) >> 64) as usize
    }
}

/// [`cheapest`] among those that are ready, or, if almost none is and a program wants that, among all.
pub(super) fn cheapest_ready(
    candidates: &Candidates,
    turn: usize,
    now: impl Fn() -> Duration + Copy,
    cost: impl Fn(&Member) -> f64,
) -> Option<usize> {
    if candidates.is_panicking() {
        return cheapest(candidates, turn, now, Member::is_enabled, cost);
    }
    cheapest(candidates, turn, now, |m| m.is_ready(now), cost)
}
