//! A storage in a directory.
//!
//! Each response is a file. It is written beside its place and gets there, by a rename, when it is whole; so a crash
//! leaves no torn response. The head of the file has the lengths, and checksums of everything: what is damaged
//! counts as absent, and a body whose checksum is wrong ends with an error ahead of its last piece, never as a whole
//! one. Nothing is synced: what a failing machine loses is fetched again, and what was written before the machine was
//! last started is read and checked before it is first served.
//!
//! | bound | by |
//! |---|---|
//! | bytes on the disk, in blocks of 4 KiB | [`DiskOptions::bytes`]; responses that are being written take a quarter of it at most, on top |
//! | responses | [`DiskOptions::entries`] |
//! | one response | an eighth of [`DiskOptions::bytes`] |
//! | variants of a key | 64: one more drops the oldest |
//! | memory | about 400 bytes for each response, and 256 KiB for each that is being written or read |
//!
//! The index is in memory. A thread builds it from the names of the files, while the store is in use already. Errors of
//! the disk are counted; after three in a row the store is left alone for 30 seconds, with one line in the log.
//!
//! During an upgrade two processes have the directory open. The one that opened it last owns it; the other one goes on
//! serving what it knows, and stores and evicts nothing.

mod fill;
mod format;
mod health;
mod hit;
mod index;
mod inspect;
mod owner;
mod scan;

#[cfg(test)]
mod tests;

use crate::eviction::{CacheEntryId, CacheEntryKey, EvictionManager, s3_fifo};
use crate::inspect::Inspect;
use crate::key::Name;
use crate::storage::streaming_write::U64WriteId;
use crate::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage};
use crate::trace::SpanHandle;
use crate::{CacheKey, CacheMeta, clock};
use async_trait::async_trait;
use fill::DiskMiss;
use health::Health;
use hit::{DiskHit, Follower};
use index::{Index, Removed, Slot};
use owner::Owner;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::any::Any;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The folder of files that are not whole yet.
const BESIDE: &str = "beside";
/// Files occupy the disk in blocks of this many bytes.
const BLOCK: u64 = 4096;
/// A response larger than this part of the limit is not stored.
const LARGEST_PART: u64 = 8;
/// Entries that are being written take at most this part of the limit.
const WRITTEN_PART: u64 = 4;

/// The bounds of a [`DiskStore`].
#[derive(Debug, Clone, Copy)]
pub struct DiskOptions {
    bytes: u64,
    entries: usize,
}

impl DiskOptions {
    /// For at most this many bytes on the disk, and a million responses.
    pub fn bytes(bytes: u64) -> Self {
        DiskOptions {
            bytes,
            entries: 1_000_000,
        }
    }

    /// Sets how many responses there may be.
    pub fn entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }
}

/// A storage in a directory. See [the module](self) for what it promises.
///
/// It evicts by itself (S3-FIFO), so it needs no `EvictionManager`.
///
/// # Example
/// ```no_run
/// use pingora_cache::disk::{DiskOptions, DiskStore};
///
/// let store: &'static DiskStore =
///     DiskStore::open("/var/cache/proxy", DiskOptions::bytes(50 << 30).entries(2_000_000))?;
/// # Ok::<(), Box<pingora_error::Error>>(())
/// ```
pub struct DiskStore {
    dir: PathBuf,
    boot: [u8; 16],
    options: DiskOptions,
    index: Index,
    eviction: s3_fifo::Manager<16>,
    owner: Owner,
    health: Health,
    /// Bytes of bodies that are being written.
    written: AtomicU64,
    last_id: AtomicU64,
    damaged: AtomicU64,
    is_scanned: AtomicBool,
}

