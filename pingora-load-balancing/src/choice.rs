//! A selector together with the set that it was built from.

use crate::Backend;
use crate::backends::{Member, Members, Panic};
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
        let panic = Panic::default();
        let ready = |member: Option<&Member>| {
            member.is_some_and(|m| m.is_ready(now) || panic.takes(members, m))
        };
        let by_index = self.selector.first_index(key);
        let (first, member) = match by_index.and_then(|index| members.all().get(index)) {
            Some(member) => (Some(member.backend()), Some(member)),
            None => {
                let first = self.selector.first(key);
                (first, first.and_then(|first| members.member(first)))
            }
        };
        let mut is_cold = false;
        if let Some(first) = first {
            is_cold = self.selector.thins() && member.is_some_and(is_too_cold);
            if !is_cold && accept(first, ready(member)) {
                return Some(first.clone());
            }
        }
        let candidates = self.selector.iter(key);
        let mut candidates = match first.cloned() {
            Some(refused) => UniqueIterator::after(refused, candidates, max_iterations),
            None => UniqueIterator::new(candidates, max_iterations),
        };
        while let Some(backend) = candidates.get_next() {
            if accept(&backend, ready(members.member(&backend))) {
                return Some(backend);
            }
        }
        // One that is warming up is better than none.
        let first = first.filter(|first| is_cold && accept(first, ready(member)));
        first.cloned()
    }
}

/// Whether this request should go to another backend, because this one has just come back.
#[inline]
fn is_too_cold(member: &Member) -> bool {
    let warmth = member.load().warmth(now);
    warmth < 1.0 && fastrand::f64() >= warmth
}
