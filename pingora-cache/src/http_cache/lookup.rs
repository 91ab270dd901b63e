//! Looking up, and reading what was found.

use super::{CachePhase, HttpCache, Inner, misused};
use crate::eviction::CacheEntryKey;
use crate::key::HashBinary;
use crate::storage::{HitHandler, PurgeOutcome, PurgeTarget, PurgeType};
use crate::{CacheMeta, HitStatus};
use pingora_error::Result;
use std::time::Instant;
use tokio::task::JoinHandle;

impl HttpCache {
    /// Looks the key up in the storage. If it finds nothing, it takes the permit to fetch, or a place among
    /// those who wait for the request that has it ([`is_cache_locked`](Self::is_cache_locked)).
    ///
    /// Not cancel-safe: a place that was taken is lost.
    ///
    /// # Errors
    /// Those of the storage; `InternalError` without a key.
    pub async fn cache_lookup(&mut self) -> Result<Option<(CacheMeta, HitHandler)>> {
        let inner = self.in_use()?;
        let begun = Instant::now();
        let trace = inner.spans.cache.handle();
        let found = inner.storage.lookup(inner.key()?, &trace).await;
        let took = inner.digest.lookup_duration.unwrap_or_default() + begun.elapsed();
        inner.digest.lookup_duration = Some(took);
        let variant = inner.key()?.get_variance_key().copied();
        // A storage that returns another variant than the one asked for has nothing for this request.
        let found = found?.filter(|(meta, _)| variant.is_none() || meta.variance() == variant);
        if found.is_none() {
            inner.decide_admission();
            inner.lock(false);
        }
        Ok(found)
    }

    /// Given the variant that a request asks for, and what was found under its key without a variant: whether
    /// that is the one. If not, the next look-up is for the right one.
    pub fn cache_vary_lookup(&mut self, variance: HashBinary, meta: &CacheMeta) -> bool {
        let Some(inner) = self.on() else {
            return false;
        };
        if meta.variance() == Some(variance) {
            return true;
        }
        if let Some(key) = &mut inner.key {
            key.set_variance_key(variance);
            inner.is_varied = true;
        }
        false
    }

    /// The response that was found will be used as `hit_status` says. A stale response takes the permit to fetch, or
    /// a place among those who wait; so does one that counts as a miss.
    pub fn cache_found(&mut self, meta: CacheMeta, hit_handler: HitHandler, hit_status: HitStatus) {
        let Some(inner) = self.on() else {
            return;
        };
        if hit_status.is_treated_as_miss() {
            inner.phase = CachePhase::Miss;
            inner.decide_admission();
            inner.lock(false);
            return;
        }
        if hit_status.is_fresh() {
            inner.phase = CachePhase::Hit;
        } else {
            inner.phase = CachePhase::Stale;
            inner.lock(meta.serve_stale_while_revalidate(crate::clock::now()));
        }
        crate::trace::tag_span_with_meta(&mut inner.spans.hit, &meta);
        inner.meta = Some(meta);
        inner.body_reader = Some(hit_handler);
    }

    /// Nothing usable was found: the response will come from the upstream.
    pub fn cache_miss(&mut self) {
        if let Some(inner) = self.on() {
            inner.phase = CachePhase::Miss;
            inner.meta = None;
            inner.body_reader = None;
            if inner.digest.admission.is_some_and(|it| it.is_deferred()) {
                self.disable(crate::NoCacheReason::Deferred);
            }
        }
    }

    /// Reads the body of what was found.
    ///
    /// # Panics
    /// If nothing was found, or its reader was finished.
    #[allow(clippy::expect_used)] // what the interface promises
    pub fn hit_handler(&mut self) -> &mut HitHandler {
        let reader = self.on().and_then(|inner| inner.body_reader.as_mut());
        reader.expect("the cache has found something")
    }

    /// Whether parts of what was found can be read in any order.
    pub fn can_seek_multipart(&self) -> bool {
        let reader = self.on_ref().and_then(|inner| inner.body_reader.as_ref());
        reader.is_some_and(|reader| reader.can_seek_multipart())
    }

    /// Forgets what was found: the next look-up begins anew.
    pub fn forget_found(&mut self) {
        if let Some(inner) = self.on() {
            inner.look_up_anew();
        }
    }

