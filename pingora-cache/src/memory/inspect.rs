//! Looking at what is stored in memory.

use super::{MemCache, SHARDS, head_size};
use crate::CacheKey;
use crate::inspect::{Entry, Inspect, Listing, Page, Totals, keys_after, page};
use crate::key::{CacheHashKey, HashBinary, Name};
use async_trait::async_trait;
use pingora_error::Result;
use std::convert::Infallible;
use std::sync::PoisonError;

const MEMORY: &str = "memory";

impl MemCache {
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
                let name = Name {
                    primary: *primary,
                    variance: slot.variance,
                };
                Entry::new(name.compact(), family.key.clone(), meta.clone(), MEMORY)
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
        let keys = keys_after(listing, self.shards.iter(), |shard, note| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.keys().for_each(note);
        });
        let entries = |key: &HashBinary| Ok::<_, Infallible>(self.entries_of(key));
        match page(listing, &keys, entries) {
            Ok(page) => Ok(page),
            Err(never) => match never {},
        }
    }

    async fn find(&'static self, key: &CacheKey) -> Result<Vec<Entry>> {
        Ok(self.entries_of(&key.primary_bin()))
    }

    fn totals(&'static self) -> Option<Totals> {
        let (entries, bytes) = (self.stored_entries(), self.stored_bytes());
        Some(Totals::new(entries as u64, bytes as u64))
    }
}
