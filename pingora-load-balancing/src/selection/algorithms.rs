//! The algorithms behind [`Weighted`](super::weighted::Weighted) selection.

use super::SelectionAlgorithm;
use super::ordered::Turns;

/// Counts, ignoring the key.
#[derive(Debug)]
pub struct RoundRobin(Turns);

impl SelectionAlgorithm for RoundRobin {
    fn new() -> Self {
        RoundRobin(Turns::default())
    }

    fn ignores_keys(&self) -> bool {
        true
    }

    #[inline]
    fn next(&self, _key: &[u8]) -> u64 {
        self.0.next() as u64
    }
}

/// Picks at random, ignoring the key. Not for secrets.
#[derive(Debug)]
pub struct Random;

impl SelectionAlgorithm for Random {
    fn new() -> Self {
        Random
    }

    fn ignores_keys(&self) -> bool {
        true
    }

    #[inline]
    fn next(&self, _key: &[u8]) -> u64 {
        fastrand::u64(..)
    }
}
