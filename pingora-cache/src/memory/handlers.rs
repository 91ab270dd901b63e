//! Reading from and writing to memory.

use super::body::{Fill, Reader};
use super::{MemCache, Stored};
use crate::key::Name;
use crate::storage::{FilePart, HandleHit, HandleMiss, HitHandler, MissFinishType, Storage};
use crate::trace::SpanHandle;
use crate::{CacheKey, CacheMeta};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_error::Result;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads a body.
#[derive(Debug)]
pub(super) struct MemHit {
    reader: Reader,
    weight: usize,
    is_whole: bool,
}

impl MemHit {
    pub(super) fn whole(stored: &Stored) -> (CacheMeta, HitHandler) {
        let hit = MemHit {
            reader: Reader::whole(stored.body.clone()),
            weight: stored.weight,
            is_whole: true,
        };
        (stored.meta.clone(), Box::new(hit))
    }

    pub(super) fn behind(fill: Arc<Fill>) -> (CacheMeta, HitHandler) {
        let meta = fill.meta.clone();
        let hit = MemHit {
            reader: Reader::behind(fill),
            weight: 0,
            is_whole: false,
        };
        (meta, Box::new(hit))
    }
}

#[async_trait]
impl HandleHit for MemHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.reader.next().await
    }

    fn read_at_once(&mut self) -> Option<Result<Option<Bytes>>> {
        self.reader.next_of_whole().map(Ok)
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn can_seek_multipart(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        self.reader.seek(start, end);
        Ok(())
    }

    fn file_part(&self) -> Option<FilePart<'_>> {
        self.reader.file_part()
    }

    fn file_sent(&mut self, bytes: u64) {
        self.reader.file_sent(bytes);
    }

    fn should_count_access(&self) -> bool {
        // Until it is whole, the eviction manager does not know it.
        self.is_whole
    }

    fn get_eviction_weight(&self) -> usize {
        self.weight
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Writes a body.
#[derive(Debug)]
pub(super) struct MemMiss {
    cache: &'static MemCache,
    name: Name,
    fill: Arc<Fill>,
    /// The bytes charged for the response so far.
    charged: usize,
}

impl MemMiss {
    pub(super) fn new(cache: &'static MemCache, name: Name, fill: Arc<Fill>, head: usize) -> Self {
        MemMiss {
            cache,
            name,
            fill,
            charged: head,
        }
    }
}

#[async_trait]
impl HandleMiss for MemMiss {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        if !data.is_empty() {
            self.cache.charge(self.charged, data.len())?;
            self.charged += data.len();
            self.fill.push(data);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let body = self.fill.finish();
        self.cache
            .bytes
            .fetch_add(body.overhead(), Ordering::Relaxed);
        let weight = std::mem::take(&mut self.charged) + body.overhead();
        let id = self.cache.ids.fetch_add(1, Ordering::Relaxed);
        let stored = Stored::new(id, self.fill.meta.clone(), body, weight);
        let mut shard = self.cache.write(&self.name)?;
        let is_bounded = self.cache.limit.is_some();
        let (kept, freed) = shard.finish(&self.name, &self.fill, stored, is_bounded);
        drop(shard);
        self.cache.uncharge(freed);
        Ok(MissFinishType::Created(if kept { weight } else { 0 }))
    }

    fn has_readers(&self) -> bool {
        self.fill.has_readers()
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.fill.tag.as_bytes())
    }
}

impl Drop for MemMiss {
    fn drop(&mut self) {
        // Without effect after the end.
        self.fill.fail();
        if let Ok(mut shard) = self.cache.write(&self.name) {
            shard.forget(&self.name, &self.fill);
        }
        self.cache.uncharge(self.charged);
    }
}
