//! Consistent hashing with a table (Maglev), and bounded load.

use super::{BackendIter, BackendSelection};
use crate::backends::Member;
use crate::clock::now;
use crate::{Backend, Candidates};
use fnv::FnvHasher;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The default size of the table.
const SIZE: usize = 65_537;
/// The maximum table size.
const LARGEST: usize = 5_000_011;

/// How a table is built, and the bound on the load.
#[derive(Debug, Clone)]
pub struct MaglevConfig {
    size: usize,
    bound: Option<f64>,
    seed: u64,
}

impl MaglevConfig {
    /// A table of 65,537 places; a backend takes at most 1.25 times its share of the requests in progress.
    pub fn new() -> Self {
        MaglevConfig {
            size: SIZE,
            bound: Some(1.25),
            seed: 0,
        }
    }

    /// The minimum number of places, which is rounded up to a prime: at least 100 for each backend keep
    /// the shares within 1 %. 4 bytes each; at most 5,000,011.
    pub fn size(mut self, places: usize) -> Self {
        self.size = places;
        self
    }

    /// A backend that has more than `factor` times its share of the requests in progress is skipped; its
    /// share is that of its weight. At least 1.0. `None`: no bound.
    pub fn bound(mut self, factor: Option<f64>) -> Self {
        self.bound = factor.map(|factor| factor.max(1.0));
        self
    }

    /// Changes the hash of keys. All proxies that should agree need the same seed; a secret one keeps
    /// clients from choosing keys that meet at one backend.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Default for MaglevConfig {
    fn default() -> Self {
        MaglevConfig::new()
    }
}

/// Consistent hashing with a table: the same key goes to the same backend, shares are within about 1 % of
/// the weights, and when a backend comes or goes, few keys other than its own move. If a backend has too
/// many requests in progress, its keys go to the next one in the table, always in the same order.
///
/// A choice costs the same for any number of backends, if the one that the key leads to has no requests in progress, or
/// there is no bound; otherwise the counts of all are added up.
///
/// For the bound, requests have to be counted: by [leases](crate::LoadBalancer::lease) or
/// [tickets](crate::Backends::begin). It also limits the effect of clients that choose keys which meet at
/// one backend.
///
/// Don't use it if only the keys of a backend that leaves may move: that is
/// [`Consistent`](super::Consistent), whose shares are less even; or for sets that change many times a
/// second: building takes milliseconds.
pub struct Maglev {
    candidates: Candidates,
    /// Indices of candidates.
    table: Box<[u32]>,
    bound: Option<f64>,
    seed: u64,
    /// The sum of all weights.
    weights: f64,
}

