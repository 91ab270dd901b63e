//! Two storages, one before the other: memory before disk.

mod handlers;
mod inspect;

#[cfg(test)]
mod tests;

use crate::inspect::Inspect;
use crate::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage};
use crate::trace::SpanHandle;
use crate::{CacheKey, CacheMeta};
use async_trait::async_trait;
use handlers::{Copy, TieredHit, TieredMiss};
use pingora_error::Result;
use std::any::Any;
use std::fmt;

/// A small, fast storage before a large, slow one.
///
/// Responses are stored in the second, and read there while they are being written. A copy of a body of up
/// to 1 MiB goes to the first: when it is stored, and whenever it was read from the second as a whole. Copies are
/// written all at once, so no request waits behind a slow client. If the second storage fails, the first one
/// serves alone.
///
/// Both evict by themselves: make them with [`MemCache::bounded`](crate::MemCache::bounded) and
/// [`DiskStore::open`](crate::disk::DiskStore::open), and give `HttpCache::enable` no `EvictionManager`, which could keep
/// account of one only.
///
/// # Example
/// ```no_run
/// use pingora_cache::MemCache;
/// use pingora_cache::disk::{DiskOptions, DiskStore};
/// use pingora_cache::tiered::TieredStore;
/// use std::sync::LazyLock;
///
/// static MEMORY: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(256 << 20));
///
/// let disk = DiskStore::open("/var/cache/proxy", DiskOptions::bytes(50 << 30))?;
/// let store = TieredStore::new(&*MEMORY, disk);
/// # Ok::<(), Box<pingora_error::Error>>(())
/// ```
pub struct TieredStore {
    first: &'static (dyn Storage + Sync),
    second: &'static (dyn Storage + Sync),
}

impl TieredStore {
    /// `first` is asked before `second`.
    pub fn new(
        first: &'static (dyn Storage + Sync),
        second: &'static (dyn Storage + Sync),
    ) -> Self {
        TieredStore { first, second }
    }
}

/// The second's answer counts only if the first has none; an error only if there is no answer.
fn either(first: Result<PurgeOutcome>, second: Result<PurgeOutcome>) -> Result<PurgeOutcome> {
    match (first, second) {
        // The numbers of entries are a storage's own.
        (Ok(PurgeOutcome::Purged(_)), Ok(_)) | (Ok(_), Ok(PurgeOutcome::Purged(_))) => {
            Ok(PurgeOutcome::Purged(None))
        }
        (Ok(PurgeOutcome::NotFound), Ok(second)) => Ok(second),
        (Ok(first), Ok(_)) => Ok(first),
        // It may still be served from there.
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[async_trait]
impl Storage for TieredStore {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        match self.first.lookup(key, trace).await {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => log::debug!("the first storage failed: {error}"),
        }
        let Some((meta, hit)) = self.second.lookup(key, trace).await? else {
            return Ok(None);
        };
        // Behind a writer, which writes to both: it is on its way there.
        if !hit.should_count_access() {
            return Ok(Some((meta, hit)));
        }
        let copy = Copy::new(self, key, &meta);
        Ok(Some((meta, Box::new(TieredHit::new(hit, copy)))))
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        streaming_write_tag: Option<&[u8]>,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        if streaming_write_tag.is_none() {
            return self.lookup(key, trace).await;
        }
        self.second
            .lookup_streaming_write(key, streaming_write_tag, trace)
            .await
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<MissHandler> {
        match self.second.get_miss_handler(key, meta, trace).await {
            Ok(miss) => Ok(Box::new(TieredMiss::new(
                self,
                miss,
                Copy::new(self, key, meta),
            ))),
            Err(error) => {
                log::debug!("the second storage failed: {error}");
                self.first.get_miss_handler(key, meta, trace).await
            }
        }
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        purge_type: PurgeType,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // The slow one first: what is read from it must not be copied to the other after that was purged.
        let second = self.second.purge(target, purge_type, trace).await;
        let first = self.first.purge(target, purge_type, trace).await;
        either(first, second)
    }

    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let second = self.second.expire(target, trace).await;
        let first = self.first.expire(target, trace).await;
        either(first, second)
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<bool> {
        let second = self.second.update_meta(key, meta, trace).await;
        let first = self.first.update_meta(key, meta, trace).await;
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(first || second),
            (Ok(true), Err(_)) | (Err(_), Ok(true)) => Ok(true),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    fn support_streaming_partial_write(&self) -> bool {
        self.second.support_streaming_partial_write()
    }

    fn inspection(&'static self) -> Option<&'static (dyn Inspect + Sync)> {
        let is_possible = self.first.inspection().is_some() || self.second.inspection().is_some();
        is_possible.then_some(self as &(dyn Inspect + Sync))
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore").finish_non_exhaustive()
    }
}
