//! One stored response.

use crate::key::{CacheHashKey, CompactCacheKey, HashBinary};
use crate::policy::uri_in;
use crate::{CacheMeta, clock};
use bytes::Bytes;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// A stored response, or one that is being written.
///
/// `Serialize` writes what operators want to see, with times in seconds from now:
///
/// | field | |
/// |---|---|
/// | `uri`, `key` | as [`uri`](Entry::uri) and [`primary_key`](Entry::primary_key) |
/// | `digest`, `variant` | of the key and of what the response varies on, as hexadecimal digits; `variant` may be null |
/// | `status` | of the response |
/// | `size`, `body` | bytes, as [`size`](Entry::size) and [`body`](Entry::body) |
/// | `age`, `fresh_for` | seconds; `fresh_for` is negative if the response is stale |
/// | `stale_while_revalidate`, `stale_if_error` | seconds after that in which it may still be served |
/// | `hits` | as [`hits`](Entry::hits) |
/// | `tags`, `purged` | what the policy knows |
/// | `complete` | whether it is whole |
/// | `storage` | as [`storage`](Entry::storage) |
#[derive(Debug, Clone)]
pub struct Entry {
    key: CompactCacheKey,
    primary: Bytes,
    meta: CacheMeta,
    size: u64,
    body: u64,
    hits: u64,
    storage: &'static str,
    is_complete: bool,
    tags: Vec<String>,
    is_purged: bool,
}

impl Entry {
    /// A whole response without a body, of `key`, which was made of `primary`, in a storage of this kind.
    pub fn new(
        key: CompactCacheKey,
        primary: Bytes,
        meta: CacheMeta,
        storage: &'static str,
    ) -> Self {
        Entry {
            key,
            primary,
            meta,
            size: 0,
            body: 0,
            hits: 0,
            storage,
            is_complete: true,
            tags: Vec::new(),
            is_purged: false,
        }
    }

    /// Sets the bytes of the body, and those that the whole response takes.
    pub fn sizes(mut self, body: u64, size: u64) -> Self {
        self.body = body;
        self.size = size;
        self
    }

    /// Sets how often it was found.
    pub fn found(mut self, hits: u64) -> Self {
        self.hits = hits;
        self
    }

    /// It is still being written.
    pub fn incomplete(mut self) -> Self {
        self.is_complete = false;
        self
    }

    pub(super) fn complete(&mut self, tags: Vec<String>, is_purged: bool) {
        self.tags = tags;
        self.is_purged = is_purged;
    }

    /// Its digests, for [`PurgeTarget`](crate::PurgeTarget).
    pub fn key(&self) -> &CompactCacheKey {
        &self.key
    }

    /// The text of its key.
    pub fn primary_key(&self) -> &[u8] {
        &self.primary
    }

    /// The part after the method of a key of [`CachePolicy`](crate::policy::CachePolicy), for example
    /// `https://one.example/a`; all of another key without spaces.
    pub fn uri(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(uri_in(&self.primary))
    }

    /// The digest of the values that it varies on, if it is a variant.
    pub fn variant(&self) -> Option<HashBinary> {
        self.key.variance_bin()
    }

    /// Its head, when it was stored, and until when it is fresh.
    pub fn meta(&self) -> &CacheMeta {
        &self.meta
    }

    /// Whether it is fresh at this time, by its metadata: neither what a client demands nor a
    /// [purge](Self::is_purged) counts here.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        self.meta.is_fresh(now)
    }

    /// Its share of the storage's capacity, in bytes; 0 while it is being written to a disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of its body, or of what there is of it so far.
    pub fn body(&self) -> u64 {
        self.body
    }

    /// The number of look-ups that found it, since it was stored or, on a disk, since the process began. Those that led to its
    /// validation or to a newer response count as well.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// The kind of storage that holds it: `memory` or `disk`.
    pub fn storage(&self) -> &'static str {
        self.storage
    }

    /// Whether it is whole, and not still being written.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Its tags, in the fields that [`CachePolicy::tag_fields`](crate::policy::CachePolicy::tag_fields) names.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether it was purged by tag, host or prefix, or with all others: it counts as absent, and takes space until it is
    /// asked for or evicted.
    pub fn is_purged(&self) -> bool {
        self.is_purged
    }
}

/// Whole seconds from `now` until `then`; negative if that is past.
fn seconds_until(then: SystemTime, now: SystemTime) -> i64 {
    let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match then.duration_since(now) {
        Ok(left) => whole(left),
        Err(over) => whole(over.duration()).saturating_neg(),
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let now = clock::now();
        let meta = &self.meta;
        let mut out = serializer.serialize_struct("Entry", 16)?;
        out.serialize_field("uri", &self.uri())?;
        out.serialize_field("key", &String::from_utf8_lossy(&self.primary))?;
        out.serialize_field("digest", &self.key.primary())?;
        out.serialize_field("variant", &self.key.variance())?;
        out.serialize_field("status", &meta.response_header().status.as_u16())?;
        out.serialize_field("size", &self.size)?;
        out.serialize_field("body", &self.body)?;
        out.serialize_field("age", &meta.age().as_secs())?;
        out.serialize_field("fresh_for", &seconds_until(meta.fresh_until(), now))?;
        let window = meta.stale_while_revalidate_sec();
        out.serialize_field("stale_while_revalidate", &window)?;
        out.serialize_field("stale_if_error", &meta.stale_if_error_sec())?;
        out.serialize_field("hits", &self.hits)?;
        out.serialize_field("tags", &self.tags)?;
        out.serialize_field("purged", &self.is_purged)?;
        out.serialize_field("complete", &self.is_complete)?;
        out.serialize_field("storage", &self.storage)?;
        out.end()
    }
}
