//! A request's body that is stored completely before it is used: in memory first, then in an
//! unnamed file.
//!
//! ```text
//! Spool ── push(piece)* ── finish ──▶ SpooledBody ── reader ──▶ SpoolReader ── poll_next* ──▶ pieces
//! ```
//!
//! # Bounds
//! [`Spooling`] has a bound for each body, in memory and in total, and for all bodies together, in memory
//! and in files. The memory is entered in the process's account as well.

use crate::process::memory::{Held, fallible};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::task::{JoinHandle, spawn_blocking};

/// The number of bytes written to a file at once.
const WRITTEN_AT_ONCE: usize = 256 * 1024;
/// The number of bytes read at once.
const READ_AT_ONCE: usize = 64 * 1024;

/// Where bodies are stored, and the bounds on them. Clones share the bounds over all bodies.
///
/// | bound | default |
/// |---|---|
/// | [`new`](Self::new): a body | none; it must be given |
/// | [`in_memory`](Self::in_memory): the part of it in memory | 64 KiB |
/// | [`total_in_memory`](Self::total_in_memory): all bodies, the parts that stay in memory | 64 MiB |
/// | [`total_in_files`](Self::total_in_files): all bodies, in files | 1 GiB |
///
/// While a body is being written to a file, up to 256 KiB and the last piece wait in memory for the
/// next write.
#[derive(Debug, Clone)]
pub struct Spooling {
    most: u64,
    in_memory: usize,
    directory: Option<PathBuf>,
    total_in_memory: u64,
    total_in_files: u64,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    memory: AtomicU64,
    files: AtomicU64,
}

/// The reason why a body can't be stored.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpoolError {
    /// The body is longer than allowed.
    TooLong,
    /// All bodies together have reached their bound.
    Full,
    /// There is no memory, or the file can't be created, written or read.
    Io(io::Error),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::TooLong => f.write_str("the body is longer than it may be"),
            SpoolError::Full => {
                f.write_str("all buffered bodies together take as much as they may")
            }
            SpoolError::Io(error) => write!(f, "a body can't be buffered: {error}"),
        }
    }
}

impl std::error::Error for SpoolError {}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        SpoolError::Io(error)
    }
}

impl Spooling {
    /// Stores bodies of up to `most` bytes.
    pub fn new(most: u64) -> Self {
        Spooling {
            most,
            in_memory: 64 * 1024,
            directory: None,
            total_in_memory: 64 << 20,
            total_in_files: 1 << 30,
            totals: Arc::default(),
        }
    }

    /// Keeps this many bytes of each body in memory; the rest goes to a file.
    pub fn in_memory(mut self, bytes: usize) -> Self {
        self.in_memory = bytes;
        self
    }

    /// Creates the files in this directory; by default, in the one for temporary files
    /// ([`std::env::temp_dir`]). They have no names there, and vanish with the process.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Limits the memory for all bodies together, in bytes.
    pub fn total_in_memory(mut self, bytes: u64) -> Self {
        self.total_in_memory = bytes;
        self
    }

    /// Limits the files of all bodies together, in bytes.
    pub fn total_in_files(mut self, bytes: u64) -> Self {
        self.total_in_files = bytes;
        self
    }

    /// The longest body that is stored, in bytes.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The bytes that all bodies take now: in memory and in files.
    pub fn held(&self) -> (u64, u64) {
        let totals = &self.totals;
        (
            totals.memory.load(Ordering::Relaxed),
            totals.files.load(Ordering::Relaxed),
        )
    }

    fn open(&self) -> io::Result<File> {
        match &self.directory {
            // An empty path would mean the current directory of the process.
            Some(directory) if directory.as_os_str().is_empty() => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the directory for buffered bodies is empty",
            )),
            Some(directory) => nameless(directory),
            None => nameless(&std::env::temp_dir()),
        }
    }
}

