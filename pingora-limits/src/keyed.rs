//! A [`Quota`] for each key, in memory that does not grow.
//!
//! The table is divided into sets of eight places, each of which holds a key (as a hash that can't be
//! predicted from outside) and the one word of its [bucket](crate::quota). A key has places in only one
//! set:
//!
//! - An existing key is found and charged without a lock.
//! - A new key takes a free place, or that of an idle key, whose bucket is full, so forgetting it changes
//!   nothing for it.
//! - If all eight keys of a set have used part of their quota, the one closest to a full bucket is
//!   displaced. It starts again when it comes back, so it gains what it had used, which is the least of
//!   the eight; the keys that have used most stay limited. [`Keyed::displaced`] counts this: a growing
//!   number means that the table is too small.
//!
//! The table therefore never refuses a key for being full, and an attacker that wants to exhaust it has to
//! send events from more keys than it has places, within the time in which a burst is earned.

use crate::quota::{Quota, Verdict, nanoseconds};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The places of a set: its keys fill one cache line, its buckets another.
const PLACES: usize = 8;
/// Locks, each for the new keys of some sets.
const LOCKS: usize = 64;

/// No key.
const FREE: u64 = 0;
/// A key is about to take the place.
const TAKEN: u64 = 1;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    keys: [AtomicU64; PLACES],
    full_at: [AtomicU64; PLACES],
}

/// A [`Quota`] for each key. The [module's page](self) describes what happens when there is no room for
/// another.
///
/// ```
/// use pingora_limits::keyed::Keyed;
/// use pingora_limits::quota::Quota;
/// use std::sync::LazyLock;
/// use std::time::Duration;
///
/// /// A hundred requests per second and client; room for 65,536 of them, which is 1 MiB.
/// static REQUESTS: LazyLock<Keyed> =
///     LazyLock::new(|| Keyed::new(Quota::new(100, Duration::from_secs(1)), 65_536));
///
/// let verdict = REQUESTS.take(&"192.0.2.1");
/// assert!(verdict.allowed);
/// assert_eq!(verdict.remaining, 99);
/// ```
#[derive(Debug)]
pub struct Keyed {
    quota: Quota,
    sets: Box<[Set]>,
    locks: [Mutex<()>; LOCKS],
    secret: RandomState,
    displaced: AtomicU64,
    start: Instant,
}

impl Keyed {
    /// This quota for each key, with room for this many keys at once, rounded up to a multiple of eight. A
    /// key takes 16 bytes, all allocated at the start. Keys are distributed unevenly: use twice the number
    /// that is expected to be busy within [`Quota::window`].
    pub fn new(quota: Quota, keys: usize) -> Self {
        let sets = keys.div_ceil(PLACES).max(1);
        Keyed {
            quota,
            sets: (0..sets).map(|_| Set::default()).collect(),
            locks: std::array::from_fn(|_| Mutex::default()),
            secret: RandomState::new(),
            displaced: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    /// The quota of each key.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The number of keys for which there is room.
    pub fn capacity(&self) -> usize {
        self.sets.len() * PLACES
    }

    /// The number of keys that were displaced before their bucket was full again.
    pub fn displaced(&self) -> u64 {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Decides whether one event of `key` may pass now.
    pub fn take<K: Hash + ?Sized>(&self, key: &K) -> Verdict {
        self.take_at(key, self.start.elapsed(), 1)
    }

    /// The same at a given time, measured from any moment (the same one for all calls), for an event
    /// that counts for `cost`. With a cost of 0, it only returns what is left.
    pub fn take_at<K: Hash + ?Sized>(&self, key: &K, now: Duration, cost: u32) -> Verdict {
        let hash = self.secret.hash_one(key);
        self.take_hashed(hash, nanoseconds(now), cost)
    }

    fn take_hashed(&self, hash: u64, now: u64, cost: u32) -> Verdict {
        let key = hash.max(TAKEN + 1);
        let at = ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize;
        let Some(set) = self.sets.get(at) else {
            return self.quota.decide(0, now, cost).1;
        };
        if let Some(verdict) = set.charge(key, &self.quota, now, cost) {
            return verdict;
        }
        let _alone = self.lock(at);
        // Another thread may have been faster.
        if let Some(verdict) = set.charge(key, &self.quota, now, cost) {
            return verdict;
        }
        let (full_at, verdict) = self.quota.decide(0, now, cost);
        // An event that does not count needs no place.
        if verdict.allowed && cost > 0 && set.begin(key, full_at, now) {
            self.displaced.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    fn lock(&self, set: usize) -> MutexGuard<'_, ()> {
        let [first, ..] = &self.locks;
        let lock = self.locks.get(set % LOCKS).unwrap_or(first);
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    fn places(&self) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
        self.keys.iter().zip(&self.full_at)
    }

    /// Charges a key; `None` if it has no place. A place may change hands meanwhile; a charge is then
    /// neither lost nor applied to another key.
    ///
    /// A thread that takes a place over announces it in the key, then exchanges the bucket, then writes the new
    /// key. So a bucket that was read between two reads of the same key belongs to that key; and the exchange
    /// fails if the place has changed hands since, because no bucket begins in a state that an earlier one had
    /// there.
    fn charge(&self, key: u64, quota: &Quota, now: u64, cost: u32) -> Option<Verdict> {
        let is_here = |place: &AtomicU64| place.load(Ordering::Acquire) == key;
        let (place, bucket) = self.places().find(|(place, _)| is_here(place))?;
        loop {
            let full_at = bucket.load(Ordering::Acquire);
            if !is_here(place) {
                return None;
            }
            let (next, verdict) = quota.decide(full_at, now, cost);
            if next == full_at {
                return Some(verdict);
            }
            let exchanged =
                bucket.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Relaxed);
            if exchanged.is_ok() {
                return Some(verdict);
            }
        }
    }

    /// Gives a place to a key, whose bucket will be full at `full_at`. Returns whether a key that was not
    /// idle was displaced. Must be called by one thread at a time.
    fn begin(&self, key: u64, full_at: u64, now: u64) -> bool {
        loop {
            let fullest = self
                .places()
                .map(|(place, bucket)| {
                    let is_free = place.load(Ordering::Relaxed) == FREE;
                    let full_at = bucket.load(Ordering::Relaxed);
                    (if is_free { 0 } else { full_at }, full_at, place, bucket)
                })
                .min_by_key(|(order, ..)| *order);
            let Some((_, before, place, bucket)) = fullest else {
                return false;
            };
            let other = place.swap(TAKEN, Ordering::Relaxed);
            let exchanged =
                bucket.compare_exchange(before, full_at, Ordering::AcqRel, Ordering::Relaxed);
            match exchanged {
                Ok(_) => {
                    place.store(key, Ordering::Release);
                    return other != FREE && before > now;
                }
                // It was charged a moment ago, so it is not as idle as it seemed.
                Err(_) => place.store(other, Ordering::Release),
            }
        }
    }
}

#[cfg(test)]
mod tests;
