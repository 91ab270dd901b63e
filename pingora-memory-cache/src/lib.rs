//! Values in memory with a time to live.
//!
//! - [`MemoryCache`] stores values by key, as many as it was made for; then those that were not asked for
//!   recently go first.
//! - [`RTCache`] reads through: it looks up what is missing by a [`Lookup`] of the program's, once for all who ask
//!   for the same key in the meantime.
//!
//! It is for small values that a program looks up again and again: the owner of a token, the configuration of a
//! tenant. Values are cloned when they are returned, so large ones belong into an `Arc`. It is not the cache of
//! HTTP responses.
//!
//! # Example
//! ```
//! use pingora_memory_cache::{CacheStatus, MemoryCache};
//! use std::time::Duration;
//!
//! let owners: MemoryCache<String, u32> = MemoryCache::new(1000);
//! owners.put("token", 7, Some(Duration::from_secs(60)));
//! assert_eq!(owners.get("token"), (Some(7), CacheStatus::Hit));
//! assert_eq!(owners.get("another"), (None, CacheStatus::Miss));
//! ```
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

mod loads;
mod read_through;

pub use read_through::{Lookup, MultiLookup, RTCache};

use pingora_lru::Lru;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::Instant;

/// How many locks there are for all values.
const SHARDS: usize = 16;

/// Where a value came from, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was in the cache.
    Hit,
    /// It was not in the cache.
    Miss,
    /// It was in the cache, but its time was over.
    Expired,
    /// It was not in the cache, but another caller was looking it up.
    LockHit,
    /// It was in the cache, and its time has been over for so long.
    Stale(Duration),
}

impl CacheStatus {
    /// A word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Expired => "expired",
            CacheStatus::LockHit => "lock_hit",
            CacheStatus::Stale(_) => "stale",
        }
    }

    /// Whether the cache had the value: [`Hit`](Self::Hit), [`LockHit`](Self::LockHit), [`Stale`](Self::Stale).
    pub fn is_hit(&self) -> bool {
        !matches!(self, CacheStatus::Miss | CacheStatus::Expired)
    }

    /// For how long the time of the value has been over; `None` unless it is stale.
    pub fn stale(&self) -> Option<Duration> {
        match self {
            CacheStatus::Stale(over) => Some(*over),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry<T> {
    value: T,
    /// `None`: it never expires.
    expires: Option<Instant>,
}

/// Values by key, each with a time to live. Shared between threads by reference.
///
/// Keys are not stored, only hashes of 64 bits whose function is secret and chosen at random, so that two keys are
/// taken for one another as rarely as two such numbers are equal.
pub struct MemoryCache<K, T> {
    entries: Lru<Entry<T>, SHARDS>,
    secret: RandomState,
    key: PhantomData<fn(&K)>,
}

impl<K: Hash, T: Clone + Send + Sync + 'static> MemoryCache<K, T> {
    /// An empty cache for `size` values, at least one.
    pub fn new(size: usize) -> Self {
        MemoryCache {
            entries: Lru::new(size.max(1)),
            secret: RandomState::new(),
            key: PhantomData,
        }
    }

    /// The value of `key`, while its time is not over: with [`Hit`](CacheStatus::Hit), or none with
    /// [`Miss`](CacheStatus::Miss) or [`Expired`](CacheStatus::Expired).
    pub fn get<Q>(&self, key: &Q) -> (Option<T>, CacheStatus)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.get_hashed(self.hash(key))
    }

    /// The value of `key`, even if its time is over; then with [`Stale`](CacheStatus::Stale).
    pub fn get_stale<Q>(&self, key: &Q) -> (Option<T>, CacheStatus)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.get_stale_hashed(self.hash(key))
    }

    /// Stores a value for `ttl`, or for ever. One that is to live for no time is not stored, and removes what
    /// `key` had.
    pub fn put<Q>(&self, key: &Q, value: T, ttl: Option<Duration>)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.put_hashed(self.hash(key), value, ttl);
    }

    /// The same as [`put`](Self::put), which never turns a value away either.
    pub fn force_put(&self, key: &K, value: T, ttl: Option<Duration>) {
        self.put(key, value, ttl);
    }

    /// Removes the value of `key`, if there is one.
    pub fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.entries.remove(self.hash(key));
    }

    /// [Gets](Self::get) several values, in the order of the keys.
    pub fn multi_get<'a, I, Q>(&self, keys: I) -> Vec<(Option<T>, CacheStatus)>
    where
        I: Iterator<Item = &'a Q>,
        Q: Hash + ?Sized + 'a,
        K: Borrow<Q>,
    {
        keys.map(|key| self.get(key)).collect()
    }

    /// [Gets](Self::get) several values, and names the keys that have none.
    pub fn multi_get_with_miss<'a, I, Q>(
        &self,
        keys: I,
    ) -> (Vec<(Option<T>, CacheStatus)>, Vec<&'a Q>)
    where
        I: Iterator<Item = &'a Q>,
        Q: Hash + ?Sized + 'a,
        K: Borrow<Q>,
    {
        let mut missing = Vec::new();
        let found = keys.map(|key| {
            let found = self.get(key);
            if found.0.is_none() {
                missing.push(key);
            }
            found
        });
        (found.collect(), missing)
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.secret.hash_one(key)
    }

    fn get_hashed(&self, hash: u64) -> (Option<T>, CacheStatus) {
        match self.get_stale_hashed(hash) {
            (_, CacheStatus::Stale(_)) => (None, CacheStatus::Expired),
            found => found,
        }
    }

    fn get_stale_hashed(&self, hash: u64) -> (Option<T>, CacheStatus) {
        let Some(Entry { value, expires }) = self.entries.with(hash, Entry::clone) else {
            return (None, CacheStatus::Miss);
        };
        self.entries.promote(hash);
        let over = expires.and_then(|at| Instant::now().checked_duration_since(at));
        let status = over.map_or(CacheStatus::Hit, CacheStatus::Stale);
        (Some(value), status)
    }

    fn put_hashed(&self, hash: u64, value: T, ttl: Option<Duration>) {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            self.entries.remove(hash);
            return;
        }
        // A time beyond what the clock can tell is never over.
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let own = self.entries.admit(hash, Entry { value, expires }, 1);
        // Its own shard comes last, where it may be alone.
        let mut others = (own + 1..=own + SHARDS).map(|shard| shard % SHARDS);
        let mut shard = others.next();
        while self.entries.is_over_limit()
            && let Some(from) = shard
        {
            if self.entries.evict_shard(from as u64).is_none() {
                shard = others.next();
            }
        }
    }
}

impl<K, T> fmt::Debug for MemoryCache<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("len", &self.entries.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
