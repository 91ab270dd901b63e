//! Looking at what is stored in memory.

use super::{MemCache, SHARDS, head_size};
use crate::CacheKey;
use crate::inspect::{Entry, Inspect, Listing, Page, page, smallest_after};
use crate::key::{CacheHashKey, CompactCacheKey, HashBinary};
use async_trait::async_trait;
use pingora_error::Result;
use std::convert::Infallible;
use std::sync::PoisonError;

const MEMORY: &str = "memory";

impl MemCache {
    /// At most so many digests of keys that come after one of them: by shard, and then by digest.
    fn keys_after(&self, after: Option<HashBinary>, most: usize) -> Vec<HashBinary> {
        let first = after.map_or(0, |[first, ..]| usize::from(first) % SHARDS);
        let mut keys = Vec::new();
        for (at, shard) in self.shards.iter().enumerate().skip(first) {
            if keys.len() >= most {
                break;
            }
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let after = after.filter(|_| at == first);
            keys.extend(smallest_after(shard.keys(), after, most - keys.len()));
        }
        keys
    }

    fn entries_of(&self, primary: &HashBinary) -> Vec<Entry> {
        let [first, ..] = primary;
        let Some(shard) = self.shards.get(usize::from(*first) % SHARDS) else {
            return Vec::new();
        };
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        let Some(family) = shard.family(primary) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for slot in &family.slots {
            let entry = |meta: &crate::CacheMeta, body: usize, size: usize| {
                let key = CompactCacheKey {
                    primary: *primary,
                    variance: slot.variance.map(Box::new),
                    user_tag: "".into(),
                };
                Entry::new(key, family.key.clone(), meta.clone(), MEMORY)
                    .sizes(body as u64, size as u64)
            };
            if let Some(whole) = &slot.whole {
                let stored = entry(&whole.meta, whole.body.length(), whole.weight);
                entries.push(stored.found(whole.hits()));
            }
            for fill in &slot.filling {
                let body = fill.length();
                let size = head_size(&fill.meta) + family.key.len() + body;
                entries.push(entry(&fill.meta, body, size).incomplete());
            }
        }
        entries
    }
}

#[async_trait]
impl Inspect for MemCache {
    /// Holds the lock of one of 64 shards at a time, for as long as it takes to sort its digests.
    async fn list(&'static self, listing: &Listing) -> Result<Page> {
        let keys = self.keys_after(listing.digest(), listing.most_looked_at());
        let entries = |key: &HashBinary| Ok::<_, Infallible>(self.entries_of(key));
        match page(listing, &keys, entries) {
            Ok(page) => Ok(page),
            Err(never) => match never {},
        }
    }

    async fn find(&'static self, key: &CacheKey) -> Result<Vec<Entry>> {
        Ok(self.entries_of(&key.primary_bin()))
    }
}