/// A new file for this process only, which can't be opened by name.
fn nameless(directory: &Path) -> io::Result<File> {
    let name = format!(".body-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let path = directory.join(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// One body's share of the totals; given back when it is dropped.
#[derive(Debug)]
struct Share {
    totals: Arc<Totals>,
    memory: u64,
    files: u64,
}

impl Share {
    fn take(total: &AtomicU64, most: u64, bytes: u64) -> Result<(), SpoolError> {
        let add = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        let order = Ordering::Relaxed;
        let taken = total.fetch_update(order, order, add);
        taken.map(|_| ()).map_err(|_| SpoolError::Full)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.totals.memory.fetch_sub(self.memory, Ordering::Relaxed);
        self.totals.files.fetch_sub(self.files, Ordering::Relaxed);
    }
}

/// A body that is being collected.
#[derive(Debug)]
pub struct Spool {
    options: Spooling,
    memory: BytesMut,
    /// The bytes for the next write to the file.
    unwritten: BytesMut,
    file: Option<Arc<File>>,
    written: u64,
    share: Share,
    held: Held,
}

impl Spool {
    /// An empty spool.
    pub fn new(options: &Spooling) -> Self {
        let share = Share {
            totals: options.totals.clone(),
            memory: 0,
            files: 0,
        };
        Spool {
            options: options.clone(),
            memory: BytesMut::new(),
            unwritten: BytesMut::new(),
            file: None,
            written: 0,
            share,
            held: Held::default(),
        }
    }

    fn len(&self) -> u64 {
        (self.memory.len() + self.unwritten.len()) as u64 + self.written
    }

    /// Adds a piece. If the future is dropped before it completes, the spool must not be used any
    /// more.
    ///
    /// # Errors
    /// Any [`SpoolError`]; the spool must not be used any more in that case.
    pub async fn push(&mut self, mut piece: Bytes) -> Result<(), SpoolError> {
        if self.len() + piece.len() as u64 > self.options.most {
            return Err(SpoolError::TooLong);
        }
        let room = self.options.in_memory.saturating_sub(self.memory.len());
        let ahead = piece.split_to(room.min(piece.len()));
        if !ahead.is_empty() {
            let (most, bytes) = (self.options.total_in_memory, ahead.len() as u64);
            Share::take(&self.share.totals.memory, most, bytes)?;
            self.share.memory += bytes;
            fallible::append(&mut self.memory, &ahead)?;
        }
        if !piece.is_empty() {
            let (most, bytes) = (self.options.total_in_files, piece.len() as u64);
            Share::take(&self.share.totals.files, most, bytes)?;
            self.share.files += bytes;
            fallible::append(&mut self.unwritten, &piece)?;
        }
        self.held
            .set(self.memory.capacity() + self.unwritten.capacity());
        if self.unwritten.len() >= WRITTEN_AT_ONCE {
            self.write().await
        } else {
            Ok(())
        }
    }

    async fn write(&mut self) -> Result<(), SpoolError> {
        let data = std::mem::take(&mut self.unwritten).freeze();
        let (length, at) = (data.len() as u64, self.written);
        let (known, options) = (self.file.clone(), self.options.clone());
        let writing = spawn_blocking(move || {
            let file = match known {
                Some(file) => file,
                None => Arc::new(options.open()?),
            };
            file.write_all_at(&data, at).map(|()| file)
        });
        self.file = Some(writing.await.map_err(io::Error::other)??);
        self.written += length;
        Ok(())
    }

    /// Returns the body, which is now complete.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub async fn finish(mut self) -> Result<SpooledBody, SpoolError> {
        if !self.unwritten.is_empty() {
            self.write().await?;
        }
        self.held.set(self.memory.capacity());
        Ok(SpooledBody(Arc::new(Kept {
            memory: self.memory.freeze(),
            file: self.file,
            in_file: self.written,
            _share: self.share,
            _held: self.held,
        })))
    }
}

#[derive(Debug)]
struct Kept {
    memory: Bytes,
    file: Option<Arc<File>>,
    in_file: u64,
    _share: Share,
    _held: Held,
}

/// A completely stored body that can be read any number of times. Clones share it.
#[derive(Debug, Clone)]
pub struct SpooledBody(Arc<Kept>);

impl SpooledBody {
    /// Its length, in bytes.
    pub fn len(&self) -> u64 {
        self.0.memory.len() as u64 + self.0.in_file
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part that is in memory: the beginning, or all of it.
    pub fn in_memory(&self) -> &Bytes {
        &self.0.memory
    }

    /// Whether no part of it is in a file.
    pub fn is_in_memory(&self) -> bool {
        self.0.in_file == 0
    }

    /// Reads the body from the beginning.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader {
            body: self.clone(),
            at: 0,
            reading: None,
        }
    }

    /// The whole body in one piece.
    ///
    /// # Errors
    /// Errors of reading the file; `OutOfMemory`; `FileTooLarge` for a body of more than `most`
    /// bytes.
    pub async fn read_all(&self, most: usize) -> io::Result<Bytes> {
        if self.is_in_memory() && self.0.memory.len() <= most {
            return Ok(self.0.memory.clone());
        }
        if self.len() > most as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut whole = BytesMut::new();
        let mut reader = self.reader();
        while let Some(piece) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {
            fallible::append(&mut whole, &piece?)?;
        }
        Ok(whole.freeze())
    }
}