fn hash(seed: u64, salt: u8, value: impl Hash) -> u64 {
    let mut hasher = FnvHasher::default();
    seed.hash(&mut hasher);
    salt.hash(&mut hasher);
    value.hash(&mut hasher);
    // The low bits of FNV alone are weak.
    let mixed = hasher.finish();
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

fn next_prime(least: usize) -> usize {
    let is_prime = |n: &usize| {
        (2..)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    (least.clamp(2, LARGEST)..).find(is_prime).unwrap_or(SIZE)
}

/// The order in which one backend claims places.
struct Claims {
    place: usize,
    skip: usize,
    index: u32,
    weight: f64,
    /// The number of claims that it has made, including this round.
    made: f64,
    due: f64,
}

/// Each backend in turn claims the next free place in its own order; lighter ones skip turns.
fn table(backends: &[(u32, &Backend)], size: usize) -> Box<[u32]> {
    let heaviest = backends.iter().map(|(_, b)| b.weight).max().unwrap_or(0);
    if heaviest == 0 {
        return Box::default();
    }
    let claims = backends.iter().filter(|(_, b)| b.weight > 0);
    let mut claims: Vec<Claims> = claims
        .map(|(index, backend)| Claims {
            place: (hash(0, 1, backend.addr.to_string()) % size as u64) as usize,
            skip: (hash(0, 2, backend.addr.to_string()) % (size as u64 - 1) + 1) as usize,
            index: *index,
            weight: backend.weight as f64 / heaviest as f64,
            made: 0.0,
            due: 0.0,
        })
        .collect();
    let mut table = vec![u32::MAX; size];
    let mut free = size;
    while free > 0 {
        for claim in &mut claims {
            claim.due += claim.weight;
            if claim.due < claim.made + 1.0 || free == 0 {
                continue;
            }
            claim.made += 1.0;
            while table
                .get(claim.place)
                .is_some_and(|taken| *taken != u32::MAX)
            {
                claim.place = (claim.place + claim.skip) % size;
            }
            if let Some(place) = table.get_mut(claim.place) {
                *place = claim.index;
                free -= 1;
            }
        }
    }
    table.into()
}

impl Maglev {
    fn place(&self, key: &[u8]) -> usize {
        let place = hash(self.seed, 3, key).checked_rem(self.table.len() as u64);
        place.unwrap_or(0) as usize
    }

    /// Whether another request would exceed its bound. Examines all backends, unless it has nothing in
    /// progress.
    fn is_full(&self, member: &Member) -> bool {
        let (Some(bound), load) = (self.bound, member.load().in_flight()) else {
            return false;
        };
        if load == 0 {
            return false;
        }
        let all = self.candidates.iter().map(|c| c.in_flight());
        let all = all.fold(1_usize, usize::saturating_add);
        let share = member.backend().weight as f64 / self.weights;
        load as f64 + 1.0 > (bound * share * all as f64).ceil()
    }
}

impl BackendSelection for Maglev {
    type Iter = MaglevIterator;
    type Config = MaglevConfig;

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Maglev::build_over(&Candidates::detached(backends), None)
    }

    fn build_with_config(backends: &BTreeSet<Backend>, config: &MaglevConfig) -> Self {
        Maglev::build_over(&Candidates::detached(backends), Some(config))
    }

    fn build_over(candidates: &Candidates, config: Option<&MaglevConfig>) -> Self {
        let config = config.cloned().unwrap_or_default();
        let backends = (0..).zip(candidates.iter().map(|c| c.backend()));
        let backends: Vec<(u32, &Backend)> = backends.collect();
        let weights = backends.iter().map(|(_, b)| b.weight as f64).sum();
        Maglev {
            table: table(&backends, next_prime(config.size)),
            candidates: candidates.clone(),
            bound: config.bound,
            seed: config.seed,
            weights,
        }
    }

    fn counts_requests() -> bool {
        true
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> MaglevIterator {
        MaglevIterator {
            place: self.place(key),
            left: self.table.len(),
            seen: vec![false; self.candidates.len()],
            passed_over: Vec::new(),
            selector: self.clone(),
        }
    }

    fn first(&self, key: &[u8]) -> Option<&Backend> {
        self.candidates.backend(self.first_index(key)?)
    }

    fn first_index(&self, key: &[u8]) -> Option<usize> {
        let index = *self.table.get(self.place(key))? as usize;
        let member = self.candidates.0.all().get(index)?;
        (!self.is_full(member)).then_some(index)
    }
}

impl fmt::Debug for Maglev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maglev")
            .field("candidates", &self.candidates)
            .field("places", &self.table.len())
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

/// The backends of a table, starting from one key, each once; those with too many requests in progress
/// last.
#[derive(Debug)]
pub struct MaglevIterator {
    selector: Arc<Maglev>,
    place: usize,
    left: usize,
    seen: Vec<bool>,
    passed_over: Vec<usize>,
}

impl BackendIter for MaglevIterator {
    fn next(&mut self) -> Option<&Backend> {
        let Maglev {
            table, candidates, ..
        } = &*self.selector;
        while self.left > 0 {
            self.left -= 1;
            let index = *table.get(self.place)? as usize;
            self.place = (self.place + 1) % table.len();
            let member = candidates.0.all().get(index)?;
            match self.seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            if member.is_ready(now) && self.selector.is_full(member) {
                self.passed_over.push(index);
                continue;
            }
            if self.seen.iter().all(|seen| *seen) {
                self.left = 0;
            }
            return Some(member.backend());
        }
        if self.passed_over.is_empty() {
            return None;
        }
        candidates.backend(self.passed_over.remove(0))
    }
}
