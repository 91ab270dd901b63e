//! Moves bytes between two sockets, or from a file to a socket, without passing them through the memory of this
//! process.

use super::faults;
use super::plain::Direction;
use super::stream::Stream;
use crate::runtime::local;
use crate::sys::splice::Pipe;
use crate::sys::{file, memory_file};
use bytes::Bytes;
use pingora_error::{ErrorSource, Result};
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A kernel that can't count the pages of a file that are in memory is asked about one byte in each of these.
const ASKED_ABOUT: u64 = 256 * 1024;

/// Bytes in flight from one socket to another, in a pipe lent by the worker.
///
/// An empty pipe goes back to the worker when this is dropped; a non-empty one is closed, and its
/// content is lost.
#[derive(Debug)]
pub struct SplicePipe {
    /// Absent only while this is being dropped.
    pipe: Option<Pipe>,
    held: usize,
}

impl SplicePipe {
    /// An empty pipe. `None` if this process may have no more of them: there are at most 512, and
    /// with two descriptors each they never take more than an eighth of the descriptors that the
    /// process may open.
    pub fn take() -> Option<SplicePipe> {
        Some(SplicePipe {
            pipe: Some(local::take_pipe()?),
            held: 0,
        })
    }

    /// The number of bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    fn pipe(&self) -> io::Result<&Pipe> {
        self.pipe
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes up to `most` bytes from a stream; 0: the peer has closed its side. The pipe must be
    /// empty: only then is it certain that the socket is what would block. Cancel-safe.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        let pipe = self.pipe()?;
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(pipe.capacity());
        let moved = ready!(stream.poll_call(cx, Direction::In, |socket| pipe.fill(socket, most)))?;
        self.held = moved;
        Poll::Ready(Ok(moved))
    }

    /// Moves bytes from the pipe, which must not be empty, to a stream; returns their number.
    /// Cancel-safe.
    pub(crate) fn poll_drain(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let (pipe, held) = (self.pipe()?, self.held);
        let moved =
            ready!(stream.poll_call(cx, Direction::Out, |socket| pipe.drain(socket, held)))?;
        if moved == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held = held.saturating_sub(moved);
        Poll::Ready(Ok(moved))
    }
}

impl Drop for SplicePipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) {
            local::give_pipe(pipe);
        }
    }
}

/// The number of bytes that the framing of a message allows to be moved, counted by the session that
/// frames it.
pub trait PayloadBound: fmt::Debug {
    /// Payload that may still be moved, in bytes. `None`: any amount.
    fn left(&self) -> Option<u64>;

    /// Counts payload that was moved: at most the amount that [`left`](PayloadBound::left)
    /// returned.
    ///
    /// # Errors
    /// More than that was moved. `side` is the side to which the connection belongs.
    fn moved(&mut self, bytes: u64, side: &ErrorSource) -> Result<()>;
}

/// Whether the system does not support, or not allow, splicing between these two.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

/// The source of a body's payload that does not need to be examined.
///
/// Lent by a session for one poll; the session accounts for the moved data.
#[derive(Debug)]
pub struct SpliceSource<'a> {
    /// The socket.
    pub stream: &'a mut Stream,
    /// The bytes that the framing still allows; `None`: everything up to the end of the connection is payload.
    pub bound: Option<&'a mut dyn PayloadBound>,
    /// Counts the payload that was received.
    pub received: &'a mut usize,
    /// Set if nothing more can be read.
    pub broken: &'a mut bool,
    /// The side to which the connection belongs.
    pub side: ErrorSource,
}

impl SpliceSource<'_> {
    /// Payload that may be moved, in bytes. `None`: any amount, up to the end of the connection.
    pub fn remaining(&self) -> Option<u64> {
        self.bound.as_ref().and_then(|bound| bound.left())
    }

    /// Takes up to `most` bytes into a pipe, which must be empty. 0: nothing is available in this
    /// way, usually because the peer has closed its side; the session's own reading will find out.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Errors of reading a body.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut SplicePipe,
        most: u64,
    ) -> Poll<Result<usize>> {
        let most = self.remaining().map_or(most, |left| most.min(left));
        let moved = ready!(pipe.poll_fill(self.stream, cx, most));
        Poll::Ready(match moved {
            Ok(moved) => {
                *self.received += moved;
                self.count(moved).map(|()| moved)
            }
            Err(error) if is_refusal(&error) => Ok(0),
            Err(error) => {
                *self.broken = true;
                Err(faults::read_failed(error, self.side.clone()))
            }
        })
    }

    fn count(&mut self, moved: usize) -> Result<()> {
        let Some(bound) = &mut self.bound else {
            return Ok(());
        };
        let counted = bound.moved(moved as u64, &self.side);
        *self.broken |= counted.is_err();
        counted
    }
}

/// The sink for a body's payload that needs no framing.
///
/// Lent by a session for one poll; the session accounts for the moved data.
#[derive(Debug)]
pub struct SpliceSink<'a> {
    /// The socket.
    pub stream: &'a mut Stream,
    /// The bytes that the framing still allows; `None`: any amount.
    pub bound: Option<&'a mut dyn PayloadBound>,
    /// Counts the payload that was sent.
    pub sent: &'a mut usize,
    /// Nothing is queued before the payload.
    pub clear: bool,
    /// Set if nothing more can be written.
    pub failed: &'a mut bool,
    /// The side to which the connection belongs.
    pub side: ErrorSource,
}

