//! The sending side of an HTTP/1 connection: the queue in front of the socket.

use crate::process::memory::fallible;
use crate::protocols::Stream;
use crate::runtime::local;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Pieces up to this size are copied next to their neighbours instead of being written in place: a
/// copy of this size is cheaper than another element of a vectored write.
const COPY_BELOW: usize = 4 * 1024;
/// The amount gathered for a transport without vectored writes (a full TLS record).
const GATHER: usize = 16 * 1024;
const MAX_SLICES: usize = 32;

/// The bytes waiting to be written to one connection.
///
/// Bytes are accepted completely and are sent in order. Nothing is lost when a future that flushes
/// is dropped: the queue belongs to the session. It is append-only once a write was attempted,
/// because a TLS write that would block has to be repeated with the same initial bytes.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    /// Sent first. Small pieces are gathered here as long as `chunks` is empty.
    staged: Vec<u8>,
    /// The number of bytes of `staged` that were sent already.
    written: usize,
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
}

impl OutQueue {
    /// The number of waiting bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.staged.len() - self.written + self.chunk_bytes
    }

    /// The memory that the waiting bytes take, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.staged.capacity() + self.chunk_bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets `fill` append bytes to the queue.
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if self.chunks.is_empty() {
            if self.staged.capacity() == 0 {
                self.staged = local::take_buffer();
            }
            fill(&mut self.staged);
        } else {
            let mut piece = Vec::new();
            fill(&mut piece);
            self.push_chunk(piece.into());
        }
    }

    /// Appends `data`; copies it if that is cheaper.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < COPY_BELOW && self.chunks.is_empty() {
            self.fill(|out| out.extend_from_slice(&data));
        } else {
            self.push_chunk(data);
        }
    }

    /// Writes `bytes` from where they are, as long as nothing is queued, and queues what is left of them.
    /// Pending if anything is.
    pub(crate) fn poll_pass_on(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<()>> {
        while self.is_empty() {
            if bytes.is_empty() {
                return Pin::new(io).poll_flush(cx);
            }
            match Pin::new(&mut *io).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => bytes = bytes.get(n..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if bytes.len() < COPY_BELOW && self.chunks.is_empty() {
            self.fill(|out| out.extend_from_slice(bytes));
        } else {
            self.push_chunk(fallible::copy(bytes)?);
        }
        Poll::Pending
    }

    fn push_chunk(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.chunk_bytes += data.len();
            self.chunks.push_back(data);
        }
    }

    /// Drops the queue: the connection is beyond repair.
    pub(crate) fn clear(&mut self) {
        self.release_staged();
        self.chunks.clear();
        self.chunk_bytes = 0;
    }

    /// Writes until the queue is empty. Also ready if there was nothing to do. Cancel-safe.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let n = ready!(self.poll_write_some(io, cx))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        self.release_staged();
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write_some(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.chunks.is_empty() {
            return Pin::new(io).poll_write(cx, self.staged_rest());
        }
        if !io.is_write_vectored() {
            self.gather();
            return match self.staged_rest() {
                [] => Pin::new(io).poll_write(cx, self.chunks.front().map_or(&[], |c| c)),
                staged => Pin::new(io).poll_write(cx, staged),
            };
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let staged = Some(self.staged_rest()).filter(|s| !s.is_empty());
        let pieces = staged
            .into_iter()
            .chain(self.chunks.iter().map(|c| c.as_ref()));
        let mut used = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            used += 1;
        }
        Pin::new(io).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    /// Copies chunks after the staged bytes until a record is full. Only ever appends.
    fn gather(&mut self) {
        if self.staged.is_empty() {
            match self.chunks.front() {
                // A large chunk fills records by itself.
                Some(first) if first.len() >= GATHER => return,
                _ => self.staged = local::take_buffer(),
            }
        }
        while self.staged.len() - self.written < GATHER {
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let room = GATHER - (self.staged.len() - self.written);
            let piece = chunk.split_to(room.min(chunk.len()));
            self.staged.extend_from_slice(&piece);
            self.chunk_bytes -= piece.len();
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn staged_rest(&self) -> &[u8] {
        self.staged.get(self.written..).unwrap_or_default()
    }

    fn advance(&mut self, mut n: usize) {
        let from_staged = n.min(self.staged.len() - self.written);
        self.written += from_staged;
        n -= from_staged;
        if self.written == self.staged.len() {
            self.release_staged();
        }
        while n > 0 {
            let Some(chunk) = self.chunks.front_mut() else {
                break;
            };
            let part = n.min(chunk.len());
            chunk.advance(part);
            self.chunk_bytes -= part;
            n -= part;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn release_staged(&mut self) {
        self.written = 0;
        if self.staged.capacity() != 0 {
            local::give_buffer(mem::take(&mut self.staged));
        }
    }
}

impl Drop for OutQueue {
    fn drop(&mut self) {
        self.release_staged();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, duplex};

    fn pieces() -> Vec<Bytes> {
        vec![
            Bytes::from_static(b"head "),
            Bytes::from(vec![b'a'; COPY_BELOW + 1]),
            Bytes::from_static(b" small "),
            Bytes::from(vec![b'b'; 3 * GATHER]),
            Bytes::from_static(b" end"),
        ]
    }

    async fn through(buffer: usize) -> Vec<u8> {
        let (near, mut far) = duplex(buffer);
        let mut io: Stream = Box::new(near);
        let mut out = OutQueue::default();
        for piece in pieces() {
            out.push(piece);
        }
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        });
        poll_fn(|cx| out.poll_flush(&mut io, cx)).await.unwrap();
        assert!(out.is_empty());
        drop(io);
        reader.await.unwrap()
    }

    #[tokio::test]
    async fn bytes_leave_whole_and_in_order_through_any_window() {
        let expected = pieces().concat();
        for buffer in [1, 7, 4096, 1 << 20] {
            assert_eq!(through(buffer).await, expected, "window of {buffer}");
        }
    }

    #[tokio::test]
    async fn what_is_passed_on_is_copied_only_if_it_has_to_wait() {
        let (near, mut far) = duplex(10);
        let mut io: Stream = Box::new(near);
        let mut out = OutQueue::default();
        let mut pass_on = async |out: &mut OutQueue, bytes: &[u8]| {
            poll_fn(|cx| Poll::Ready(out.poll_pass_on(&mut io, cx, bytes))).await
        };
        assert!(pass_on(&mut out, b"0123").await.is_ready());
        assert_eq!((out.len(), out.held()), (0, 0));
        assert!(pass_on(&mut out, b"456789abc").await.is_pending());
        assert_eq!(out.len(), 3, "the rest of it");
        // Nothing overtakes what waits, whatever its size.
        let long = vec![b'd'; COPY_BELOW];
        assert!(pass_on(&mut out, &long).await.is_pending());
        assert!(pass_on(&mut out, b"e").await.is_pending());
        assert_eq!(out.len(), 3 + COPY_BELOW + 1);
        let expected = [b"0123456789abc", &long[..], b"e"].concat();
        let reader = tokio::spawn(async move {
            let mut got = vec![0; expected.len()];
            far.read_exact(&mut got).await.unwrap();
            assert!(got == expected);
        });
        poll_fn(|cx| out.poll_flush(&mut io, cx)).await.unwrap();
        reader.await.unwrap();
    }

    #[test]
    fn the_length_counts_what_waits() {
        let mut out = OutQueue::default();
        assert!(out.is_empty());
        for piece in pieces() {
            out.push(piece);
        }
        assert_eq!(out.len(), pieces().concat().len());
        out.advance(10);
        assert_eq!(out.len(), pieces().concat().len() - 10);
        out.clear();
        assert!(out.is_empty());
    }
}