/// Reads a [`SpooledBody`] piece by piece.
#[derive(Debug)]
pub struct SpoolReader {
    body: SpooledBody,
    at: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl SpoolReader {
    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.body.len()
    }

    /// The next piece, of up to 64 KiB; `None` at the end. Cancel-safe.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let kept = &self.body.0;
        let in_memory = kept.memory.len() as u64;
        if self.at < in_memory {
            let from = self.at as usize;
            let to = kept.memory.len().min(from + READ_AT_ONCE);
            self.at = to as u64;
            return Poll::Ready(Some(Ok(kept.memory.slice(from..to))));
        }
        let (at, file) = match &kept.file {
            Some(file) if self.at < self.body.len() => (self.at - in_memory, file.clone()),
            _ => return Poll::Ready(None),
        };
        let length = (kept.in_file - at).min(READ_AT_ONCE as u64) as usize;
        let reading = self.reading.get_or_insert_with(|| {
            spawn_blocking(move || {
                let mut room = fallible::buffer(length)?;
                room.resize(length, 0);
                file.read_exact_at(&mut room, at)?;
                Ok(room.freeze())
            })
        });
        let read = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|e| Err(io::Error::other(e)));
        self.reading = None;
        if let Ok(piece) = &read {
            self.at += piece.len() as u64;
        }
        Poll::Ready(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    async fn spooled(
        options: &Spooling,
        body: &[u8],
        size: usize,
    ) -> Result<SpooledBody, SpoolError> {
        let mut spool = Spool::new(options);
        for piece in body.chunks(size) {
            spool.push(Bytes::copy_from_slice(piece)).await?;
        }
        spool.finish().await
    }

    #[tokio::test]
    async fn what_comes_out_is_what_went_in_wherever_it_was() {
        let body = pattern(700_000);
        for (in_memory, size) in [(0, 3000), (1, 699_999), (65_536, 70_000), (700_000, 1000)] {
            let options = Spooling::new(700_000).in_memory(in_memory);
            let kept = spooled(&options, &body, size).await.unwrap();
            assert_eq!(kept.len(), 700_000);
            assert_eq!(kept.is_in_memory(), in_memory == 700_000);
            assert_eq!(kept.in_memory().len(), in_memory);
            let held = (in_memory as u64, (700_000 - in_memory) as u64);
            assert_eq!(options.held(), held);
            for _ in 0..2 {
                let mut reader = kept.reader();
                let mut read = Vec::new();
                while let Some(piece) = poll_fn(|cx| reader.poll_next(cx)).await {
                    assert!(!reader.is_at_end() || read.len() + READ_AT_ONCE >= body.len());
                    read.extend_from_slice(&piece.unwrap());
                }
                assert!(read == body && reader.is_at_end(), "{in_memory} {size}");
            }
            assert!(kept.read_all(700_000).await.unwrap() == body);
            let refused = kept.read_all(699_999).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
            drop(kept);
            assert_eq!(options.held(), (0, 0));
        }
    }

    #[tokio::test]
    async fn an_empty_body_has_no_file_and_no_pieces() {
        let kept = spooled(&Spooling::new(0), b"", 1).await.unwrap();
        assert!(kept.is_empty() && kept.is_in_memory() && kept.reader().is_at_end());
        assert!(poll_fn(|cx| kept.reader().poll_next(cx)).await.is_none());
    }

    #[tokio::test]
    async fn each_bound_holds_and_nothing_stays_behind() {
        let body = pattern(1000);
        let options = Spooling::new(999);
        let refused = spooled(&options, &body, 100).await.unwrap_err();
        assert!(matches!(refused, SpoolError::TooLong), "{refused}");
        let options = Spooling::new(1000).in_memory(500).total_in_memory(900);
        let first = spooled(&options, &body, 100).await.unwrap();
        let refused = spooled(&options, &body, 100).await.unwrap_err();
        assert!(matches!(refused, SpoolError::Full), "{refused}");
        drop(first);
        let options = options.total_in_files(900);
        let first = spooled(&options, &body, 100).await.unwrap();
        let refused = spooled(&options, &body, 100).await.unwrap_err();
        assert!(matches!(refused, SpoolError::Full), "{refused}");
        drop(first);
        assert_eq!(options.held(), (0, 0));
    }

    #[tokio::test]
    async fn a_directory_that_can_not_be_written_is_an_error() {
        for directory in ["/proc/none", ""] {
            let options = Spooling::new(1000).in_memory(0).directory(directory);
            let refused = spooled(&options, &pattern(1000), 100).await.unwrap_err();
            assert!(
                matches!(refused, SpoolError::Io(_)),
                "{directory} {refused}"
            );
            assert_eq!(options.held(), (0, 0));
        }
    }
}
