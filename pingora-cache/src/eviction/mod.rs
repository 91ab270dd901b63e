//! Which entry goes when a storage is full: the names of single entries, and what decides between them.
//!
//! | module | order | a hit | one scan of many others |
//! |---|---|---|---|
//! | [`simple_lru`] | use, exact | moves an entry, under one lock | pushes out what is used |
//! | [`lru`] | use, within a shard | moves an entry, under a shard's lock | pushes out what is used |
//! | [`async_lru`] | as `lru` | as `lru`; tasks remove what goes | pushes out what is used |
//! | [`s3_fifo`] | three queues | counts, under a shared lock | leaves it alone |
//!
//! [`DefaultManager`] is the one to take without further thought.

pub mod async_lru;
mod entry;
pub mod lru;
pub mod s3_fifo;
mod saved;
pub mod simple_lru;

#[cfg(test)]
mod tests;

pub use entry::{CacheEntryId, CacheEntryKey, CacheEntryKeyRef};

use async_trait::async_trait;
use pingora_error::Result;
use std::time::SystemTime;

/// The manager with the better hit rate: see `docs/caching.md` for the figures.
pub type DefaultManager = s3_fifo::Manager<16>;

/// Tracks the contents of a storage, and chooses the entries to evict. It removes nothing itself: the caller
/// purges the returned entries from the storage.
///
/// Called on the workers by each hit and each fill, so the synchronous methods are quick and never block for long.
#[async_trait]
pub trait EvictionManager: Send + Sync {
    /// The size of all entries, in bytes.
    fn total_size(&self) -> usize;

    /// The number of entries.
    fn total_items(&self) -> usize;

    /// The size of all entries that were ever evicted, in bytes.
    fn evicted_size(&self) -> usize;

    /// How many entries were ever evicted.
    fn evicted_items(&self) -> usize;

    /// Notes a new entry of `size` bytes, or an existing one with a new size. Returns the entries that have to go
    /// so that the rest is within the limits; the new one may be among them.
    fn admit(
        &self,
        item: CacheEntryKey,
        size: usize,
        fresh_until: SystemTime,
    ) -> Vec<CacheEntryKey>;

    /// Notes that an entry grew by `delta` bytes, up to `max_weight` bytes if there is such a limit. Returns the
    /// entries that have to go. Does nothing if there is no such entry.
    fn increment_weight(
        &self,
        item: &CacheEntryKey,
        delta: usize,
        max_weight: Option<usize>,
    ) -> Vec<CacheEntryKey>;

    /// Notes that an entry was purged, which is not an eviction.
    fn remove(&self, item: CacheEntryKeyRef<'_>);

    /// Notes a hit. Returns whether the entry was known; if not, it is noted with `size` bytes, and nothing is
    /// evicted until the next [`admit`](Self::admit).
    fn access(&self, item: &CacheEntryKey, size: usize, fresh_until: SystemTime) -> bool;

    /// Whether the entry is known. Not a use.
    fn peek(&self, item: &CacheEntryKey) -> bool;

    /// Writes what is known to files in a directory, so that the next process begins with it.
    ///
    /// # Errors
    /// `FileWriteError` or `FileCreateError`, with the cause.
    async fn save(&self, dir_path: &str) -> Result<()>;

    /// Reads the files that [`save`](Self::save) wrote. Entries that are already known stay.
    ///
    /// # Errors
    /// `FileOpenError` or `FileReadError`, with the cause, or `InternalError` if a file is not what was written.
    async fn load(&self, dir_path: &str) -> Result<()>;
}