impl SpliceSink<'_> {
    /// Payload for which the message still has room, in bytes. `None`: any amount.
    pub fn room(&self) -> Option<u64> {
        self.bound.as_ref().and_then(|bound| bound.left())
    }

    /// Whether payload may be written now: nothing is queued that has to be sent first.
    pub fn is_clear(&self) -> bool {
        self.clear
    }

    /// Writes the content of a pipe, which must not be empty, to the peer; returns the number of
    /// bytes accepted. Call it only if [`is_clear`](SpliceSink::is_clear) is true. Cancel-safe.
    ///
    /// # Errors
    /// Errors of writing a body.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut SplicePipe,
    ) -> Poll<Result<usize>> {
        let moved = ready!(pipe.poll_drain(self.stream, cx));
        Poll::Ready(match moved {
            Ok(moved) => {
                *self.sent += moved;
                self.count(moved).map(|()| moved)
            }
            Err(error) => {
                *self.failed = true;
                Err(faults::write_failed(error, self.side.clone()))
            }
        })
    }

    /// Sends up to `most` bytes from the beginning of a part of a file; returns the number of bytes accepted. 0: the
    /// file ends there, or can't be sent in this way. Call it only if [`is_clear`](SpliceSink::is_clear) is true.
    /// Blocks if the bytes are not in memory: see [`FilePart::is_in_memory`]. Cancel-safe.
    ///
    /// # Errors
    /// Errors of writing a body.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        part: &FilePart<'_>,
        most: u64,
    ) -> Poll<Result<usize>> {
        let room = self.room().unwrap_or(u64::MAX);
        let most = usize::try_from(most.min(part.length).min(room)).unwrap_or(usize::MAX);
        if most == 0 {
            return Poll::Ready(Ok(0));
        }
        let send = |socket: BorrowedFd<'_>| file::send_file(socket, part.file, part.at, most);
        Poll::Ready(
            match ready!(self.stream.poll_call(cx, Direction::Out, send)) {
                Ok(moved) => {
                    *self.sent += moved;
                    self.count(moved).map(|()| moved)
                }
                Err(error) if is_refusal(&error) => Ok(0),
                Err(error) => {
                    *self.failed = true;
                    Err(faults::write_failed(error, self.side.clone()))
                }
            },
        )
    }

    fn count(&mut self, moved: usize) -> Result<()> {
        let Some(bound) = &mut self.bound else {
            return Ok(());
        };
        let counted = bound.moved(moved as u64, &self.side);
        *self.failed |= counted.is_err();
        counted
    }
}

/// A part of a file, as the source of a body's payload that does not need to be examined.
#[derive(Debug, Clone, Copy)]
pub struct FilePart<'a> {
    file: BorrowedFd<'a>,
    at: u64,
    length: u64,
    /// It is nowhere but in memory.
    in_memory: bool,
}

impl<'a> FilePart<'a> {
    /// So many bytes of a file from position `at`. Nobody may change or shorten that part meanwhile.
    pub fn new(file: BorrowedFd<'a>, at: u64, length: u64) -> Self {
        FilePart {
            file,
            at,
            length,
            in_memory: false,
        }
    }

    /// Its length, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the first `most` bytes can probably be read without waiting for a disk. The kernel counts their pages, and
    /// tells whether the last of them was already read; one that can't count is asked about every 256 KiB.
    /// `None`: it can't tell about files in this place, or the file is not what it should be.
    pub fn is_in_memory(&self, most: u64) -> Option<bool> {
        if self.in_memory {
            return Some(true);
        }
        let length = NonZeroU64::new(most.min(self.length))?;
        let last = self.at.checked_add(length.get() - 1)?;
        let is_there = |at| file::is_in_memory(self.file, at).ok();
        if !is_there(last)? {
            return Some(false);
        }
        if let Ok((there, all)) = file::pages_in_memory(self.file, self.at, length) {
            return Some(there >= all);
        }
        let mut at = self.at;
        while at < last {
            if !is_there(at)? {
                return Some(false);
            }
            at = at.checked_add(ASKED_ABOUT)?;
        }
        Some(true)
    }
}

/// Bytes in memory that never change, as a file without a name: a socket takes their pages without a copy
/// ([`part`](MemoryFile::part)), and everybody else reads them where they are ([`bytes`](MemoryFile::bytes)). Cloning shares it.
///
/// It takes whole pages, one descriptor and one mapping, until the last who reads it is gone. There are at most 1,024 in a
/// process, and they never take more than an eighth of the descriptors that it may open.
#[derive(Debug, Clone)]
pub struct MemoryFile(Arc<memory_file::MemoryFile>);

impl MemoryFile {
    /// A file of these pieces, which are copied.
    ///
    /// # Errors
    /// `QuotaExceeded` if there are too many already; `InvalidInput` if it would be empty; those of memfd_create(2), write(2),
    /// fcntl(2) and mmap(2).
    pub fn of(pieces: &[Bytes]) -> io::Result<MemoryFile> {
        let file = memory_file::MemoryFile::of(pieces.iter().map(|piece| &piece[..]))?;
        Ok(MemoryFile(Arc::new(file)))
    }

    /// What is in it, without a copy. It keeps the file alive.
    pub fn bytes(&self) -> Bytes {
        struct Content(Arc<memory_file::MemoryFile>);
        impl AsRef<[u8]> for Content {
            fn as_ref(&self) -> &[u8] {
                self.0.content()
            }
        }
        Bytes::from_owner(Content(self.0.clone()))
    }

    /// So many of its bytes from position `at`; fewer if it ends before.
    pub fn part(&self, at: u64, length: u64) -> FilePart<'_> {
        let left = (self.0.content().len() as u64).saturating_sub(at);
        FilePart {
            file: self.0.fd(),
            at,
            length: length.min(left),
            in_memory: true,
        }
    }
}
