//! Entries in the order of their use, with sizes, in shards.

use super::CacheEntryKey;
use crate::hashtable::LruCache;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Shard {
    entries: LruCache<u64, (CacheEntryKey, usize)>,
    size: usize,
}

/// The list. Entries have a size of at least 1.
pub(in crate::eviction) struct List<const N: usize> {
    shards: [Mutex<Shard>; N],
    limit: AtomicUsize,
    most: Option<usize>,
    size: AtomicUsize,
    len: AtomicUsize,
    evicted_size: AtomicUsize,
    evicted_len: AtomicUsize,
    /// The shard that the next eviction begins with.
    turn: AtomicUsize,
}

impl<const N: usize> List<N> {
    pub(super) fn new(limit: usize, capacity: usize, most: Option<usize>) -> Self {
        const { assert!(N > 0, "there has to be a shard") };
        let shard = |_| {
            let mut entries = LruCache::new(usize::MAX);
            entries.reserve(capacity / N);
            Mutex::new(Shard { entries, size: 0 })
        };
        List {
            shards: std::array::from_fn(shard),
            limit: AtomicUsize::new(limit),
            most,
            size: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            evicted_size: AtomicUsize::new(0),
            evicted_len: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// Puts an entry in front, replacing one with the same number. Evicts nothing.
    pub(super) fn admit(&self, number: u64, entry: CacheEntryKey, size: usize) {
        let size = size.max(1);
        let mut shard = self.shard_of(number);
        let old = shard.entries.put(number, (entry, size)).map(|(_, old)| old);
        self.count(&mut shard, old, size);
    }

    /// Puts an entry at the end, unless there is one with this number.
    pub(super) fn insert_tail(&self, number: u64, entry: CacheEntryKey, size: usize) {
        let size = size.max(1);
        let mut shard = self.shard_of(number);
        if shard.entries.put_oldest(number, (entry, size)) {
            self.count(&mut shard, None, size);
        }
    }

    pub(in crate::eviction) fn increment_weight(
        &self,
        number: u64,
        delta: usize,
        most: Option<usize>,
    ) {
        let mut shard = self.shard_of(number);
        let Some((_, size)) = shard.entries.get_mut(&number) else {
            return;
        };
        let old = *size;
        let grown = old.saturating_add(delta);
        // A limit does not make an entry smaller than it is.
        *size = most.map_or(grown, |most| grown.min(most.max(old)));
        let new = *size;
        self.count(&mut shard, Some(old), new);
    }

    pub(super) fn promote(&self, number: u64) -> bool {
        self.shard_of(number).entries.get(&number).is_some()
    }

    pub(in crate::eviction) fn peek(&self, number: u64) -> bool {
        self.shard_of(number).entries.contains(&number)
    }

    pub(in crate::eviction) fn peek_weight(&self, number: u64) -> Option<usize> {
        Some(self.shard_of(number).entries.peek(&number)?.1)
    }

    pub(in crate::eviction) fn remove(&self, number: u64) {
        let mut shard = self.shard_of(number);
        if let Some((_, size)) = shard.entries.pop(&number) {
            self.count_out(&mut shard, size);
        }
    }

    /// Takes out last entries, of one shard after the other, until the rest is within the limits.
    pub(super) fn evict_to_limit(&self) -> Vec<CacheEntryKey> {
        let mut evicted = Vec::new();
        let mut empty = 0;
        while self.is_over_limit() && empty < N {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) as u64;
            let mut shard = self.shard_of(turn);
            let Some((_, (entry, size))) = shard.entries.pop_lru() else {
                empty += 1;
                continue;
            };
            empty = 0;
            self.count_out(&mut shard, size);
            self.evicted_size.fetch_add(size, Ordering::Relaxed);
            self.evicted_len.fetch_add(1, Ordering::Relaxed);
            evicted.push(entry);
        }
        evicted
    }

    pub(in crate::eviction) fn is_over_limit(&self) -> bool {
        self.weight() > self.weight_limit() || self.most.is_some_and(|most| self.len() > most)
    }

    pub(super) fn weight_limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_weight_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(in crate::eviction) fn weight(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    pub(in crate::eviction) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(in crate::eviction) fn evicted_weight(&self) -> usize {
        self.evicted_size.load(Ordering::Relaxed)
    }

    pub(in crate::eviction) fn evicted_len(&self) -> usize {
        self.evicted_len.load(Ordering::Relaxed)
    }

    pub(in crate::eviction) fn shard_weight(&self, shard: usize) -> usize {
        self.shards.get(shard).map_or(0, |shard| lock(shard).size)
    }

    pub(in crate::eviction) fn shard_len(&self, shard: usize) -> usize {
        self.shards
            .get(shard)
            .map_or(0, |shard| lock(shard).entries.len())
    }

    pub(in crate::eviction) fn get_shard(&self, number: u64) -> usize {
        (number % N as u64) as usize
    }

    /// The entry that would go first in a shard.
    pub(in crate::eviction) fn peek_last(&self, shard: usize) -> Option<CacheEntryKey> {
        let shard = lock(self.shards.get(shard)?);
        shard
            .entries
            .peek_lru()
            .map(|(_, (entry, _))| entry.clone())
    }

    /// Calls `f` with the entries of a shard and their sizes, the last used one first.
    pub(super) fn for_each(&self, shard: usize, mut f: impl FnMut(&CacheEntryKey, usize)) {
        if let Some(shard) = self.shards.get(shard) {
            let shard = lock(shard);
            shard
                .entries
                .iter()
                .for_each(|(_, (entry, size))| f(entry, *size));
        }
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    fn shard_of(&self, number: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.get_shard(number)])
    }

    /// An entry has this size now, and had `old` if it was there.
    fn count(&self, shard: &mut Shard, old: Option<usize>, new: usize) {
        shard.size = shard
            .size
            .saturating_sub(old.unwrap_or(0))
            .saturating_add(new);
        // In this order the sum is never below 0, regardless of other threads.
        self.size.fetch_add(new, Ordering::Relaxed);
        match old {
            Some(old) => self.size.fetch_sub(old, Ordering::Relaxed),
            None => self.len.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn count_out(&self, shard: &mut Shard, size: usize) {
        shard.size = shard.size.saturating_sub(size);
        self.size.fetch_sub(size, Ordering::Relaxed);
        self.len.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A panic elsewhere while the lock was held leaves a shard that is whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
