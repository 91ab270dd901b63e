//! The entry that has not been used for longest goes, in `N` shards.

use super::saved::{self, Writer};
use super::{CacheEntryKey, CacheEntryKeyRef, EvictionManager};
use async_trait::async_trait;
use pingora_error::Result;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

mod list;

use list::List;

/// Entries in the order of their use, in `N` shards with a lock each. The limits hold for all shards together;
/// which entry has not been used for longest is decided within a shard, and shards take turns.
///
/// A use costs two steps in an ordered tree of the shard. A scan of many responses that are asked for once pushes out what is used; see
/// [`s3_fifo`](super::s3_fifo) for an order that it does not.
pub struct Manager<const N: usize>(Inner<N>);

/// The list, and the numbers that its keys get.
pub(super) struct Inner<const N: usize> {
    lru: List<N>,
    /// With a secret, so that clients can't choose keys that share a number.
    hasher: RandomState,
}

impl<const N: usize> Manager<N> {
    /// For entries of `limit` bytes together, with room for `capacity` of them from the start.
    pub fn with_capacity(limit: usize, capacity: usize) -> Self {
        Manager::with_capacity_and_watermark(limit, capacity, None)
    }

    /// The same, for `watermark` entries at most.
    pub fn with_capacity_and_watermark(
        limit: usize,
        capacity: usize,
        watermark: Option<usize>,
    ) -> Self {
        Manager(Inner::new(limit, capacity, watermark))
    }

    /// The most that all entries may have together, in bytes.
    pub fn weight_limit(&self) -> usize {
        self.0.lru.weight_limit()
    }

    /// Sets the most that all entries may have together, in bytes. Takes effect with the next entry.
    pub fn set_weight_limit(&self, limit: usize) {
        self.0.lru.set_weight_limit(limit);
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        N
    }

    /// The size of the entries in a shard, in bytes; 0 if it does not exist.
    pub fn shard_weight(&self, shard: usize) -> usize {
        self.0.lru.shard_weight(shard)
    }

    /// The number of entries in a shard; 0 if it does not exist.
    pub fn shard_len(&self, shard: usize) -> usize {
        self.0.lru.shard_len(shard)
    }

    /// The shard that an entry belongs to. The next process may decide differently.
    pub fn get_shard_for_key(&self, key: &CacheEntryKey) -> usize {
        self.0.lru.get_shard(self.0.number(key.into()))
    }

    /// The entry that would go first in a shard; `None` if it is empty or does not exist.
    pub fn peek_lru(&self, shard: usize) -> Option<CacheEntryKey> {
        self.0.lru.peek_last(shard)
    }

    /// The entries of a shard as bytes, for [`deserialize_shard`](Self::deserialize_shard), the last used first. The
    /// shard is locked in the meantime.
    ///
    /// # Errors
    /// None at present.
    pub fn serialize_shard(&self, shard: usize) -> Result<Vec<u8>> {
        Ok(self.0.serialize(shard))
    }

    /// Adds the entries that [`serialize_shard`](Self::serialize_shard) wrote, after those that are known, which
    /// stay as they are.
    ///
    /// # Errors
    /// `InternalError`, if these bytes are not what it wrote.
    pub fn deserialize_shard(&self, buf: &[u8]) -> Result<()> {
        self.0.deserialize(buf)
    }

    /// The size of an entry, in bytes. Not a use.
    pub fn peek_weight(&self, item: &CacheEntryKey) -> Option<usize> {
        self.0.lru.peek_weight(self.0.number(item.into()))
    }
}

impl<const N: usize> Inner<N> {
    pub(super) fn new(limit: usize, capacity: usize, watermark: Option<usize>) -> Self {
        Inner {
            lru: List::new(limit, capacity, watermark),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn lru(&self) -> &List<N> {
        &self.lru
    }

    pub(super) fn number(&self, entry: CacheEntryKeyRef<'_>) -> u64 {
        self.hasher.hash_one(entry)
    }

    pub(super) fn serialize(&self, shard: usize) -> Vec<u8> {
        let mut writer = Writer::new();
        self.lru
            .for_each(shard, |entry, size| writer.push(entry, size));
        writer.finish()
    }

    pub(super) fn deserialize(&self, buf: &[u8]) -> Result<()> {
        saved::read(buf, |entry, size| {
            let number = self.number((&entry).into());
            self.lru.insert_tail(number, entry, size);
        })
    }

    pub(super) fn admit(&self, item: CacheEntryKey, size: usize) {
        let number = self.number((&item).into());
        self.lru.admit(number, item, size);
    }

    pub(super) fn evict(&self) -> Vec<CacheEntryKey> {
        self.lru.evict_to_limit()
    }

    pub(super) fn access(&self, item: &CacheEntryKey, size: usize) -> bool {
        let number = self.number(item.into());
        let is_known = self.lru.promote(number);
        if !is_known {
            self.lru.admit(number, item.clone(), size);
        }
        is_known
    }

    pub(super) async fn save(&self, dir: &str) -> Result<()> {
        let shards = (0..N).map(|shard| self.serialize(shard)).collect();
        saved::save(dir, "lru", shards).await
    }

    pub(super) async fn load(&self, dir: &str) -> Result<()> {
        saved::load(dir, "lru", |content| self.deserialize(content)).await
    }
}

#[async_trait]
impl<const N: usize> EvictionManager for Manager<N> {
    fn total_size(&self) -> usize {
        self.0.lru.weight()
    }

    fn total_items(&self) -> usize {
        self.0.lru.len()
    }

    fn evicted_size(&self) -> usize {
        self.0.lru.evicted_weight()
    }

    fn evicted_items(&self) -> usize {
        self.0.lru.evicted_len()
    }

    fn admit(&self, item: CacheEntryKey, size: usize, _: SystemTime) -> Vec<CacheEntryKey> {
        self.0.admit(item, size);
        self.0.evict()
    }

    fn increment_weight(
        &self,
        item: &CacheEntryKey,
        delta: usize,
        max_weight: Option<usize>,
    ) -> Vec<CacheEntryKey> {
        let number = self.0.number(item.into());
        self.0.lru.increment_weight(number, delta, max_weight);
        self.0.evict()
    }

    fn remove(&self, item: CacheEntryKeyRef<'_>) {
        self.0.lru.remove(self.0.number(item));
    }

    fn access(&self, item: &CacheEntryKey, size: usize, _: SystemTime) -> bool {
        self.0.access(item, size)
    }

    fn peek(&self, item: &CacheEntryKey) -> bool {
        self.0.lru.peek(self.0.number(item.into()))
    }

    async fn save(&self, dir_path: &str) -> Result<()> {
        self.0.save(dir_path).await
    }

    async fn load(&self, dir_path: &str) -> Result<()> {
        self.0.load(dir_path).await
    }
}

impl<const N: usize> fmt::Debug for Manager<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const N: usize> fmt::Debug for Inner<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lru")
            .field("items", &self.lru.len())
            .field("size", &self.lru.weight())
            .field("limit", &self.lru.weight_limit())
            .finish_non_exhaustive()
    }
}
