//! A list of what was used last, with weights: what has not been used for longest goes first.
//!
//! An [`Lru`] is divided into shards, each with a lock of its own, so that threads rarely wait for each other. The
//! limit of the weight holds for all of them together. Which shard an item belongs to is decided by its key, a
//! 64-bit number that should be a hash; within a shard the order is exact.
//!
//! Admitting, promoting and evicting take constant time. Nothing is evicted unless it is asked for:
//! [`Lru::evict_to_limit`] returns what went.
//!
//! # Example
//! ```
//! use pingora_lru::Lru;
//!
//! let lru = Lru::<&str, 4>::with_capacity(30, 16);
//! lru.admit(0, "first", 20);
//! lru.admit(4, "second", 10);
//! lru.promote(0);
//! lru.admit(8, "third", 10);
//! // In one shard here, and the second has not been used for longest.
//! assert_eq!(lru.evict_to_limit(), [("second", 10)]);
//! assert_eq!(lru.weight(), 30);
//! ```
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]

mod shard;

use shard::Shard;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The list, in `N` shards (at least one). Items have a weight of at least 1.
pub struct Lru<T, const N: usize> {
    shards: [Mutex<Shard<T>>; N],
    shard_weights: [AtomicUsize; N],
    weight_limit: AtomicUsize,
    /// The most items there may be, if that is limited too.
    len_watermark: Option<usize>,
    weight: AtomicUsize,
    len: AtomicUsize,
    evicted_weight: AtomicUsize,
    evicted_len: AtomicUsize,
    /// The shard that the next eviction begins with.
    turn: AtomicUsize,
}

impl<T, const N: usize> Lru<T, N> {
    /// An empty list for items of so much weight together.
    pub fn new(weight_limit: usize) -> Self {
        Lru::with_capacity(weight_limit, 0)
    }

    /// The same, with room for `capacity` items from the start.
    pub fn with_capacity(weight_limit: usize, capacity: usize) -> Self {
        Lru::with_capacity_and_watermark(weight_limit, capacity, None)
    }

