//! Storing a response.

use super::{CachePhase, HttpCache, Inner, misused};
use crate::eviction::CacheEntryKey;
use crate::key::HashBinary;
use crate::lock::LockStatus;
use crate::storage::{HitHandler, MissFinishType, MissHandler, PurgeTarget, PurgeType};
use crate::{CacheMeta, NoCacheReason};
use pingora_error::Result;

impl HttpCache {
    /// How large a response may be to be stored, in bytes of its body; `None`: any size.
    pub fn max_file_size_bytes(&self) -> Option<usize> {
        self.inner.as_ref()?.max_file_size
    }

    /// Limits how large a response may be to be stored, in bytes of its body. The client gets larger ones, too.
    /// No effect while the cache is not enabled.
    pub fn set_max_file_size_bytes(&mut self, max_file_size_bytes: usize) {
        if let Some(inner) = self.on() {
            inner.max_file_size = Some(max_file_size_bytes);
        }
    }

    /// Counts bytes of the body. Whether it is still within the limit.
    pub fn track_body_bytes_for_max_file_size(&mut self, bytes_len: usize) -> bool {
        if let Some(inner) = &mut self.inner {
            inner.body_bytes = inner.body_bytes.saturating_add(bytes_len);
        }
        !self.exceeded_max_file_size()
    }

    /// Whether more was counted than the limit allows.
    pub fn exceeded_max_file_size(&self) -> bool {
        let exceeds = |inner: &Inner| Some(inner.body_bytes > inner.max_file_size?);
        self.inner.as_deref().and_then(exceeds).unwrap_or(false)
    }

    /// Reads what is being stored, if the storage allows that; `None` if not, and ahead of
    /// [`set_miss_handler`](Self::set_miss_handler).
    pub fn miss_body_reader(&mut self) -> Option<&mut HitHandler> {
        let inner = self.on()?;
        match inner.phase {
            CachePhase::Miss | CachePhase::Expired => inner.body_reader.as_mut(),
            _ => None,
        }
    }

