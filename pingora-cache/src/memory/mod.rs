//! A storage in this process's memory.

mod body;
mod handlers;
mod inspect;
mod shard;

use crate::eviction::CacheEntryId;
use crate::inspect::Inspect;
use crate::key::Name;
use crate::storage::streaming_write::U64WriteId;
use crate::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage};
use crate::trace::SpanHandle;
use crate::{CacheKey, CacheMeta};
use async_trait::async_trait;
use body::Fill;
use handlers::{MemHit, MemMiss};
use pingora_error::{Error, ErrorType, Result};
use shard::{Shard, Stored};
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Workers rarely meet in one of this many shards.
const SHARDS: usize = 64;
/// A bounded storage takes no response larger than this part of its limit.
const LARGEST_PART: usize = 8;

/// A storage in this process's memory.
///
/// Bodies are shared by all who read them, without a copy; a body that is still being written is read by
/// others meanwhile. A body that was not completed is never served as complete.
///
/// | made by | what bounds it |
/// |---|---|
/// | [`MemCache::new`] | the `EvictionManager` that [`enable`](crate::HttpCache::enable) is given: without one, nothing |
/// | [`MemCache::bounded`] | its own limit in bytes, bodies in the making included |
///
/// A key has at most 64 variants: one more drops the oldest.
///
/// ```
/// use pingora_cache::MemCache;
/// use std::sync::LazyLock;
///
/// static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(256 << 20));
/// # assert_eq!(STORE.stored_bytes(), 0);
/// ```
pub struct MemCache {
    shards: Box<[RwLock<Shard>]>,
    limit: Option<usize>,
    /// Bytes of what is stored and of what is being written.
    bytes: AtomicUsize,
    evicted: AtomicU64,
    ids: AtomicU64,
    /// The shard in which to look next for what to evict.
    hand: AtomicUsize,
}

impl fmt::Debug for MemCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemCache")
            .field("limit", &self.limit)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for MemCache {
    fn default() -> Self {
        MemCache::new()
    }
}

impl MemCache {
    /// A storage that keeps everything until it is purged: give `HttpCache::enable` an eviction manager with it.
    pub fn new() -> Self {
        MemCache {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            limit: None,
            bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    /// A storage that holds at most `bytes` of heads and bodies, and evicts by itself: what was not read since
    /// its last turn goes first. A response that would take more than an eighth of it is not stored.
    pub fn bounded(bytes: usize) -> Self {
        MemCache {
            limit: Some(bytes),
            ..MemCache::new()
        }
    }

    /// The bytes of heads and bodies in it, those that are being written included. Approximate for heads.
    pub fn stored_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of whole responses in it. Looks into all shards.
    pub fn stored_entries(&self) -> usize {
        let shards = self.shards.iter();
        let shards = shards.map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.len()).sum()
    }

    /// How many responses a bounded storage has evicted so far.
    pub fn evicted_entries(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn shard(&self, name: &Name) -> Result<&RwLock<Shard>> {
        let [first, ..] = name.primary;
        let shard = self.shards.get(usize::from(first) % SHARDS);
        shard.ok_or_else(|| Error::explain(ErrorType::InternalError, "no shard"))
    }

    fn read(&self, name: &Name) -> Result<RwLockReadGuard<'_, Shard>> {
        let shard = self.shard(name)?;
        Ok(shard.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, name: &Name) -> Result<RwLockWriteGuard<'_, Shard>> {
        let shard = self.shard(name)?;
        Ok(shard.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes room for `more` bytes of a response that has `before` already.
    fn charge(&self, before: usize, more: usize) -> Result<()> {
        if let Some(limit) = self.limit {
            let total = before.saturating_add(more);
            if total > limit / LARGEST_PART || !self.evict_to(limit.saturating_sub(more)) {
                let context = "there is no room in memory for the response";
                return Error::e_explain(crate::max_file_size::ERR_RESPONSE_TOO_LARGE, context);
            }
        }
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    fn uncharge(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Evicts until there are at most this many bytes. `false`: what is left is being written.
    fn evict_to(&self, most: usize) -> bool {
        let mut empty = 0;
        while self.stored_bytes() > most {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let freed = self.shards.get(at).and_then(|shard| {
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                shard.evict_one()
            });
            match freed {
                Some(bytes) => {
                    self.uncharge(bytes);
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                    empty = 0;
                }
                None => empty += 1,
            }
            // In a second round, nothing counts as read any more.
            if empty > 2 * SHARDS {
                return false;
            }
        }
        true
    }
}

#[async_trait]
impl Storage for MemCache {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let name = Name::of(key);
        let shard = self.read(&name)?;
        // An entry being written is newer than the one that it will replace.
        if let Some(fill) = shard.filling(&name) {
            return Ok(Some(MemHit::behind(fill.clone())));
        }
        Ok(shard.stored(&name).map(|stored| {
            stored.count_hit(self.limit.is_some());
            MemHit::whole(stored)
        }))
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        streaming_write_tag: Option<&[u8]>,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(tag) = streaming_write_tag else {
            return self.lookup(key, trace).await;
        };
        let tag = U64WriteId::try_from(tag)?;
        let name = Name::of(key);
        let shard = self.read(&name)?;
        let fill = shard.fills(&name).find(|fill| fill.tag == tag);
        Ok(fill.map(|fill| MemHit::behind(fill.clone())))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let name = Name::of(key);
        let head = head_size(meta) + key.primary_key().len();
        self.charge(0, head)?;
        let tag = self.ids.fetch_add(1, Ordering::Relaxed);
        let fill = Arc::new(Fill::new(meta.compacted(), tag.into()));
        let miss = MemMiss::new(self, name, fill.clone(), head);
        self.write(&name)?.begin(&name, key.primary_key(), fill);
        Ok(Box::new(miss))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        purge_type: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        if entry_id(target).is_some() {
            return Ok(PurgeOutcome::NotFound);
        }
        let name = Name::of(target.key());
        let mut shard = self.write(&name)?;
        let removed = match purge_type {
            PurgeType::Invalidation if name.variance.is_none() => shard.remove_family(&name),
            PurgeType::Invalidation => shard.remove(&name, true),
            PurgeType::Eviction => shard.remove(&name, false),
        };
        drop(shard);
        self.uncharge(removed.bytes);
        Ok(if removed.found {
            PurgeOutcome::Purged(None)
        } else {
            PurgeOutcome::NotFound
        })
    }

    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        if entry_id(target).is_some() {
            return Ok(PurgeOutcome::NotFound);
        }
        let name = Name::of(target.key());
        let now = crate::clock::now();
        let at = now.checked_sub(Duration::from_millis(1)).unwrap_or(now);
        let found = self.write(&name)?.expire(&name, at);
        Ok(if found {
            PurgeOutcome::Expired
        } else {
            PurgeOutcome::NotFound
        })
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let name = Name::of(key);
        let meta = meta.compacted();
        Ok(self.write(&name)?.replace_meta(&name, &meta))
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn inspection(&'static self) -> Option<&'static (dyn Inspect + Sync)> {
        Some(self)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

fn entry_id(target: PurgeTarget<'_>) -> Option<CacheEntryId> {
    match target {
        PurgeTarget::Active(_) => None,
        PurgeTarget::Exact(entry) => entry.entry_id(),
    }
}

/// The approximate size of a head: its names and values, and the overhead of each.
fn head_size(meta: &CacheMeta) -> usize {
    const FIXED: usize = 512;
    const PER_FIELD: usize = 64;
    let fields = meta.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + PER_FIELD);
    FIXED + fields.sum::<usize>()
}

#[cfg(test)]
mod tests;
