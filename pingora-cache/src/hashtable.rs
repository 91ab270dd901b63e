//! Tables in shards, each behind a lock of its own, so that threads rarely wait for each other.

use std::array;
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod lru_cache;

pub use lru_cache::LruCache;

/// The shard of a key. The keys are digests, so any of their bits will do.
fn shard<const N: usize>(key: u128) -> usize {
    const { assert!(N > 0, "a table needs a shard") };
    (key % N as u128) as usize
}

/// A map from digests to values in `N` shards. Nothing bounds the number of entries but its users.
pub struct ConcurrentHashTable<V, const N: usize> {
    shards: [RwLock<HashMap<u128, V>>; N],
}

impl<V, const N: usize> ConcurrentHashTable<V, N> {
    /// An empty table.
    pub fn new() -> Self {
        ConcurrentHashTable {
            shards: array::from_fn(|_| RwLock::new(HashMap::new())),
        }
    }

    /// The shard that a key belongs to.
    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    pub fn get(&self, key: u128) -> &RwLock<HashMap<u128, V>> {
        &self.shards[shard::<N>(key)]
    }

    /// The shard with this number; `None` from `N` on.
    pub fn get_shard_at_idx(&self, idx: usize) -> Option<&RwLock<HashMap<u128, V>>> {
        self.shards.get(idx)
    }

    /// The shard that a key belongs to, locked for reading.
    pub fn read(&self, key: u128) -> RwLockReadGuard<'_, HashMap<u128, V>> {
        // A panic elsewhere while the lock was held leaves a map that is whole.
        self.get(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard that a key belongs to, locked for writing.
    pub fn write(&self, key: u128) -> RwLockWriteGuard<'_, HashMap<u128, V>> {
        self.get(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with each entry, one shard after the other. A shard is locked for reading in the meantime, so `f`
    /// must not write to this table.
    pub fn for_each<F>(&self, mut f: F)
    where
        F: FnMut(&u128, &V),
    {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().for_each(|(key, value)| f(key, value));
        }
    }
}

impl<V, const N: usize> Default for ConcurrentHashTable<V, N> {
    fn default() -> Self {
        ConcurrentHashTable::new()
    }
}

impl<V, const N: usize> fmt::Debug for ConcurrentHashTable<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentHashTable")
            .field("shards", &N)
            .finish_non_exhaustive()
    }
}

/// A map from digests to values in `N` shards, each of which forgets what has not been used for longest.
pub struct ConcurrentLruCache<V, const N: usize> {
    shards: [RwLock<LruCache<u128, V>>; N],
}

impl<V, const N: usize> ConcurrentLruCache<V, N> {
    /// An empty table of at most `shard_capacity` entries per shard, and at least one.
    pub fn new(shard_capacity: usize) -> Self {
        ConcurrentLruCache {
            shards: array::from_fn(|_| RwLock::new(LruCache::new(shard_capacity))),
        }
    }

    /// The shard that a key belongs to.
    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    pub fn get(&self, key: u128) -> &RwLock<LruCache<u128, V>> {
        &self.shards[shard::<N>(key)]
    }

    /// The shard that a key belongs to, locked for reading: for [`LruCache::peek`], which doesn't count as a use.
    pub fn read(&self, key: u128) -> RwLockReadGuard<'_, LruCache<u128, V>> {
        self.get(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard that a key belongs to, locked for writing.
    pub fn write(&self, key: u128) -> RwLockWriteGuard<'_, LruCache<u128, V>> {
        self.get(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, const N: usize> fmt::Debug for ConcurrentLruCache<V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentLruCache")
            .field("shards", &N)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_finds_what_was_put_there() {
        let table = ConcurrentHashTable::<&str, 4>::new();
        table.write(5).insert(5, "five");
        table.write(u128::MAX).insert(u128::MAX, "most");
        assert_eq!(table.read(5).get(&5), Some(&"five"));
        assert_eq!(table.read(9).get(&9), None);
        assert!(table.get_shard_at_idx(3).is_some() && table.get_shard_at_idx(4).is_none());
        let mut seen = Vec::new();
        table.for_each(|key, value| seen.push((*key, *value)));
        seen.sort_unstable();
        assert_eq!(seen, [(5, "five"), (u128::MAX, "most")]);
    }

    #[test]
    fn a_shard_forgets_what_was_not_used() {
        let cache = ConcurrentLruCache::<u8, 2>::new(2);
        cache.write(0).put(0, 0);
        cache.write(2).put(2, 2);
        assert_eq!(cache.write(0).get(&0), Some(&0));
        cache.write(4).put(4, 4);
        assert_eq!(cache.read(0).peek(&2), None);
        assert_eq!(cache.read(0).peek(&0), Some(&0));
        assert_eq!(cache.read(1).len(), 0);
    }
}