    /// Another reader of what is being stored, from its beginning; `None` if nothing is, and if the storage
    /// does not allow it.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn follow_fill(&self) -> Result<Option<HitHandler>> {
        let Some(inner) = self.on_ref() else {
            return Ok(None);
        };
        let Some(miss) = &inner.miss_handler else {
            return Ok(None);
        };
        if !inner.storage.support_streaming_partial_write() {
            return Ok(None);
        }
        let trace = inner.spans.miss.handle();
        let (tag, key) = (miss.streaming_write_tag(), inner.key()?);
        let found = inner
            .storage
            .lookup_streaming_write(key, tag, &trace)
            .await?;
        Ok(found.map(|(_, reader)| reader))
    }

    /// Whether the storage lets a response be read while it is being written; `None` while the cache is not
    /// enabled.
    pub fn support_streaming_partial_write(&self) -> Option<bool> {
        Some(self.on_ref()?.storage.support_streaming_partial_write())
    }

    /// Begins to store the response whose metadata was [set](Self::set_cache_meta). If the storage lets it be
    /// read meanwhile, those who wait for this request are released, to read it; so can this one, by
    /// [`miss_body_reader`](Self::miss_body_reader).
    ///
    /// # Errors
    /// Those of the storage; `InternalError` if this is no miss, or without key or metadata.
    pub async fn set_miss_handler(&mut self) -> Result<()> {
        let inner = self.in_use()?;
        if !matches!(inner.phase, CachePhase::Miss | CachePhase::Expired) {
            return Err(misused("only what was missed can be stored"));
        }
        let Some(meta) = &inner.meta else {
            return Err(misused("the response has no metadata"));
        };
        let trace = inner.spans.miss.handle();
        let (storage, key) = (inner.storage, inner.key()?);
        let handler = storage.get_miss_handler(key, meta, &trace).await?;
        if storage.support_streaming_partial_write() {
            let tag = handler.streaming_write_tag();
            let found = storage.lookup_streaming_write(key, tag, &trace).await?;
            inner.body_reader = found.map(|(_, reader)| reader);
        }
        inner.miss_handler = Some(handler);
        if inner.body_reader.is_some() {
            inner.release(LockStatus::Done);
        }
        Ok(())
    }

    /// Writes the response that is being stored; `None` if none is.
    pub fn miss_handler(&mut self) -> Option<&mut MissHandler> {
        self.on()?.miss_handler.as_mut()
    }

    /// The response that is being stored is complete. Admits it to the eviction manager, and removes what has
    /// to go instead. Without effect if none is being stored.
    ///
    /// # Errors
    /// Those of the storage: nothing is stored then. Entries that can't be removed are only logged.
    pub async fn finish_miss_handler(&mut self) -> Result<()> {
        let inner = self.in_use()?;
        let Some(handler) = inner.miss_handler.take() else {
            return Ok(());
        };
        let id = handler.entry_id();
        let finished = match handler.finish().await {
            Ok(finished) => finished,
            Err(error) => {
                inner.release(inner.status_for(NoCacheReason::StorageError));
                return Err(error);
            }
        };
        inner.release(LockStatus::Done);
        inner.admit(id, finished).await
    }

    /// Drops what was being stored: it is not complete. The request may try again.
    pub fn abort_fill(&mut self) {
        if let Some(inner) = self.on()
            && matches!(inner.phase, CachePhase::Miss | CachePhase::Expired)
        {
            inner.miss_handler = None;
            inner.body_reader = None;
            inner.meta = None;
            inner.body_bytes = 0;
        }
    }

    /// A response that was stored without a `Content-Length` turned out to have this one: later hits declare it,
    /// and can be asked for parts.
    ///
    /// # Errors
    /// Those of the storage; the response stays as it was.
    pub async fn declare_length(&mut self, length: usize) -> Result<()> {
        let inner = self.in_use()?;
        let Some(meta) = &mut inner.meta else {
            return Ok(());
        };
        if meta.headers().contains_key(http::header::CONTENT_LENGTH) {
            return Ok(());
        }
        meta.response_header_mut().set_content_length(length)?;
        let meta = meta.clone();
        let trace = inner.spans.miss.handle();
        inner
            .storage
            .update_meta(inner.key()?, &meta, &trace)
            .await?;
        Ok(())
    }

    /// Sets the metadata of a response that came from the upstream. A stale response has then expired.
    pub fn set_cache_meta(&mut self, meta: CacheMeta) {
        if let Some(inner) = self.on() {
            if matches!(inner.phase, CachePhase::Stale | CachePhase::StaleUpdating) {
                inner.phase = CachePhase::Expired;
            }
            inner.body_reader = None;
            inner.meta = Some(meta);
        }
    }

    /// Sets the variant that the response which came from the upstream is, `None` if it does not vary. It is
    /// stored as that variant if this request looked for it, and else in the place from which look-ups begin.
    pub fn update_variance(&mut self, variance: Option<HashBinary>) {
        let Some(inner) = self.on() else {
            return;
        };
        if let Some(meta) = &mut inner.meta {
            match variance {
                Some(variance) => meta.set_variance(variance),
                None => meta.remove_variance(),
            }
        }
        if let Some(key) = &mut inner.key
            && key.get_variance_key() != variance.as_ref()
        {
            key.remove_variance_key();
        }
    }
}

impl Inner {
    async fn admit(
        &mut self,
        id: Option<crate::CacheEntryId>,
        finished: MissFinishType,
    ) -> Result<()> {
        let (Some(eviction), Some(meta)) = (self.eviction, &self.meta) else {
            return Ok(());
        };
        let entry = CacheEntryKey::from_entry_id(self.key()?.to_compact(), id);
        let evicted = match finished {
            // It was invalidated while it was being written.
            MissFinishType::Created(0) => return Ok(()),
            MissFinishType::Created(size) => eviction.admit(entry, size, meta.fresh_until()),
            MissFinishType::Appended(size, most) => eviction.increment_weight(&entry, size, most),
        };
        let trace = self.spans.miss.handle();
        for entry in &evicted {
            let target = PurgeTarget::Exact(entry);
            let purged = self.storage.purge(target, PurgeType::Eviction, &trace);
            if let Err(error) = purged.await {
                log::warn!("{entry} could not be evicted: {error}");
            }
        }
        Ok(())
    }
}
