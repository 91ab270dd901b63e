//! Reading a stored response, or one that is being written.

use super::DiskStore;
use super::fill::{End, Fill};
use super::format::{Head, damaged};
use super::index::Slot;
use crate::key::Name;
use crate::storage::{FilePart, HandleHit, HitHandler, Storage};
use crate::trace::SpanHandle;
use crate::{CacheEntryId, CacheKey, CacheMeta};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;

/// The first read of a file: smaller responses need no other.
const FIRST: usize = 64 * 1024;
/// The first read if the body is not wanted, or is so large that another read more makes no difference.
const HEAD: usize = 4 * 1024;
/// The body of a file of this size is sent by itself.
const LARGE: u64 = 1024 * 1024;
/// Every other read.
const PIECE: usize = 256 * 1024;

/// An entry whose file is open.
pub(super) struct Opened {
    pub(super) meta: CacheMeta,
    /// The text of the key.
    key: Bytes,
    file: File,
    head: Head,
    /// The beginning of the body.
    first: Bytes,
    /// All of the body was read, and is what was written.
    pub(super) is_checked: bool,
}

/// Opens the file of an entry, and checks all that can be checked without reading the body; also the body, if it was
/// written before the machine was last started.
///
/// # Errors
/// `NotFound`, if another process has removed it; `InvalidData`, if it is damaged.
pub(super) fn open(store: &DiskStore, name: &Name, slot: &Slot) -> io::Result<Opened> {
    let first = if slot.size < LARGE { FIRST } else { HEAD };
    let mut opened = open_with(store, name, slot, first)?;
    let head = &opened.head;
    let is_trusted = slot.is_verified || (head.boot == store.boot && head.boot != [0; 16]);
    if !is_trusted && body_sum(&opened.file, head)? != head.body_sum {
        return Err(damaged());
    }
    opened.is_checked = !is_trusted;
    Ok(opened)
}

/// The parts of an entry that an inspection shows: the metadata, the text of the key, and the length of the body.
pub(super) fn look(
    store: &DiskStore,
    name: &Name,
    slot: &Slot,
) -> io::Result<(CacheMeta, Bytes, u64)> {
    let opened = open_with(store, name, slot, HEAD)?;
    Ok((opened.meta, opened.key, opened.head.body))
}

/// Opens the file of an entry with a first read of so many bytes.
fn open_with(store: &DiskStore, name: &Name, slot: &Slot, first: usize) -> io::Result<Opened> {
    let file = File::open(name.path(&store.dir, slot.id))?;
    let mut first = vec![0; first];
    let mut length = read_up_to(&file, &mut first, 0)?;
    let head = first
        .get(..length)
        .and_then(Head::read)
        .ok_or_else(damaged)?;
    if head.name != *name || head.id != slot.id || file.metadata()?.len() != head.file_len() {
        return Err(damaged());
    }
    let body_at = usize::try_from(head.body_at()).map_err(|_| damaged())?;
    if body_at > length {
        // A large header. That it fits into the file was checked above.
        first.resize(body_at, 0);
        length = read_up_to(&file, &mut first, 0)?;
    }
    first.truncate(length);
    let own = head.meta(&first).ok_or_else(damaged)?;
    let meta = if slot.is_updated {
        read_updated(store, name, slot.id).unwrap_or(own)
    } else {
        own
    };
    let first = Bytes::from(first);
    let key = head.key(&first).map(|key| first.slice_ref(key));
    let first = first.slice(body_at.min(length)..);
    Ok(Opened {
        meta,
        key: key.ok_or_else(damaged)?,
        file,
        head,
        first,
        is_checked: false,
    })
}

/// The metadata that was written later; `None` if it can't be read, and the older one holds.
fn read_updated(store: &DiskStore, name: &Name, id: u64) -> Option<CacheMeta> {
    let bytes = std::fs::read(name.updated_path(&store.dir, id)).ok()?;
    let head = Head::read(&bytes)?;
    (head.name == *name && head.id == id && head.file_len() == bytes.len() as u64)
        .then(|| head.meta(&bytes))?
}

fn body_sum(file: &File, head: &Head) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; PIECE];
    let mut at = head.body_at();
    loop {
        let length = read_up_to(file, &mut buffer, at)?;
        if length == 0 {
            return Ok(sum.finalize());
        }
        sum.update(buffer.get(..length).unwrap_or_default());
        at += length as u64;
    }
}

/// Fills the buffer, unless the file ends before.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads the body of an entry.
pub(super) struct DiskHit {
    store: &'static DiskStore,
    name: Name,
    file: Arc<File>,
    head: Head,
    first: Bytes,
    size: u64,
    /// The position of the next read in the body, in bytes; `end` is where reading stops.
    at: u64,
    end: u64,
    /// The checksum of what was read; `None` once something was left out.
    sum: Option<crc32fast::Hasher>,
    /// The body was read and checked before, by this process.
    is_checked: bool,
}

impl DiskHit {
    pub(super) fn opened(
        store: &'static DiskStore,
        name: Name,
        slot: Slot,
        opened: Opened,
    ) -> (CacheMeta, HitHandler) {
        let end = opened.head.body;
        let hit = DiskHit {
            store,
            name,
            file: Arc::new(opened.file),
            head: opened.head,
            first: opened.first,
            size: slot.size,
            at: 0,
            end,
            sum: Some(crc32fast::Hasher::new()),
            is_checked: slot.is_checked || opened.is_checked,
        };
        (opened.meta, Box::new(hit))
    }