    /// Takes the reader of the response that was found or is being stored out of the cache. The caller drops it,
    /// or puts it back with [`put_body_reader`](Self::put_body_reader).
    pub fn take_body_reader(&mut self) -> Option<HitHandler> {
        self.on()?.body_reader.take()
    }

    /// Puts back what [`take_body_reader`](Self::take_body_reader) took.
    pub fn put_body_reader(&mut self, reader: HitHandler) {
        if let Some(inner) = self.on() {
            inner.body_reader = Some(reader);
        }
    }

    /// Ends reading what was found, and counts the access. Without effect if there is no reader.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn finish_hit_handler(&mut self) -> Result<()> {
        let inner = self.in_use()?;
        let Some(reader) = inner.body_reader.take() else {
            return Ok(());
        };
        if reader.should_count_access()
            && let (Some(eviction), Some(meta)) = (inner.eviction, &inner.meta)
        {
            let key = inner.key()?.to_compact();
            let entry = CacheEntryKey::from_entry_id(key, reader.entry_id());
            eviction.access(&entry, reader.get_eviction_weight(), meta.fresh_until());
        }
        let trace = inner.spans.hit.handle();
        let (storage, key) = (inner.storage, inner.key()?);
        reader.finish(storage, key, &trace).await
    }

    /// Removes what is stored under this request's key, with all of its variants. Whether there was anything.
    ///
    /// # Errors
    /// Those of the storage; `InternalError` without a key.
    pub async fn purge(&self) -> Result<bool> {
        self.on_ref().ok_or_else(off)?.purger()?.purge().await
    }

    /// Makes what is stored under this request's key expire, with all of its variants. Whether there was
    /// anything.
    ///
    /// # Errors
    /// Those of the storage; `InternalError` without a key.
    pub async fn expire(&self) -> Result<bool> {
        let inner = self.on_ref().ok_or_else(off)?;
        let key = inner.key()?.to_compact();
        let trace = inner.spans.cache.handle();
        let target = PurgeTarget::Active(&key);
        let outcome = inner.storage.expire(target, &trace).await?;
        if let (PurgeOutcome::Purged(id), Some(eviction)) = (outcome, inner.eviction) {
            eviction.remove(target.removed_entry(id));
        }
        Ok(outcome != PurgeOutcome::NotFound)
    }

    /// [`purge`](Self::purge) in a task of its own. An error is logged with `context`, and returned.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn_async_purge(&self, context: &'static str) -> JoinHandle<Result<bool>> {
        let purger = self.on_ref().ok_or_else(off).and_then(Inner::purger);
        tokio::spawn(async move {
            let purged = match purger {
                Ok(purger) => purger.purge().await,
                Err(error) => Err(error),
            };
            if let Err(error) = &purged {
                log::warn!("{context}: the cache could not be purged: {error}");
            }
            purged
        })
    }
}

fn off() -> pingora_error::BError {
    misused("the cache is not enabled")
}

/// The parts needed for purging, without the request.
struct Purger {
    storage: &'static (dyn crate::Storage + Sync),
    eviction: Option<&'static (dyn crate::eviction::EvictionManager + Sync)>,
    key: crate::key::CompactCacheKey,
    trace: crate::trace::SpanHandle,
}

impl Purger {
    async fn purge(self) -> Result<bool> {
        let target = PurgeTarget::Active(&self.key);
        let purge = self
            .storage
            .purge(target, PurgeType::Invalidation, &self.trace);
        let outcome = purge.await?;
        if let (PurgeOutcome::Purged(id), Some(eviction)) = (outcome, self.eviction) {
            eviction.remove(target.removed_entry(id));
        }
        Ok(outcome != PurgeOutcome::NotFound)
    }
}

impl Inner {
    fn purger(&self) -> Result<Purger> {
        Ok(Purger {
            storage: self.storage,
            eviction: self.eviction,
            key: self.key()?.to_compact(),
            trace: self.spans.cache.handle(),
        })
    }

    /// Asks the admission policy, once.
    fn decide_admission(&mut self) {
        if let (Some(policy), Some(key), None) = (self.admission, &self.key, self.digest.admission)
        {
            self.digest.admission = Some(policy.observe(key));
        }
    }
}
