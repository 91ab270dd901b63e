//! Round robin in nginx's order.

use super::ordered::Turns;
use super::{BackendIter, BackendSelection};
use crate::Backend;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The maximum length of an order, and the maximum number of steps for computing one.
const LONGEST: usize = 1 << 16;
const MOST_STEPS: usize = 1 << 23;

/// Smooth weighted round robin: weights 5, 1, 1 are served as `a a b a c a a`, which is nginx's order.
///
/// Like [`RoundRobin`](super::RoundRobin), which spreads heavy backends in another order, and at the same
/// cost; use this one to match nginx. Equal weights are ordered by address. The order is computed when
/// the set changes, for weights in lowest terms; sets whose weights add up to more than 65,536 (less with
/// more than 128 backends) keep their proportions as closely as that many places allow.
///
/// Don't use it if requests differ a lot in duration, or backends in ways that weights don't describe:
/// [`PeakEwma`](super::PeakEwma) and [`LeastConnections`](super::LeastConnections) adapt to that.
pub struct SmoothRoundRobin {
    backends: Box<[Backend]>,
    /// Indices of `backends`.
    order: Box<[u32]>,
    /// Whether `backends` contains all that it was built over: none has weight 0.
    whole: bool,
    turns: Turns,
}

impl SmoothRoundRobin {
    #[inline]
    fn next_index(&self) -> Option<usize> {
        let turn = self.turns.next();
        let place = turn.checked_rem(self.order.len())?;
        Some(*self.order.get(place)? as usize)
    }
}

/// nginx's order: in each step every backend gains its weight, and the one with the highest value pays
/// for all.
pub(super) fn order(weights: &[u64]) -> Box<[u32]> {
    let longest = LONGEST.min(MOST_STEPS.checked_div(weights.len()).unwrap_or(0));
    let weights = super::weighted::in_lowest_terms(weights, longest as u64);
    let total: u64 = weights.iter().sum();
    let mut gained = vec![0_i64; weights.len()];
    let mut order = Vec::with_capacity(total as usize);
    for _ in 0..total {
        let mut best: Option<(usize, i64)> = None;
        for (index, (gained, weight)) in gained.iter_mut().zip(&weights).enumerate() {
            *gained += *weight as i64;
            if *weight > 0 && best.is_none_or(|(_, most)| *gained > most) {
                best = Some((index, *gained));
            }
        }
        if let Some((index, _)) = best
            && let Some(gained) = gained.get_mut(index)
        {
            *gained -= total as i64;
            order.push(index as u32);
        }
    }
    order.into()
}

impl BackendSelection for SmoothRoundRobin {
    type Iter = SmoothIterator;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        let all = backends.len();
        let backends: Box<[Backend]> = backends.iter().filter(|b| b.weight > 0).cloned().collect();
        let weights: Vec<u64> = backends.iter().map(|b| b.weight as u64).collect();
        SmoothRoundRobin {
            order: order(&weights),
            whole: backends.len() == all,
            backends,
            turns: Turns::default(),
        }
    }

    fn thins(&self) -> bool {
        true
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> SmoothIterator {
        SmoothIterator {
            selector: self.clone(),
            step: 0,
        }
    }

    #[inline]
    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        self.backends.get(self.next_index()?)
    }

    #[inline]
    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        if !self.whole {
            return None;
        }
        self.next_index()
    }
}

impl fmt::Debug for SmoothRoundRobin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmoothRoundRobin")
            .field("backends", &self.backends)
            .field("places", &self.order.len())
            .finish_non_exhaustive()
    }
}

/// The backends to try: the next ones in the order, then each once.
#[derive(Debug)]
pub struct SmoothIterator {
    selector: Arc<SmoothRoundRobin>,
    step: usize,
}

/// After this many turns with backends that were not accepted, each backend comes once.
const TURNS: usize = 32;

impl BackendIter for SmoothIterator {
    fn next(&mut self) -> Option<&Backend> {
        let step = self.step;
        self.step = step.saturating_add(1);
        if step < TURNS {
            return self.selector.first(b"");
        }
        self.selector.backends.get(step - TURNS)
    }
}
