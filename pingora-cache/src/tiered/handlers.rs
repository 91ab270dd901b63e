//! Reading from the second storage and writing to it, and copies for the first.

use super::TieredStore;
use crate::storage::{
    FilePart, HandleHit, HandleMiss, HitHandler, MissFinishType, MissHandler, PurgeTarget,
    PurgeType, Storage,
};
use crate::trace::{Span, SpanHandle};
use crate::{CacheKey, CacheMeta};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_error::Result;
use std::any::Any;

/// A body larger than this is not copied to the first storage, in bytes.
const LARGEST: usize = 1024 * 1024;

/// A copy for the first storage, written all at once when it is whole, so that no request waits behind the reader
/// or the writer that it is copied from.
pub(super) struct Copy {
    store: &'static TieredStore,
    key: CacheKey,
    meta: CacheMeta,
    pieces: Vec<Bytes>,
    length: usize,
}

impl Copy {
    pub(super) fn new(store: &'static TieredStore, key: &CacheKey, meta: &CacheMeta) -> Self {
        Copy {
            store,
            key: key.clone(),
            meta: meta.clone(),
            pieces: Vec::new(),
            length: 0,
        }
    }

    /// Adds a piece; whether the body is still small enough.
    fn push(&mut self, piece: &Bytes) -> bool {
        self.length = self.length.saturating_add(piece.len());
        self.pieces.push(piece.clone());
        self.length <= LARGEST
    }

    async fn write(mut self) {
        let trace = Span::inactive().handle();
        let pieces = std::mem::take(&mut self.pieces);
        if let Err(error) = self.try_write(pieces, &trace).await {
            log::debug!("a response was not copied: {error}");
        }
        if !self.is_current(&trace).await {
            remove(self.store.first, &self.key, &trace).await;
        }
    }

    async fn try_write(&self, pieces: Vec<Bytes>, trace: &SpanHandle) -> Result<()> {
        let first = self.store.first;
        let mut miss = first.get_miss_handler(&self.key, &self.meta, trace).await?;
        for piece in pieces {
            miss.write_body(piece, false).await?;
        }
        miss.finish().await?;
        Ok(())
    }

    /// Whether the second storage still has this response: it may have been purged or replaced in the meantime, ahead of
    /// the copy that would bring it back.
    async fn is_current(&self, trace: &SpanHandle) -> bool {
        let found = self.store.second.lookup(&self.key, trace).await;
        found.ok().flatten().is_some_and(|(meta, _)| {
            meta.created() == self.meta.created() && meta.updated() == self.meta.updated()
        })
    }
}

/// Removes one response, not its variants.
async fn remove(storage: &'static (dyn Storage + Sync), key: &CacheKey, trace: &SpanHandle) {
    let key = key.to_compact();
    let target = PurgeTarget::Active(&key);
    if let Err(error) = storage.purge(target, PurgeType::Eviction, trace).await {
        log::warn!("an outdated copy could not be removed: {error}");
    }
}

/// Reads from the second storage.
pub(super) struct TieredHit {
    hit: HitHandler,
    /// `None` once a copy makes no sense.
    copy: Option<Copy>,
}

impl TieredHit {
    pub(super) fn new(hit: HitHandler, copy: Copy) -> Self {
        TieredHit {
            hit,
            copy: Some(copy),
        }
    }
}

#[async_trait]
impl HandleHit for TieredHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let piece = self.hit.read_body().await?;
        let fits = match (&piece, &mut self.copy) {
            (Some(piece), Some(copy)) => copy.push(piece),
            _ => true,
        };
        if !fits {
            self.copy = None;
        }
        if piece.is_none()
            && let Some(copy) = self.copy.take()
        {
            // The client does not wait for it, and may go.
            tokio::spawn(copy.write());
        }
        Ok(piece)
    }

    async fn finish(
        self: Box<Self>,
        storage: &'static (dyn Storage + Sync),
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<()> {
        self.hit.finish(storage, key, trace).await
    }

    fn can_seek(&self) -> bool {
        self.hit.can_seek()
    }

    fn can_seek_multipart(&self) -> bool {
        self.hit.can_seek_multipart()
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        // Reads from here on don't give the whole.
        self.copy = None;
        self.hit.seek(start, end)
    }

    fn seek_multipart(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        self.copy = None;
        self.hit.seek_multipart(start, end)
    }

    fn file_part(&self) -> Option<FilePart<'_>> {
        // A copy is made of what is read.
        self.hit.file_part().filter(|_| self.copy.is_none())
    }

    fn file_sent(&mut self, bytes: u64) {
        self.hit.file_sent(bytes);
    }

    fn should_count_access(&self) -> bool {
        self.hit.should_count_access()
    }

    fn get_eviction_weight(&self) -> usize {
        self.hit.get_eviction_weight()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Writes to the second storage, and to the first when all is there.
pub(super) struct TieredMiss {
    miss: MissHandler,
    copy: Option<Copy>,
    /// The key of an older copy, if there will be no new one.
    store: &'static TieredStore,
    key: CacheKey,
}

impl TieredMiss {
    pub(super) fn new(store: &'static TieredStore, miss: MissHandler, copy: Copy) -> Self {
        TieredMiss {
            miss,
            store,
            key: copy.key.clone(),
            copy: Some(copy),
        }
    }
}

#[async_trait]
impl HandleMiss for TieredMiss {
    async fn write_body(&mut self, data: Bytes, eof: bool) -> Result<()> {
        if let Some(copy) = &mut self.copy
            && !copy.push(&data)
        {
            self.copy = None;
        }
        self.miss.write_body(data, eof).await
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let TieredMiss {
            miss,
            copy,
            store,
            key,
        } = *self;
        let finished = miss.finish().await?;
        match copy {
            Some(copy) if !matches!(finished, MissFinishType::Created(0)) => copy.write().await,
            _ => remove(store.first, &key, &Span::inactive().handle()).await,
        }
        Ok(finished)
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        self.miss.streaming_write_tag()
    }

    fn has_readers(&self) -> bool {
        self.miss.has_readers()
    }
}