impl DiskStore {
    /// Opens a directory, which is made if it isn't there, and takes it over from the process that had it open. The
    /// store lives as long as the process.
    ///
    /// # Errors
    /// `FileCreateError`, if the directory can't be made or written to.
    pub fn open(dir: impl Into<PathBuf>, options: DiskOptions) -> Result<&'static Self> {
        let store = DiskStore::prepare(dir.into(), options)
            .or_err(ErrorType::FileCreateError, "the cache's directory")?;
        let store: &'static DiskStore = Box::leak(Box::new(store));
        std::thread::Builder::new()
            .name("cache scan".to_owned())
            .spawn(|| {
                scan::scan(store);
                store.is_scanned.store(true, Ordering::Release);
            })
            .or_err(ErrorType::InternalError, "the thread for the cache's index")?;
        Ok(store)
    }

    fn prepare(dir: PathBuf, options: DiskOptions) -> io::Result<Self> {
        // Readable by its owner alone, unless it existed before.
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700);
        folders.create(dir.join(BESIDE))?;
        for folder in 0..=u8::MAX {
            folders.create(dir.join(format!("{folder:02x}")))?;
        }
        let limit = usize::try_from(options.bytes).unwrap_or(usize::MAX);
        Ok(DiskStore {
            boot: format::boot(),
            owner: Owner::take(&dir)?,
            dir,
            options,
            index: Index::new(),
            eviction: s3_fifo::Manager::with_watermark(limit, Some(options.entries)),
            health: Health::new(),
            written: AtomicU64::new(0),
            last_id: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            is_scanned: AtomicBool::new(false),
        })
    }

    /// Whether all that an earlier process left has been found.
    pub fn is_scanned(&self) -> bool {
        self.is_scanned.load(Ordering::Acquire)
    }

    /// The size of the stored responses on the disk, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.eviction.total_size() as u64
    }

    /// The number of stored responses.
    pub fn stored_entries(&self) -> usize {
        self.eviction.total_items()
    }

    /// How many responses were evicted since the process began.
    pub fn evicted_entries(&self) -> usize {
        self.eviction.evicted_items()
    }

    /// How many errors the disk had since the process began.
    pub fn disk_errors(&self) -> u64 {
        self.health.errors()
    }

    /// How many responses were found damaged, and dropped, since the process began.
    pub fn damaged_entries(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether the store is left alone because the disk fails.
    pub fn is_off(&self) -> bool {
        self.health.is_off()
    }

    /// Runs `work` in a thread that may block.
    async fn blocking<T: Send + 'static>(
        &'static self,
        work: impl FnOnce(&'static DiskStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(move || {
            let result = work(self);
            let is_of_the_disk = !matches!(
                result.as_ref().map_err(io::Error::kind),
                Err(io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
            );
            if is_of_the_disk {
                self.health.note(&result);
            }
            result
        });
        done.await
            .or_err(ErrorType::InternalError, "the cache's thread")?
            .or_err(ErrorType::FileReadError, "the cache's disk")
    }

    /// Larger than any before, of this process or an earlier one: microseconds, and a byte by chance.
    fn next_id(&self) -> u64 {
        let since = clock::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(0);
        let now = micros << 8 | u64::from(fastrand::u8(..));
        let next = |last: u64| Some(now.max(last.wrapping_add(1)));
        let last = self
            .last_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        last.map_or(now, |last| now.max(last.wrapping_add(1)))
    }

    fn beside(&self, id: u64) -> PathBuf {
        let name = format!("{}-{id:016x}", std::process::id());
        self.dir.join(BESIDE).join(name)
    }

    /// Takes room for `more` bytes of a body that has `total` with them.
    fn reserve(&self, total: u64, more: u64) -> Result<()> {
        let written = self.written.fetch_add(more, Ordering::Relaxed);
        let is_too_much = total > self.options.bytes / LARGEST_PART
            || written.saturating_add(more) > self.options.bytes / WRITTEN_PART;
        if is_too_much {
            self.release(more);
            return Error::e_explain(
                crate::max_file_size::ERR_RESPONSE_TOO_LARGE,
                "there is no room on the disk for the response",
            );
        }
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.written.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts an entry in, and removes what has to go.
    fn admit(&self, name: &Name, slot: Slot) {
        let size = usize::try_from(slot.size).unwrap_or(usize::MAX);
        let evicted = self
            .eviction
            .admit(entry(name, slot.id), size, SystemTime::UNIX_EPOCH);
        self.evict(evicted);
    }

    fn evict(&self, evicted: Vec<CacheEntryKey>) {
        if !self.owner.is_ours() {
            return;
        }
        for entry in evicted {
            let name = Name::of(entry.key());
            let id = entry.entry_id().map(CacheEntryId::get);
            self.unlink(&self.index.remove(&name, id, false));
        }
    }

    /// Removes from the disk, and from the account, what has gone from the index.
    fn forget(&self, removed: &Removed) {
        for (name, id) in removed {
            self.eviction.remove((&entry(name, *id)).into());
        }
        self.unlink(removed);
    }

    fn unlink(&self, removed: &Removed) {
        for (name, id) in removed {
            remove_file(&name.path(&self.dir, *id));
            remove_file(&name.updated_path(&self.dir, *id));
        }
    }

    /// An entry can't be used: it is damaged, or another process has removed it.
    fn drop_damaged(&self, name: &Name, id: u64) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        self.forget(&self.index.remove(name, Some(id), false));
    }

    /// All of the body was read once: from now on it may be sent unread.
    fn note_checked(&self, name: &Name, id: u64) {
        self.index.change(name, id, |slot| slot.is_checked = true);
    }

    fn open_entry(&self, name: &Name, slot: &Slot) -> io::Result<Option<hit::Opened>> {
        match hit::open(self, name, slot) {
            Ok(opened) => {
                if !slot.is_verified {
                    let verified = |slot: &mut Slot| {
                        slot.is_verified = true;
                        slot.is_checked |= opened.is_checked;
                    };
                    self.index.change(name, slot.id, verified);
                }
                Ok(Some(opened))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(&self.index.remove(name, Some(slot.id), false));
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.drop_damaged(name, slot.id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// An entry has metadata of this length in a file of its own. Removes it if the entry is not there any more.
    fn note_updated(&self, name: &Name, id: u64, length: u64) -> bool {
        let mut more = 0;
        let is_there = self.index.change(name, id, |slot| {
            if !slot.is_updated {
                more = on_disk(length);
            }
            slot.is_updated = true;
            slot.size += more;
        });
        if !is_there {
            remove_file(&name.updated_path(&self.dir, id));
        } else if more > 0 {
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            let evicted = self.eviction.increment_weight(&entry(name, id), more, None);
            self.evict(evicted);
        }
        is_there
    }

    fn write_meta(&self, name: &Name, id: u64, meta: &CacheMeta) -> io::Result<bool> {
        let (head, bytes) =
            format::begin(*name, id, self.boot, meta, b"").map_err(io::Error::other)?;
        let beside = self.beside(self.next_id());
        std::fs::write(&beside, [&head.write()[..], &bytes].concat())?;
        std::fs::rename(&beside, name.updated_path(&self.dir, id))?;
        let length = format::FIXED + bytes.len();
        Ok(self.note_updated(name, id, length as u64))
    }
}

fn entry(name: &Name, id: u64) -> CacheEntryKey {
    CacheEntryKey::identified(name.compact(), CacheEntryId::new(id))
}

/// The disk space of a file of this length.
fn on_disk(length: u64) -> u64 {
    length.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Removes a file; one that is not there has been removed by another process.
fn remove_file(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[async_trait]
impl Storage for DiskStore {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        if self.health.is_off() {
            return Ok(None);
        }
        let name = Name::of(key);
        // An entry being written is newer than the one that it will replace.
        if let Some(fill) = self.index.filling(&name) {
            return Ok(Some(Follower::behind(self, fill)));
        }
        let Some(slot) = self.index.hit(&name) else {
            return Ok(None);
        };
        let opened = self.blocking(move |store| store.open_entry(&name, &slot));
        let Some(opened) = opened.await? else {
            return Ok(None);
        };
        let entry = entry(&name, slot.id);
        if self.eviction.peek(&entry) {
            let size = usize::try_from(slot.size).unwrap_or(usize::MAX);
            self.eviction.access(&entry, size, SystemTime::UNIX_EPOCH);
        }
        Ok(Some(DiskHit::opened(self, name, slot, opened)))
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
        let id = u64::from(U64WriteId::try_from(tag)?);
        let fill = self.index.fill(&Name::of(key), id);
        Ok(fill.map(|fill| Follower::behind(self, fill)))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        if self.health.is_off() {
            return Error::e_explain(ErrorType::FileWriteError, "the cache's disk is off");
        }
        if !self.owner.is_ours() {
            let context = "the cache's directory belongs to a newer process";
            return Error::e_explain(ErrorType::FileWriteError, context);
        }
        Ok(Box::new(DiskMiss::begin(self, key, meta)?))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        purge_type: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let name = Name::of(target.key());
        let id = entry_id(target);
        let outdate = matches!(purge_type, PurgeType::Invalidation);
        let had_fills = outdate && self.index.has_fills(&name);
        let removed = self.index.remove(&name, id, outdate);
        let own = removed.iter().find(|(other, _)| *other == name);
        let outcome = match own.or(removed.first()) {
            Some((_, id)) => PurgeOutcome::Purged(Some(CacheEntryId::new(*id))),
            None if had_fills => PurgeOutcome::Purged(None),
            None => PurgeOutcome::NotFound,
        };
        if !removed.is_empty() {
            // It is already out of the index, even if its files can't be removed.
            let forget = self.blocking(move |store| {
                store.forget(&removed);
                Ok(())
            });
            forget.await?;
        }
        Ok(outcome)
    }

    /// Only the entry that is meant, not its variants: look-ups begin with it.
    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let name = Name::of(target.key());
        let Some(slot) = self.index.slot(&name) else {
            return self.purge(target, PurgeType::Invalidation, trace).await;
        };
        if entry_id(target).is_some_and(|id| id != slot.id) {
            return Ok(PurgeOutcome::NotFound);
        }
        let expired = self.blocking(move |store| {
            let Some(mut opened) = store.open_entry(&name, &slot)? else {
                return Ok(false);
            };
            let now = clock::now();
            let then = now.checked_sub(Duration::from_millis(1)).unwrap_or(now);
            opened.meta.expire_at(then);
            store.write_meta(&name, slot.id, &opened.meta)
        });
        Ok(if expired.await? {
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
        let Some(slot) = self.index.slot(&name) else {
            return Ok(false);
        };
        let meta = meta.clone();
        self.blocking(move |store| store.write_meta(&name, slot.id, &meta))
            .await
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

fn entry_id(target: PurgeTarget<'_>) -> Option<u64> {
    match target {
        PurgeTarget::Active(_) => None,
        PurgeTarget::Exact(entry) => entry.entry_id().map(CacheEntryId::get),
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("dir", &self.dir)
            .field("options", &self.options)
            .field("entries", &self.stored_entries())
            .field("bytes", &self.stored_bytes())
            .finish_non_exhaustive()
    }
}
