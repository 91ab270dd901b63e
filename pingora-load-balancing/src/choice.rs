//! A selector together with the set that it was built from.

use crate::Backend;
use crate::backends::Members;
use crate::candidates::Candidates;
use crate::clock::now;
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
        let selector = S::build_over(&Candidates(members.clone()), config);
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
        let may = |backend: &Backend| {
            members
                .member(backend)
                .is_some_and(|member| member.is_ready(now) || members.takes_in_panic(member))
        };
        let first = self.selector.first(key);
        let is_cold = first.is_some_and(|first| self.is_too_cold(first));
        match first {
            Some(first) if !is_cold && accept(first, may(first)) => return Some(first.clone()),
            _ => {}
        }
        let candidates = self.selector.iter(key);
        let mut candidates = match first.cloned() {
            Some(refused) => UniqueIterator::after(refused, candidates, max_iterations),
            None => UniqueIterator::new(candidates, max_iterations),
        };
        while let Some(backend) = candidates.get_next() {
            if accept(&backend, may(&backend)) {
                return Some(backend);
            }
        }
        // Better one that is warming up than none.
        let first = first.filter(|first| is_cold && accept(first, may(first)));
        first.cloned()
    }

    /// Whether this request should go to another backend, because this one has just come back.
    #[inline]
    fn is_too_cold(&self, backend: &Backend) -> bool {
        if !self.selector.thins() {
            return false;
        }
        let member = self.members.member(backend);
        let warmth = member.map_or(1.0, |member| member.load().warmth(now));
        warmth < 1.0 && fastrand::f64() >= warmth
    }
}
