//! Evicts entries first that were used only once: S3-FIFO, three queues instead of an order of use.
//!
//! A new entry waits in a small queue, a tenth of the whole. If it was used again by the time it comes out, it moves
//! to the main queue; or else it goes, and its number is remembered for a while: if it is stored again, it enters
//! the main queue at once. An entry that leaves the main queue and was used in the meantime enters again at its end,
//! up to three times. So a scan of a million responses that are asked for once passes through the small queue and
//! leaves the rest alone; and a hit moves nothing, it only counts, for which readers share a lock.
//!
//! Not for a workload in which nearly everything is used twice within a short time and then never again.

use super::saved::{self, Writer};
use super::{CacheEntryKey, CacheEntryKeyRef, EvictionManager};
use async_trait::async_trait;
use pingora_error::Result;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

mod shard;

use shard::{Admitted, Shard};

/// Entries in the three queues that [the module](self) describes, in `N` shards with a lock each. The limits hold for
/// all shards together, which take turns to evict.
///
/// Takes about 200 bytes per entry, and 24 for each number that is remembered, of which there are at most as many as
/// entries.
pub struct Manager<const N: usize> {
    shards: [RwLock<Shard>; N],
    hasher: RandomState,
    limit: AtomicUsize,
    most: Option<usize>,
    size: AtomicUsize,
    items: AtomicUsize,
    evicted_size: AtomicUsize,
    evicted_items: AtomicUsize,
    turn: AtomicUsize,
}

impl<const N: usize> Manager<N> {
    /// For entries of `limit` bytes together.
    pub fn new(limit: usize) -> Self {
        Manager::with_watermark(limit, None)
    }

    /// The same, for `watermark` entries at most.
    pub fn with_watermark(limit: usize, watermark: Option<usize>) -> Self {
        const { assert!(N > 0, "there has to be a shard") };
        Manager {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            limit: AtomicUsize::new(limit),
            most: watermark,
            size: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            evicted_size: AtomicUsize::new(0),
            evicted_items: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// The most that all entries may have together, in bytes.
    pub fn weight_limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the most that all entries may have together, in bytes. Takes effect with the next entry.
    pub fn set_weight_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The size of an entry, in bytes. Not a use.
    pub fn peek_weight(&self, item: &CacheEntryKey) -> Option<usize> {
        let number = self.number(item.into());
        self.read(number).size_of(number)
    }

    fn number(&self, entry: CacheEntryKeyRef<'_>) -> u64 {
        self.hasher.hash_one(entry)
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "it is a remainder by the number of shards"
    )]
    fn shard(&self, number: u64) -> &RwLock<Shard> {
        &self.shards[(number % N as u64) as usize]
    }

    fn read(&self, number: u64) -> RwLockReadGuard<'_, Shard> {
        let shard = self.shard(number);
        shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, number: u64) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shard(number);
        shard.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, item: CacheEntryKey, size: usize) {
        let number = self.number((&item).into());
        let size = size.max(1);
        let admitted = self.write(number).admit(number, item, size);
        self.count(admitted, size);
    }

    fn count(&self, admitted: Admitted, size: usize) {
        // In this order the sum is never below 0, regardless of other threads.
        self.size.fetch_add(size, Ordering::Relaxed);
        match admitted {
            Admitted::New => {
                self.items.fetch_add(1, Ordering::Relaxed);
            }
            Admitted::Known { size } => {
                self.size.fetch_sub(size, Ordering::Relaxed);
            }
        }
    }

    fn is_over_limit(&self) -> bool {
        self.total_size() > self.weight_limit()
            || self.most.is_some_and(|most| self.total_items() > most)
    }

    fn evict(&self) -> Vec<CacheEntryKey> {
        let mut evicted = Vec::new();
        let mut empty = 0;
        while self.is_over_limit() && empty < N {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) as u64;
            match self.write(turn).evict() {
                Some((entry, size)) => {
                    empty = 0;
                    self.count_out(size);
                    self.evicted_size.fetch_add(size, Ordering::Relaxed);
                    self.evicted_items.fetch_add(1, Ordering::Relaxed);
                    evicted.push(entry);
                }
                None => empty += 1,
            }
        }
        evicted
    }

    fn count_out(&self, size: usize) {
        self.size.fetch_sub(size, Ordering::Relaxed);
        self.items.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl<const N: usize> EvictionManager for Manager<N> {
    fn total_size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    fn total_items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    fn evicted_size(&self) -> usize {
        self.evicted_size.load(Ordering::Relaxed)
    }

    fn evicted_items(&self) -> usize {
        self.evicted_items.load(Ordering::Relaxed)
    }

    fn admit(&self, item: CacheEntryKey, size: usize, _: SystemTime) -> Vec<CacheEntryKey> {
        self.insert(item, size);
        self.evict()
    }

    fn increment_weight(
        &self,
        item: &CacheEntryKey,
        delta: usize,
        max_weight: Option<usize>,
    ) -> Vec<CacheEntryKey> {
        let number = self.number(item.into());
        let grown = self.write(number).grow(number, delta, max_weight);
        self.size.fetch_add(grown, Ordering::Relaxed);
        self.evict()
    }

    fn remove(&self, item: CacheEntryKeyRef<'_>) {
        let number = self.number(item);
        if let Some(size) = self.write(number).remove(number) {
            self.count_out(size);
        }
    }

    fn access(&self, item: &CacheEntryKey, size: usize, _: SystemTime) -> bool {
        let number = self.number(item.into());
        let is_known = self.read(number).note_use(number);
        if !is_known {
            self.insert(item.clone(), size);
        }
        is_known
    }

    fn peek(&self, item: &CacheEntryKey) -> bool {
        self.peek_weight(item).is_some()
    }

    /// The order within the queues is kept; how often entries were used and what is remembered of others is not.
    async fn save(&self, dir_path: &str) -> Result<()> {
        let shards = self.shards.iter().map(|shard| {
            let mut writer = Writer::new();
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.for_each(|entry, size| writer.push(entry, size));
            writer.finish()
        });
        saved::save(dir_path, "s3-fifo", shards.collect()).await
    }

    async fn load(&self, dir_path: &str) -> Result<()> {
        saved::load(dir_path, "s3-fifo", |content| {
            saved::read(content, |entry, size| {
                if !self.peek(&entry) {
                    self.insert(entry, size);
                }
            })
        })
        .await
    }
}

impl<const N: usize> fmt::Debug for Manager<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("items", &self.total_items())
            .field("size", &self.total_size())
            .field("limit", &self.weight_limit())
            .finish_non_exhaustive()
    }
}
