//! Selection by a number: a schedule that contains each backend in proportion to its weight.

use super::{BackendIter, BackendSelection, SelectionAlgorithm};
use crate::Backend;
use fnv::FnvHasher;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The maximum length of a schedule. Heavier sets keep their proportions as closely as that many
/// places allow.
const LONGEST: u64 = 1 << 16;

/// After this many numbers have led to backends that were not accepted, all backends are tried in turn:
/// numbers alone may lead to a heavy one again and again.
const DRAWS: usize = 32;

/// Selection by the numbers of `H`, in proportion to the weights.
///
/// The places of a backend in the schedule are spread evenly: weights 2, 1, 1 are served as `a b c a`,
/// never in bursts. If a backend is down, round robin continues with the next place, so the others'
/// shares keep their proportions; a hash hashes its number again, so the keys of the failed backend
/// spread over all the others.
///
/// Don't combine a hash with sets that change often: most keys move. See
/// [`KetamaHashing`](super::consistent::KetamaHashing).
pub struct Weighted<H = FnvHasher> {
    backends: Box<[Backend]>,
    /// Indices into `backends`.
    schedule: Box<[u32]>,
    /// Whether `backends` contains all that it was built over: none has weight 0.
    whole: bool,
    algorithm: H,
}

impl<H> Weighted<H> {
    #[inline]
    fn index(&self, number: u64) -> Option<usize> {
        let places = self.schedule.len() as u64;
        let place = usize::try_from(number.checked_rem(places)?).ok()?;
        Some(*self.schedule.get(place)? as usize)
    }

    #[inline]
    fn scheduled(&self, number: u64) -> Option<&Backend> {
        self.backends.get(self.index(number)?)
    }
}

impl<H> BackendSelection for Weighted<H>
where
    H: SelectionAlgorithm,
{
    type Iter = WeightedIterator<H>;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        let all = backends.len();
        let backends: Box<[Backend]> = backends.iter().filter(|b| b.weight > 0).cloned().collect();
        let weights: Vec<u64> = backends.iter().map(|b| b.weight as u64).collect();
        Weighted {
            schedule: schedule(&weights),
            whole: backends.len() == all,
            backends,
            algorithm: H::new(),
        }
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter {
        WeightedIterator {
            number: self.algorithm.next(key),
            selector: self.clone(),
            step: 0,
        }
    }

    #[inline]
    fn thins(&self) -> bool {
        self.algorithm.ignores_keys()
    }

    #[inline]
    fn first_index(&self, key: &[u8]) -> Option<usize> {
        if !self.whole {
            return None;
        }
        self.index(self.algorithm.next(key))
    }

    #[inline]
    fn first(&self, key: &[u8]) -> Option<&Backend> {
        self.scheduled(self.algorithm.next(key))
    }
}

/// Indices into `weights`, each repeated in proportion to its weight, spread evenly.
pub(super) fn schedule(weights: &[u64]) -> Box<[u32]> {
    let places = places(weights);
    let mut schedule = Vec::new();
    for (index, count) in (0_u32..).zip(&places) {
        // The middle of the k-th of `count` equal parts of the whole.
        schedule.extend((0..*count).map(|k| (((2 * k + 1) << 32) / count, index)));
    }
    schedule.sort_unstable();
    schedule.into_iter().map(|(_, index)| index).collect()
}

/// The number of places of each backend: its weight, in lowest terms, limited by the longest schedule.
fn places(weights: &[u64]) -> Vec<u64> {
    in_lowest_terms(weights, LONGEST)
}

/// The weights, in lowest terms and scaled so that they add up to at most about `longest`. A weight that
/// is not 0 does not become 0.
pub(super) fn in_lowest_terms(weights: &[u64], longest: u64) -> Vec<u64> {
    let divisor = weights
        .iter()
        .fold(0, |a, b| greatest_common_divisor(a, *b));
    let reduced: Vec<u64> = weights
        .iter()
        .map(|w| w.checked_div(divisor).unwrap_or(0))
        .collect();
    let total: u128 = reduced.iter().map(|w| u128::from(*w)).sum();
    if total <= u128::from(longest) {
        return reduced;
    }
    let scale = |w: u64| u128::from(w) * u128::from(longest) / total;
    reduced
        .into_iter()
        .map(|w| u64::try_from(scale(w)).unwrap_or(longest).max(w.min(1)))
        .collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

impl<H> fmt::Debug for Weighted<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weighted")
            .field("backends", &self.backends)
            .field("places", &self.schedule.len())
            .finish_non_exhaustive()
    }
}

/// The backends to try for one key.
pub struct WeightedIterator<H> {
    selector: Arc<Weighted<H>>,
    number: u64,
    step: usize,
}

impl<H: SelectionAlgorithm> BackendIter for WeightedIterator<H> {
    fn next(&mut self) -> Option<&Backend> {
        let step = self.step;
        self.step = step.saturating_add(1);
        if step > 0 && step <= DRAWS {
            self.number = self.selector.algorithm.next(&self.number.to_le_bytes());
        }
        if step < DRAWS {
            return self.selector.scheduled(self.number);
        }
        let (gone_through, all) = (step - DRAWS, self.selector.backends.len());
        if gone_through >= all {
            return None;
        }
        let begin = usize::try_from(self.number.checked_rem(all as u64)?).ok()?;
        self.selector.backends.get((begin + gone_through) % all)
    }
}

impl<H> fmt::Debug for WeightedIterator<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightedIterator")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread() {
        for (weights, expected) in [
            (&[][..], &[][..]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[7, 7], &[0, 1]),
            (&[2, 1, 1], &[0, 1, 2, 0]),
            (&[3, 1], &[0, 0, 1, 0]),
            (&[5, 1, 1], &[0, 0, 0, 1, 2, 0, 0]),
            (&[10, 20], &[1, 0, 1]),
        ] {
            assert_eq!(*schedule(weights), *expected, "{weights:?}");
        }
    }

    #[test]
    fn heavy_sets_keep_their_proportions() {
        let places = places(&[u64::MAX, u64::MAX / 2, 1]);
        assert!(places.iter().sum::<u64>() <= LONGEST + 3);
        assert!(places[0].abs_diff(2 * places[1]) <= 2, "{places:?}");
        assert_eq!(places[2], 1);
    }
}
