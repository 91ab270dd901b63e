//! An iterator that yields each backend once.

use super::BackendIter;
use crate::Backend;
use std::collections::HashSet;

/// Yields each backend of an iterator once.
#[derive(Debug)]
pub struct UniqueIterator<I>
where
    I: BackendIter,
{
    iter: I,
    seen: HashSet<Backend>,
    left: usize,
    /// Already examined before the iterator was made; not counted again if the iterator begins with it.
    refused: Option<Backend>,
}

impl<I> UniqueIterator<I>
where
    I: BackendIter,
{
    /// Examines the next `max_iterations` items of `iter`, repetitions included.
    pub fn new(iter: I, max_iterations: usize) -> Self {
        UniqueIterator {
            iter,
            seen: HashSet::new(),
            left: max_iterations,
            refused: None,
        }
    }

    /// Likewise, after `refused` was examined and not accepted: it counts, and is not yielded again.
    pub(crate) fn after(refused: Backend, iter: I, max_iterations: usize) -> Self {
        UniqueIterator {
            seen: HashSet::from([refused.clone()]),
            refused: Some(refused),
            ..UniqueIterator::new(iter, max_iterations.saturating_sub(1))
        }
    }

    /// The next backend that was not yielded before; `None` if there are no more, or none within the
    /// number that may be examined.
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
