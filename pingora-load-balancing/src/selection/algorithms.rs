//! The algorithms behind [`Weighted`](super::weighted::Weighted) selection.

use super::SelectionAlgorithm;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts, ignoring the key.
#[derive(Debug)]
pub struct RoundRobin(AtomicUsize);

impl SelectionAlgorithm for RoundRobin {
    fn new() -> Self {
        RoundRobin(AtomicUsize::new(0))
    }

    fn ignores_keys(&self) -> bool {
        true
    }

    #[inline]
    fn next(&self, _key: &[u8]) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) as u64
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
