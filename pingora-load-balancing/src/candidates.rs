//! The backends of a set as a selector sees them: with the known state of each.

use crate::Backend;
use crate::backends::{Member, Members};
use crate::clock::now;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The backends that a selector is built over, in their order, each with its current state. Cheap to
/// clone; the state is shared and stays current for as long as the selector lives.
#[derive(Clone)]
pub struct Candidates(pub(crate) Arc<Members>);

/// A backend and its current state.
#[derive(Clone, Copy)]
pub struct Candidate<'a>(&'a Member);

impl Candidates {
    /// Backends without any known state, now and later.
    pub(crate) fn detached(backends: &BTreeSet<Backend>) -> Self {
        let registry = crate::HealthRegistry::new();
        let members = Members::default().with(backends.clone(), &registry);
        Candidates(Arc::new(members))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.all().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one with this index; `None` beyond the last one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Candidate<'_>> {
        self.0.all().get(index).map(Candidate)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Candidate<'_>> {
        self.0.all().iter().map(Candidate)
    }

    /// Whether so few are ready that [readiness is ignored](crate::Backends::set_panic_threshold).
    /// Examines all of them.
    pub fn is_panicking(&self) -> bool {
        self.0.is_panicking()
    }

    /// The candidates for which `keep` returns true.
    pub fn filter(&self, keep: impl Fn(&Backend) -> bool) -> Candidates {
        Candidates(Arc::new(self.0.filter(keep)))
    }

    /// The one with this index, from which a backend can be borrowed for as long as from `self`.
    pub(crate) fn backend(&self, index: usize) -> Option<&Backend> {
        self.0.all().get(index).map(|member| member.backend())
    }
}

impl<'a> Candidate<'a> {
    /// The backend.
    #[inline]
    pub fn backend(self) -> &'a Backend {
        self.0.backend()
    }

    /// Whether it may be selected: healthy, enabled, not ejected, and with room for another request.
    #[inline]
    pub fn is_ready(self) -> bool {
        self.0.is_ready(now)
    }

    /// The number of requests in progress, if requests are counted.
    #[inline]
    pub fn in_flight(self) -> usize {
        self.0.load().in_flight()
    }

    /// The recent duration of its answers, a moving average; `None` if unknown. It halves every seven
    /// seconds without news from the backend.
    pub fn latency(self) -> Option<Duration> {
        let micros = self.0.load().mean_latency(now())?;
        Some(Duration::from_micros(micros.into()))
    }

    /// The share of its weight that it currently has: 1, or less during a [slow
    /// start](crate::HealthRegistry::set_slow_start).
    pub fn warmth(self) -> f64 {
        self.0.load().warmth(now)
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("backend", self.backend())
            .field("ready", &self.is_ready())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}