    /// The same, which also evicts where there are more items than `len_watermark`.
    pub fn with_capacity_and_watermark(
        weight_limit: usize,
        capacity: usize,
        len_watermark: Option<usize>,
    ) -> Self {
        const { assert!(N > 0, "an Lru needs a shard") };
        Lru {
            shards: std::array::from_fn(|_| Mutex::new(Shard::with_capacity(capacity / N))),
            shard_weights: std::array::from_fn(|_| AtomicUsize::new(0)),
            weight_limit: AtomicUsize::new(weight_limit),
            len_watermark,
            weight: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            evicted_weight: AtomicUsize::new(0),
            evicted_len: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// Puts an item in front, in the place of another with the same key, and returns the shard that it is in.
    /// Evicts nothing.
    pub fn admit(&self, key: u64, data: T, weight: usize) -> usize {
        let weight = weight.max(1);
        let mut shard = self.shard_of(key);
        match shard.put(key, data, weight) {
            Some((_, old)) => self.replace_weight(self.get_shard(key), old, weight),
            None => self.count_in(self.get_shard(key), weight),
        }
        self.get_shard(key)
    }

    /// Puts an item at the end, where it is evicted first; for a list that is read from a file, in the order of
    /// use. `false` if there is one with this key, which then stays.
    pub fn insert_tail(&self, key: u64, data: T, weight: usize) -> bool {
        let weight = weight.max(1);
        let inserted = self.shard_of(key).put_last(key, data, weight);
        if inserted {
            self.count_in(self.get_shard(key), weight);
        }
        inserted
    }

    /// Adds to the weight of an item, up to `max_weight` if there is one, and puts it in front. Returns the
    /// new weight; 0 if there is no such item.
    pub fn increment_weight(&self, key: u64, delta: usize, max_weight: Option<usize>) -> usize {
        let mut shard = self.shard_of(key);
        let Some(weight) = shard.weight_mut(key) else {
            return 0;
        };
        let old = *weight;
        let grown = old.saturating_add(delta);
        // A limit does not make an item lighter than it is.
        *weight = max_weight.map_or(grown, |max| grown.min(max.max(old)));
        let new = *weight;
        self.replace_weight(self.get_shard(key), old, new);
        shard.promote(key, 0);
        new
    }

    /// Puts an item in front. `false` if there is none.
    pub fn promote(&self, key: u64) -> bool {
        self.shard_of(key).promote(key, 0)
    }

    /// Puts an item in front unless it is among the first `top` of its shard. `false` if there is none.
    pub fn promote_top_n(&self, key: u64, top: usize) -> bool {
        self.shard_of(key).promote(key, top)
    }

    /// Calls `f` with an item, without a change of its place; `None` if there is none. The item's shard is locked in
    /// the meantime, so `f` should be short, and must not use this list.
    pub fn with<R>(&self, key: u64, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.shard_of(key).get(key).map(f)
    }

    /// Whether there is an item with this key. Its place stays the same.
    pub fn peek(&self, key: u64) -> bool {
        self.shard_of(key).get(key).is_some()
    }

    /// The weight of an item. Its place stays the same.
    pub fn peek_weight(&self, key: u64) -> Option<usize> {
        self.shard_of(key).weight_mut(key).copied()
    }

    /// Takes out an item, and returns it with its weight.
    pub fn remove(&self, key: u64) -> Option<(T, usize)> {
        let removed = self.shard_of(key).remove(key)?;
        self.count_out(self.get_shard(key), removed.1);
        Some(removed)
    }

    /// Takes out the last item of a shard, and returns it with its weight; `None` if it is empty or does not
    /// exist.
    pub fn evict_shard(&self, shard: u64) -> Option<(T, usize)> {
        let number = usize::try_from(shard).ok()?;
        let evicted = lock(self.shards.get(number)?).remove_last()?;
        self.count_out(number, evicted.1);
        self.evicted_weight.fetch_add(evicted.1, Ordering::Relaxed);
        self.evicted_len.fetch_add(1, Ordering::Relaxed);
        Some(evicted)
    }

    /// Takes out last items, of one shard after the other, until the rest is within the limits; returns them with
    /// their weights.
    pub fn evict_to_limit(&self) -> Vec<(T, usize)> {
        let mut evicted = Vec::new();
        let mut empty = 0;
        while self.is_over_limit() && empty < N {
            let shard = self.turn.fetch_add(1, Ordering::Relaxed) % N;
            match self.evict_shard(shard as u64) {
                Some(item) => {
                    evicted.push(item);
                    empty = 0;
                }
                None => empty += 1,
            }
        }
        evicted
    }

    /// Whether there is more than there should be.
    pub fn is_over_limit(&self) -> bool {
        self.weight() > self.weight_limit()
            || self.len_watermark.is_some_and(|most| self.len() > most)
    }

    /// The most that all items may weigh together.
    pub fn weight_limit(&self) -> usize {
        self.weight_limit.load(Ordering::Relaxed)
    }

    /// Sets the most that all items may weigh together. Evicts nothing.
    pub fn set_weight_limit(&self, weight_limit: usize) {
        self.weight_limit.store(weight_limit, Ordering::Relaxed);
    }

    /// The weight of the items in a shard; 0 if it does not exist.
    pub fn shard_weight(&self, shard: usize) -> usize {
        let weight = self.shard_weights.get(shard);
        weight.map_or(0, |weight| weight.load(Ordering::Relaxed))
    }

    /// Calls `f` with the item that would be evicted next from a shard, and its weight; `None` if it is empty or does
    /// not exist. The shard is locked in the meantime, so `f` must not use this list.
    pub fn peek_last<R>(&self, shard: usize, f: impl FnOnce((&T, usize)) -> R) -> Option<R> {
        lock(self.shards.get(shard)?).last().map(f)
    }

    /// The weight of all items.
    pub fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// The number of all items.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of all that was ever evicted.
    pub fn evicted_weight(&self) -> usize {
        self.evicted_weight.load(Ordering::Relaxed)
    }

    /// How many items were ever evicted.
    pub fn evicted_len(&self) -> usize {
        self.evicted_len.load(Ordering::Relaxed)
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        N
    }

    /// How many items a shard has; 0 if it does not exist.
    pub fn shard_len(&self, shard: usize) -> usize {
        self.shards.get(shard).map_or(0, |shard| lock(shard).len())
    }

    /// The shard that a key belongs to.
    pub fn get_shard(&self, key: u64) -> usize {
        (key % N as u64) as usize
    }

    /// Calls `f` with the items of a shard and their weights, the last used one first. The shard is locked in the
    /// meantime, so `f` must not use this list.
    pub fn iter_for_each<F>(&self, shard: usize, f: F)
    where
        F: FnMut((&T, usize)),
    {
        if let Some(shard) = self.shards.get(shard) {
            lock(shard).iter().for_each(f);
        }
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    fn shard_of(&self, key: u64) -> MutexGuard<'_, Shard<T>> {
        lock(&self.shards[self.get_shard(key)])
    }

    fn count_in(&self, shard: usize, weight: usize) {
        self.shard_weight_cell(shard, |cell| cell.fetch_add(weight, Ordering::Relaxed));
        self.weight.fetch_add(weight, Ordering::Relaxed);
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    fn count_out(&self, shard: usize, weight: usize) {
        self.shard_weight_cell(shard, |cell| cell.fetch_sub(weight, Ordering::Relaxed));
        self.weight.fetch_sub(weight, Ordering::Relaxed);
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    fn shard_weight_cell(&self, shard: usize, change: impl FnOnce(&AtomicUsize) -> usize) {
        if let Some(cell) = self.shard_weights.get(shard) {
            change(cell);
        }
    }

    fn replace_weight(&self, shard: usize, old: usize, new: usize) {
        // In this order no sum is ever below 0, regardless of other threads.
        self.shard_weight_cell(shard, |cell| {
            cell.fetch_add(new, Ordering::Relaxed);
            cell.fetch_sub(old, Ordering::Relaxed)
        });
        self.weight.fetch_add(new, Ordering::Relaxed);
        self.weight.fetch_sub(old, Ordering::Relaxed);
    }
}

impl<T, const N: usize> fmt::Debug for Lru<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lru")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("weight_limit", &self.weight_limit())
            .finish_non_exhaustive()
    }
}

/// A panic of a user's closure leaves a shard as it was.
fn lock<T>(shard: &Mutex<Shard<T>>) -> MutexGuard<'_, Shard<T>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
