//! Writing a response, which others read meanwhile.

use super::DiskStore;
use super::format::{FIXED, Head, begin};
use super::index::Slot;
use crate::key::Name;
use crate::storage::streaming_write::U64WriteId;
use crate::storage::{HandleMiss, MissFinishType};
use crate::{CacheEntryId, CacheKey, CacheMeta};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_error::Result;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// So many bytes are collected before they are written.
const PENDING: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Whole,
    Failed,
}

/// How much has been written, and what has not been yet.
#[derive(Debug)]
pub(super) struct Written {
    /// There once something was written to it.
    pub(super) file: Option<Arc<File>>,
    /// The bytes of the body that are in the file.
    pub(super) on_disk: u64,
    /// The pieces after these.
    pub(super) pending: Vec<Bytes>,
    pub(super) end: End,
}

/// A response that is being written.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) name: Name,
    /// The text of the key.
    pub(super) key: Bytes,
    pub(super) id: u64,
    pub(super) tag: U64WriteId,
    pub(super) meta: CacheMeta,
    /// Where the body begins in the file.
    pub(super) body_at: u64,
    written: Mutex<Written>,
    pub(super) changed: Notify,
    outdated: AtomicBool,
    readers: AtomicUsize,
}

impl Fill {
    pub(super) fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Invalidated while it is being written: it is not kept.
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    pub(super) fn add_reader(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_reader(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The bytes of the body that are there so far.
    pub(super) fn length(&self) -> u64 {
        let written = self.written();
        let pending = written.pending.iter().map(Bytes::len).sum::<usize>();
        written.on_disk + pending as u64
    }

    fn end(&self, end: End) {
        let mut written = self.written();
        if written.end == End::Open {
            written.end = end;
        }
        drop(written);
        self.changed.notify_waiters();
    }
}

/// Writes one response: to a file beside its place, which gets there when it is whole.
pub(super) struct DiskMiss {
    store: &'static DiskStore,
    fill: Arc<Fill>,
    head: Head,
    meta: Vec<u8>,
    sum: crc32fast::Hasher,
    length: u64,
    pending: usize,
    path: PathBuf,
    is_open: bool,
}

impl DiskMiss {
    pub(super) fn begin(
        store: &'static DiskStore,
        key: &CacheKey,
        meta: &CacheMeta,
    ) -> Result<Self> {
        let name = Name::of(key);
        let id = store.next_id();
        let (head, meta_bytes) = begin(name, id, store.boot, meta, key.primary_key())?;
        let fill = Arc::new(Fill {
            name,
            key: Bytes::copy_from_slice(key.primary_key()),
            id,
            tag: id.into(),
            meta: meta.clone(),
            body_at: head.body_at(),
            written: Mutex::new(Written {
                file: None,
                on_disk: 0,
                pending: Vec::new(),
                end: End::Open,
            }),
            changed: Notify::new(),
            outdated: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
        });
        store.index.begin(fill.clone());
        Ok(DiskMiss {
            path: store.beside(id),
            store,
            fill,
            head,
            meta: meta_bytes,
            sum: crc32fast::Hasher::new(),
            length: 0,
            pending: 0,
            is_open: true,
        })
    }

    /// Writes what is pending, in a thread that may block. Readers find it in one place or the other throughout.
    async fn flush(&mut self) -> Result<Arc<File>> {
        let fill = self.fill.clone();
        let (path, meta) = (self.path.clone(), std::mem::take(&mut self.meta));
        let written = self
            .store
            .blocking(move |_| write_pending(&fill, &path, &meta));
        let file = written.await?;
        self.pending = 0;
        Ok(file)
    }
}

fn write_pending(fill: &Fill, path: &std::path::Path, meta: &[u8]) -> io::Result<Arc<File>> {
    let (file, pending, mut at) = {
        let written = fill.written();
        let at = fill.body_at + written.on_disk;
        (written.file.clone(), written.pending.clone(), at)
    };
    let file = match file {
        Some(file) => file,
        None => {
            // For reading as well: those who follow use the same file.
            let mut options = File::options();
            let options = options.read(true).write(true).create_new(true).mode(0o600);
            let file = options.open(path)?;
            file.write_all_at(meta, FIXED as u64)?;
            Arc::new(file)
        }
    };
    let mut length = 0;
    for piece in &pending {
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
        length += piece.len() as u64;
    }
    let mut written = fill.written();
    written.file = Some(file.clone());
    written.on_disk += length;
    written.pending.drain(..pending.len());
    if written.end == End::Failed {
        // Given up in the meantime, perhaps before there was a file to remove.
        super::remove_file(path);
    }
    Ok(file)
}

#[async_trait]
impl HandleMiss for DiskMiss {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let more = data.len() as u64;
        self.store.reserve(self.length.saturating_add(more), more)?;
        self.length += more;
        self.sum.update(&data);
        self.pending += data.len();
        self.fill.written().pending.push(data);
        self.fill.changed.notify_waiters();
        if self.pending >= PENDING {
            self.flush().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let file = self.flush().await?;
        self.head.body = self.length;
        self.head.body_sum = self.sum.clone().finalize();
        let (head, from, fill) = (self.head.clone(), self.path.clone(), self.fill.clone());
        let place = self
            .store
            .blocking(move |store| place(store, &file, &head, &from, &fill));
        let size = place.await?;
        self.is_open = false;
        self.store.release(self.length);
        self.fill.end(End::Whole);
        Ok(MissFinishType::Created(
            usize::try_from(size).unwrap_or(usize::MAX),
        ))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.fill.tag.as_bytes())
    }

    fn has_readers(&self) -> bool {
        self.fill.readers.load(Ordering::Relaxed) > 0
    }

    fn entry_id(&self) -> Option<CacheEntryId> {
        Some(CacheEntryId::new(self.fill.id))
    }
}

/// Completes a file and puts it in its place. Returns what it takes; 0 if it is not kept.
fn place(
    store: &DiskStore,
    file: &File,
    head: &Head,
    from: &std::path::Path,
    fill: &Fill,
) -> io::Result<u64> {
    file.write_all_at(&head.write(), 0)?;
    let to = fill.name.path(&store.dir, fill.id);
    // No entry may appear that a newer process does not know about.
    if !store.owner.is_ours_now() || fill.is_outdated() {
        std::fs::remove_file(from)?;
        store.index.end(fill, None);
        return Ok(0);
    }
    std::fs::rename(from, &to)?;
    let slot = Slot {
        variance: fill.name.variance,
        id: fill.id,
        size: super::on_disk(head.file_len()),
        is_verified: true,
        is_checked: false,
        is_updated: false,
        hits: 0,
    };
    let (is_stored, removed) = store.index.end(fill, Some(slot));
    store.forget(&removed);
    if !is_stored {
        super::remove_file(&to);
        return Ok(0);
    }
    store.admit(&fill.name, slot);
    Ok(slot.size)
}

impl Drop for DiskMiss {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        // Incomplete: readers that follow get an error, and nothing is kept.
        self.fill.end(End::Failed);
        self.store.index.end(&self.fill, None);
        self.store.release(self.length);
        let path = std::mem::take(&mut self.path);
        match tokio::runtime::Handle::try_current() {
            // After a write that is still under way: the same file is closed by it.
            Ok(runtime) => drop(runtime.spawn_blocking(move || super::remove_file(&path))),
            Err(_) => super::remove_file(&path),
        }
    }
}
