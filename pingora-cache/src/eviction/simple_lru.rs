//! The entry that has not been used for longest goes: one list, one lock.

use super::{CacheEntryKey, CacheEntryKeyRef, EvictionManager, lru};
use async_trait::async_trait;
use pingora_error::Result;
use std::time::SystemTime;

/// Entries in the order of their use. The order is exact, and the price is one lock for all workers; see
/// [`lru`] for one per shard.
#[derive(Debug)]
pub struct Manager {
    list: lru::Manager<1>,
}

impl Manager {
    /// For entries of `limit` bytes together.
    pub fn new(limit: usize) -> Self {
        Manager::new_with_watermark(limit, None)
    }

    /// The same, for `items_watermark` entries at most.
    pub fn new_with_watermark(limit: usize, items_watermark: Option<usize>) -> Self {
        Manager {
            list: lru::Manager::with_capacity_and_watermark(limit, 0, items_watermark),
        }
    }
}

#[async_trait]
impl EvictionManager for Manager {
    fn total_size(&self) -> usize {
        self.list.total_size()
    }

    fn total_items(&self) -> usize {
        self.list.total_items()
    }

    fn evicted_size(&self) -> usize {
        self.list.evicted_size()
    }

    fn evicted_items(&self) -> usize {
        self.list.evicted_items()
    }

    fn admit(
        &self,
        item: CacheEntryKey,
        size: usize,
        fresh_until: SystemTime,
    ) -> Vec<CacheEntryKey> {
        self.list.admit(item, size, fresh_until)
    }

    fn increment_weight(
        &self,
        item: &CacheEntryKey,
        delta: usize,
        max_weight: Option<usize>,
    ) -> Vec<CacheEntryKey> {
        self.list.increment_weight(item, delta, max_weight)
    }

    fn remove(&self, item: CacheEntryKeyRef<'_>) {
        self.list.remove(item);
    }

    fn access(&self, item: &CacheEntryKey, size: usize, fresh_until: SystemTime) -> bool {
        self.list.access(item, size, fresh_until)
    }

    fn peek(&self, item: &CacheEntryKey) -> bool {
        self.list.peek(item)
    }

    async fn save(&self, dir_path: &str) -> Result<()> {
        self.list.save(dir_path).await
    }

    async fn load(&self, dir_path: &str) -> Result<()> {
        self.list.load(dir_path).await
    }
}
