//! How one backend of the set is chosen.
//!
//! | type | same key, same backend | when the set changes | when to use it |
//! |---|---|---|---|
//! | [`PeakEwma`] | no | | most sets: backends differ in speed, or may fail |
//! | [`LeastConnections`] | no | | the duration of requests differs a lot |
//! | [`LeastTime`] | no | | few backends of different speed, one proxy |
//! | [`RoundRobin`] | no | | requests cost about the same |
//! | [`SmoothRoundRobin`] | no | | the same, in nginx's order |
//! | [`Random`] | no | | the same, with many proxies that must not move in lockstep |
//! | [`FNVHash`] | yes | most keys move | backends that keep data per key; small, stable sets |
//! | [`Consistent`] | yes | only the keys of added or removed backends move | caches |
//! | [`Maglev`] | yes | few other keys move | caches that must not be overloaded; even shares |
//! | [`Tiered`] | as within the group | | backups, zones: any of these for each group |
//!
//! All of them give each backend a share in proportion to its weight. Weight 0 drains: such a backend
//! gets no new requests, and those in progress continue. Nothing is selected from an empty set. Weights
//! of any size are accepted; if a table would become too long, proportions are kept as closely as its
//! maximum length allows.
//!
//! # What a choice costs
//! Measured with a hundred backends, on a slow server:
//!
//! | | | grows with the number of backends |
//! |---|---|---|
//! | [`Random`], [`FNVHash`] | 25 ns | no |
//! | [`RoundRobin`], [`SmoothRoundRobin`] | 45 ns: all threads share one counter, so that turns are taken in order | no |
//! | [`PeakEwma`] | 40 ns | no |
//! | [`Consistent`] | 55 ns | with its logarithm |
//! | [`Maglev`] | 35 ns | no; if the backend has requests in progress and there is a bound, the counts of all are added up |
//! | [`LeastConnections`], [`LeastTime`] | 0.45 and 0.75 µs | in proportion |
//! | [`Tiered`] | its selector's, and whether each backend of the group is ready | in proportion |
//!
//! # Reports
//! The first three, and [`Maglev`]'s bound, learn from reported requests: by
//! [leases](crate::LoadBalancer::lease), or [tickets](crate::Backends::begin).

mod least;
mod maglev;
mod ordered;
mod peak_ewma;
mod smooth;
mod tiered;
mod unique;

pub mod algorithms;
pub mod consistent;
pub mod weighted;

pub use least::{LeastConnections, LeastTime};
pub use maglev::{Maglev, MaglevConfig, MaglevIterator};
pub use ordered::OrderedIterator;
pub use peak_ewma::PeakEwma;
pub use smooth::{SmoothIterator, SmoothRoundRobin};
pub use tiered::{Priority, Tiered, TieredConfig, TieredIterator, Zone};
pub use unique::UniqueIterator;

use crate::{Backend, Candidates};
use fnv::FnvHasher;
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::sync::Arc;

/// Chooses from one set of backends. Rebuilt whenever the set changes.
pub trait BackendSelection: Sized {
    /// The backends to try for one key.
    type Iter;

    /// The configuration for building a selector.
    type Config: Send + Sync;

    /// A selector over `backends`. By default `config` is ignored.
    fn build_with_config(backends: &BTreeSet<Backend>, _config: &Self::Config) -> Self {
        Self::build(backends)
    }

    /// A selector over `candidates`, which also show the state of each backend: requests in progress,
    /// speed, readiness. By default, [`build`](Self::build) or
    /// [`build_with_config`](Self::build_with_config) over the backends alone.
    fn build_over(candidates: &Candidates, config: Option<&Self::Config>) -> Self {
        let backends = candidates.0.backends();
        match config {
            Some(config) => Self::build_with_config(backends, config),
            None => Self::build(backends),
        }
    }

    /// Whether it depends on the number of requests in progress, so that requests have to be
    /// [counted](crate::HealthRegistry::count_requests). `false` by default.
    fn counts_requests() -> bool {
        false
    }

    /// Whether a first choice that is in its [slow start](crate::HealthRegistry::set_slow_start) may be
    /// skipped. `false` by default: right for selectors that send a key to the same backend, and for
    /// those that use [`Candidate::warmth`](crate::Candidate::warmth) themselves.
    fn thins(&self) -> bool {
        false
    }

    /// A selector over `backends`.
    fn build(backends: &BTreeSet<Backend>) -> Self;

    /// The backends to try for `key`, the first choice first. May yield a backend twice.
    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter
    where
        Self::Iter: BackendIter;

    /// A first choice for `key` without the cost of an iterator, which counts references. If it is not
    /// accepted, [`iter`](Self::iter) is used. `None`, the default, leaves the whole choice to the
    /// iterator.
    fn first(&self, _key: &[u8]) -> Option<&Backend> {
        None
    }

    /// [`first`](Self::first) as an index into the backends that the selector was built over, which saves
    /// a search. `None`, the default, leaves the choice to `first`.
    fn first_index(&self, _key: &[u8]) -> Option<usize> {
        None
    }
}

/// The backends to try for one key.
pub trait BackendIter {
    /// The next one; `None` if there are no more.
    fn next(&mut self) -> Option<&Backend>;
}

/// Turns a key into a number, which chooses a backend.
///
/// Every [`Hasher`] with a default implements it.
pub trait SelectionAlgorithm {
    /// The algorithm in its initial state.
    fn new() -> Self;

    /// Whether keys are ignored, so that every request may go to any backend. `false` by default.
    fn ignores_keys(&self) -> bool {
        false
    }

    /// The number for `key`. For a second choice, it is called again with the bytes of the last number.
    fn next(&self, key: &[u8]) -> u64;
}

impl<H> SelectionAlgorithm for H
where
    H: Default + Hasher,
{
    fn new() -> Self {
        H::default()
    }

    fn next(&self, key: &[u8]) -> u64 {
        let mut hasher = H::default();
        hasher.write(key);
        hasher.finish()
    }
}

/// By FNV-1a hash of the key.
pub type FNVHash = weighted::Weighted<FnvHasher>;

/// At random.
pub type Random = weighted::Weighted<algorithms::Random>;

/// One after the other, across all threads.
pub type RoundRobin = weighted::Weighted<algorithms::RoundRobin>;

/// By consistent hashing: few keys move when the set changes.
pub type Consistent = consistent::KetamaHashing;

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
