//! A selector together with the set that it was built from.

use crate::Backend;
use crate::backends::Members;
use crate::floor::caught;
use crate::selection::{BackendIter, BackendSelection, UniqueIterator};
use pingora_error::Result;
use std::sync::Arc;

/// A selector and its set. Replaced as a whole, so that every backend that the selector offers is in the
/// set whose readiness is checked.
pub(crate) struct Choice<S> {
    selector: Arc<S>,
    members: Arc<Members>,
}

impl<S: BackendSelection> Choice<S> {
    /// A selector over `members` with this configuration, or the default one.
    ///
    /// # Errors
    /// If building the selector panicked.
    pub(crate) fn build(members: &Arc<Members>, config: Option<&S::Config>) -> Result<Self> {
        caught("building the selector", || Choice::new(members, config))
    }

    /// [`Choice::build`], but passes a panic on to the caller.
    pub(crate) fn new(members: &Arc<Members>, config: Option<&S::Config>) -> Self {
        let backends = members.backends();
        let selector = match config {
            Some(config) => S::build_with_config(backends, config),
            None => S::build(backends),
        };
        Choice {
            selector: Arc::new(selector),
            members: members.clone(),
        }
    }

    /// The members that the selector was built from.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The first backend that `accept` accepts, in the order in which the selector offers them for `key`.
    #[inline]
    pub(crate) fn select<F>(&self, key: &[u8], max_iterations: usize, accept: F) -> Option<Backend>
    where
        S::Iter: BackendIter,
        F: Fn(&Backend, bool) -> bool,
    {
        if max_iterations == 0 {
            return None;
        }
        let members = &*self.members;
        let refused = match self.selector.first(key) {
            Some(first) if accept(first, members.ready(first)) => return Some(first.clone()),
            refused => refused.cloned(),
        };
        let candidates = self.selector.iter(key);
        let mut candidates = match refused {
            Some(refused) => UniqueIterator::after(refused, candidates, max_iterations),
            None => UniqueIterator::new(candidates, max_iterations),
        };
        while let Some(backend) = candidates.get_next() {
            if accept(&backend, members.ready(&backend)) {
                return Some(backend);
            }
        }
        None
    }
}
