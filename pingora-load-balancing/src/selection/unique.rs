//! An iterator that yields each backend once.

use super::BackendIter;
use crate::Backend;
use std::collections::HashSet;

/// Goes through the backends of an iterator, each once.
#[derive(Debug)]
pub struct UniqueIterator<I>
where
    I: BackendIter,
{
    iter: I,
    seen: HashSet<Backend>,
    left: usize,
    /// Was looked at before the iterator was made; it does not count if that begins with it.
    refused: Option<Backend>,
}

impl<I> UniqueIterator<I>
where
    I: BackendIter,
{
    /// Looks at the next `max_iterations` of what `iter` yields, repetitions included.
    pub fn new(iter: I, max_iterations: usize) -> Self {
        UniqueIterator {
            iter,
            seen: HashSet::new(),
            left: max_iterations,
            refused: None,
        }
    }

    /// The same after `refused` was looked at and not taken: that one counts, and does not come
    /// again.
    pub(crate) fn after(refused: Backend, iter: I, max_iterations: usize) -> Self {
        UniqueIterator {
            seen: HashSet::from([refused.clone()]),
            refused: Some(refused),
            ..UniqueIterator::new(iter, max_iterations.saturating_sub(1))
        }
    }

    /// The next backend that was not there before; `None` if there are no more, or not among as
    /// many as may be looked at.
    pub fn get_next(&mut self) -> Option<Backend> {
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let backend = self.iter.next()?;
            if self.refused.take().as_ref() == Some(backend) {
                self.left = left + 1;
                continue;
            }
            if !self.seen.contains(backend) {
                let backend = backend.clone();
                self.seen.insert(backend.clone());
                return Some(backend);
            }
        }
        None
    }
}