    async fn next(&mut self) -> Result<Bytes> {
        let left = self.end - self.at;
        if self.at < self.first.len() as u64 {
            let at = usize::try_from(self.at).unwrap_or(usize::MAX);
            let rest = self.first.slice(at..);
            let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            return Ok(rest.slice(..length));
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let (file, at) = (self.file.clone(), self.head.body_at() + self.at);
        let piece = self.store.blocking(move |_| {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, at)?;
            Ok(piece)
        });
        Ok(piece.await?.into())
    }

    /// At the end of the whole body: whether it is the one that was written.
    fn check(&mut self) -> Result<()> {
        let Some(sum) = self.sum.take() else {
            return Ok(());
        };
        if self.at == self.head.body && sum.finalize() != self.head.body_sum {
            self.store.drop_damaged(&self.name, self.head.id);
            return Error::e_explain(ErrorType::FileReadError, "a stored response is damaged");
        }
        if self.at == self.head.body && !self.is_checked {
            self.store.note_checked(&self.name, self.head.id);
        }
        Ok(())
    }
}

#[async_trait]
impl HandleHit for DiskHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let piece = self.next().await?;
        if let Some(sum) = &mut self.sum {
            sum.update(&piece);
        }
        self.at += piece.len() as u64;
        if self.at >= self.end {
            // Before the last piece, so that a damaged body is never taken for a whole one.
            self.check()?;
        }
        Ok(Some(piece))
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
        let whole = self.head.body;
        self.end = end.map_or(whole, |end| (end as u64).min(whole));
        self.at = (start as u64).min(self.end);
        self.sum = None;
        Ok(())
    }

    /// What is to be checked at its end is read, and so is the beginning, which was read already.
    fn file_part(&self) -> Option<FilePart<'_>> {
        let may_pass_unseen = self.is_checked || self.sum.is_none();
        if !may_pass_unseen || self.at < self.first.len() as u64 || self.at >= self.end {
            return None;
        }
        let at = self.head.body_at() + self.at;
        Some(FilePart::new(self.file.as_fd(), at, self.end - self.at))
    }

    fn file_sent(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes).min(self.end);
        self.sum = None;
    }

    fn get_eviction_weight(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    fn entry_id(&self) -> Option<CacheEntryId> {
        Some(CacheEntryId::new(self.head.id))
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Reads a body behind the one who writes it.
pub(super) struct Follower {
    store: &'static DiskStore,
    fill: Arc<Fill>,
    at: u64,
    end: Option<u64>,
}

/// The data available to a reader at its position.
enum Next {
    Piece(Bytes),
    OnDisk(Arc<File>, usize),
    Wait,
    End,
    Failed,
}

impl Follower {
    pub(super) fn behind(store: &'static DiskStore, fill: Arc<Fill>) -> (CacheMeta, HitHandler) {
        fill.add_reader();
        let meta = fill.meta.clone();
        let follower = Follower {
            store,
            fill,
            at: 0,
            end: None,
        };
        (meta, Box::new(follower))
    }

    fn next(&self) -> Next {
        let most = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.at));
        if most == 0 {
            return Next::End;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIECE);
        let written = self.fill.written();
        if self.at < written.on_disk
            && let Some(file) = &written.file
        {
            let left = usize::try_from(written.on_disk - self.at).unwrap_or(usize::MAX);
            return Next::OnDisk(file.clone(), left.min(most));
        }
        let mut skip = self.at - written.on_disk;
        for piece in &written.pending {
            let length = piece.len() as u64;
            if skip < length {
                let from = usize::try_from(skip).unwrap_or(usize::MAX);
                let rest = piece.slice(from..);
                let length = rest.len().min(most);
                return Next::Piece(rest.slice(..length));
            }
            skip -= length;
        }
        match written.end {
            End::Open => Next::Wait,
            End::Whole => Next::End,
            End::Failed => Next::Failed,
        }
    }
}

#[async_trait]
impl HandleHit for Follower {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let fill = self.fill.clone();
        loop {
            // Before the question, so that no change falls between the two.
            let mut changed = pin!(fill.changed.notified());
            changed.as_mut().enable();
            let piece = match self.next() {
                Next::Piece(piece) => piece,
                Next::OnDisk(file, length) => {
                    let at = self.fill.body_at + self.at;
                    let piece = self.store.blocking(move |_| {
                        let mut piece = vec![0; length];
                        file.read_exact_at(&mut piece, at)?;
                        Ok(piece)
                    });
                    piece.await?.into()
                }
                Next::Wait => {
                    changed.await;
                    continue;
                }
                Next::End => return Ok(None),
                Next::Failed => {
                    return Error::e_explain(
                        ErrorType::ReadError,
                        "the response was not stored to its end",
                    );
                }
            };
            self.at += piece.len() as u64;
            return Ok(Some(piece));
        }
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
        self.at = start as u64;
        self.end = end.map(|end| end as u64);
        Ok(())
    }

    fn should_count_access(&self) -> bool {
        // Until it is whole, the eviction manager does not know it.
        false
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.fill.remove_reader();
    }
}
