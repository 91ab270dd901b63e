//! The interface to a storage of responses. [`MemCache`](crate::MemCache) is one.

pub mod streaming_write;

use crate::eviction::{CacheEntryId, CacheEntryKey, CacheEntryKeyRef};
use crate::inspect::Inspect;
use crate::key::CompactCacheKey;
use crate::trace::SpanHandle;
use crate::{CacheKey, CacheMeta};
use async_trait::async_trait;
use bytes::Bytes;
pub use pingora_core::protocols::l4::splice::FilePart;
use pingora_error::{Error, ErrorType, Result};
use std::any::Any;
use std::fmt;

/// Reads a stored body.
pub type HitHandler = Box<dyn HandleHit + Sync + Send>;

/// Stores a body.
pub type MissHandler = Box<dyn HandleMiss + Sync + Send>;

/// The effect of a purge request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeAction {
    /// The entry is removed.
    Delete,
    /// The entry stays and counts as expired.
    Expire,
}

/// The result of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// There was no such entry.
    NotFound,
    /// The entry has been removed; its number, if the storage assigns numbers.
    Purged(Option<CacheEntryId>),
    /// The entry counts as expired.
    Expired,
}

/// The entry to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeTarget<'a> {
    /// The one that a lookup would currently find.
    Active(&'a CompactCacheKey),
    /// This entry and no other.
    Exact(&'a CacheEntryKey),
}

impl<'a> PurgeTarget<'a> {
    /// The key of the entry.
    pub fn key(self) -> &'a CompactCacheKey {
        match self {
            PurgeTarget::Active(key) => key,
            PurgeTarget::Exact(entry) => entry.key(),
        }
    }

    /// The name of the entry that was removed, with its number if the storage reports one.
    pub fn removed_entry(self, id: Option<CacheEntryId>) -> CacheEntryKeyRef<'a> {
        match self {
            PurgeTarget::Active(key) => CacheEntryKeyRef::from_entry_id(key, id),
            PurgeTarget::Exact(entry) => entry.into(),
        }
    }
}

impl fmt::Display for PurgeTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PurgeTarget::Active(key) => key.fmt(f),
            PurgeTarget::Exact(entry) => entry.fmt(f),
        }
    }
}

/// The reason for purging an entry.
#[derive(Debug, Clone, Copy)]
pub enum PurgeType {
    /// Its space is needed.
    Eviction,
    /// It must no longer be served.
    Invalidation,
}

/// A storage of responses.
#[async_trait]
pub trait Storage {
    /// Looks up the response for `key`.
    async fn lookup(
        &'static self,
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>>;

    /// Looks up a response that is still being written, by the tag of its writer. The default looks up a
    /// complete one.
    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        _streaming_write_tag: Option<&[u8]>,
        trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>>
    where
        Self: Sync,
    {
        self.lookup(key, trace).await
    }

    /// Begins to store a response.
    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<MissHandler>;

    /// Removes an entry.
    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        purge_type: PurgeType,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome>;

    /// Makes an entry count as expired. The default removes it.
    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome>
    where
        Self: Sync,
    {
        self.purge(target, PurgeType::Invalidation, trace).await
    }

    /// Replaces the metadata of a stored response. `false` if there is none.
    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        trace: &SpanHandle,
    ) -> Result<bool>;

    /// Whether a response can be read while it is still being written.
    fn support_streaming_partial_write(&self) -> bool {
        false
    }

    /// For looking at what it holds. `None` by default: it can't say.
    fn inspection(&'static self) -> Option<&'static (dyn Inspect + Sync)> {
        None
    }

    /// For access to the concrete type.
    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static);
}

/// Reads a stored body.
#[async_trait]
pub trait HandleHit {
    /// The next part of the body; `None` after the last.
    ///
    /// # Errors
    /// If the body can't be read to its end, for example because it was still being written and its writer
    /// failed. An incomplete body never ends with `None`.
    async fn read_body(&mut self) -> Result<Option<Bytes>>;

    /// What [`read_body`](Self::read_body) would return, if that is known without waiting: it spares a future for each
    /// piece. `None`, as by default: ask `read_body`.
    fn read_at_once(&mut self) -> Option<Result<Option<Bytes>>> {
        None
    }

    /// Ends reading, whether or not all of the body was read. Dropping the handler ends it as well.
    async fn finish(
        self: Box<Self>,
        storage: &'static (dyn Storage + Sync),
        key: &CacheKey,
        trace: &SpanHandle,
    ) -> Result<()>;

    /// Whether [`seek`](Self::seek) works.
    fn can_seek(&self) -> bool {
        false
    }

    /// Whether [`seek_multipart`](Self::seek_multipart) works.
    fn can_seek_multipart(&self) -> bool {
        false
    }

    /// Continues at byte `start` and ends before byte `end`. Fails by default.
    fn seek(&mut self, _start: usize, _end: Option<usize>) -> Result<()> {
        Error::e_explain(ErrorType::InternalError, "this storage can't seek")
    }

    /// [`seek`](Self::seek), more than once within one body.
    fn seek_multipart(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        self.seek(start, end)
    }

    /// The part of a file that has exactly the bytes which [`read_body`](Self::read_body) would return up to the end, for
    /// sending them to a client from there. Asked for only if nobody looks at the body, and the client's
    /// connection is a plain one. `None`, as by default: they are not in a file, or have to be read.
    ///
    /// [`read_body`](Self::read_body) may follow at any time, and continues behind what was [sent](Self::file_sent).
    fn file_part(&self) -> Option<FilePart<'_>> {
        None
    }

    /// So many bytes of [`file_part`](Self::file_part) were sent.
    fn file_sent(&mut self, _bytes: u64) {}

    /// Whether reading this makes the entry more worth keeping.
    fn should_count_access(&self) -> bool {
        true
    }

    /// The entry's share of the storage's capacity, in bytes. Zero if unknown.
    fn get_eviction_weight(&self) -> usize {
        0
    }

    /// The entry's number, if the storage assigns numbers.
    fn entry_id(&self) -> Option<CacheEntryId> {
        None
    }

    /// For access to the concrete type.
    fn as_any(&self) -> &(dyn Any + Send + Sync);

    /// For access to the concrete type.
    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync);
}

/// The result of storing a body.
#[derive(Debug, Clone, Copy)]
pub enum MissFinishType {
    /// A new entry of this many bytes.
    Created(usize),
    /// This many bytes added to an existing entry, and its size limit in total.
    Appended(usize, Option<usize>),
}

/// Stores a body. If it is dropped before [`finish`](Self::finish), it leaves no entry behind, and those who
/// read behind it get an error.
#[async_trait]
pub trait HandleMiss {
    /// Stores a part of the body; `eof` marks the last one.
    async fn write_body(&mut self, data: Bytes, eof: bool) -> Result<()>;

    /// The body is complete.
    async fn finish(self: Box<Self>) -> Result<MissFinishType>;

    /// Whether readers follow this body while it is being written: it is worth completing then, even if the
    /// request that fetches it has lost its client. `false` by default.
    fn has_readers(&self) -> bool {
        false
    }

    /// The tag by which a reader finds this body while it is still being written.
    fn streaming_write_tag(&self) -> Option<&[u8]> {
        None
    }

    /// The entry's number, if the storage assigns numbers.
    fn entry_id(&self) -> Option<CacheEntryId> {
        None
    }
}
