//! The bytes on the wire, on their way to the library and from it.
//!
//! The memory belongs to the worker and is borrowed within one poll: an idle connection holds none.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::LocalKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one read takes from the transport, in bytes.
const READ_AT_ONCE: usize = 64 * 1024;
/// The least: a record with its header, its tag, and what TLS 1.2 may add (RFC 5246 section 6.2.3).
const READ_AT_LEAST: usize = 16 * 1024 + 2048 + 5;
/// The most bytes kept of earlier reads: an incomplete handshake message (the library accepts none beyond
/// 64 KiB), with the headers of its records.
const MOST_KEPT: usize = 96 * 1024;
/// The size of the worker's buffers, in bytes.
const ROOM: usize = READ_AT_ONCE + MOST_KEPT;
/// Sealed bytes beyond which nothing is added: more than a batch of records may be.
const MOST_SEALED: usize = 96 * 1024;

thread_local! {
    static ARRIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SEALED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The worker's buffer, or a new one if it is lent already.
fn borrow(buffer: &'static LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    let mut bytes = buffer.try_with(Cell::take).unwrap_or_default();
    bytes.resize(ROOM, 0);
    bytes
}

fn give_back(buffer: &'static LocalKey<Cell<Vec<u8>>>, bytes: Vec<u8>) {
    if bytes.len() == ROOM {
        // While the thread ends, it goes the ordinary way.
        let _ = buffer.try_with(|cell| cell.set(bytes));
    }
}

/// Bytes that have arrived and that the library has not taken yet.
#[derive(Default)]
pub(super) struct Arrived {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Arrived {
    /// With what was read before there was a session.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let to = bytes.len();
        Arrived { bytes, from: 0, to }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// For the library, which decrypts in place.
    pub(super) fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.from..self.to).unwrap_or_default()
    }

    /// The library has taken this many bytes.
    pub(super) fn discard(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }

    /// Reads once, behind what is there, for a caller that has room for `room` bytes. Returns how many bytes
    /// came; 0 is the end.
    pub(super) fn poll_fill<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = borrow(&ARRIVED);
        let kept = self.to - self.from;
        if let (Some(begin), Some(rest)) =
            (buffer.get_mut(..kept), self.bytes.get(self.from..self.to))
        {
            begin.copy_from_slice(rest);
        }
        let wanted = room.clamp(READ_AT_LEAST, READ_AT_ONCE);
        let free = buffer.get_mut(kept..kept + wanted).unwrap_or_default();
        if free.is_empty() {
            let text = "a TLS handshake message is too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let mut unfilled = ReadBuf::new(free);
        let polled = Pin::new(io).poll_read(cx, &mut unfilled);
        let arrived = unfilled.filled().len();
        if arrived == 0 {
            give_back(&ARRIVED, buffer);
            return polled.map_ok(|()| 0);
        }
        let before = std::mem::replace(&mut self.bytes, buffer);
        give_back(&ARRIVED, before);
        (self.from, self.to) = (0, kept + arrived);
        Poll::Ready(Ok(arrived))
    }

    /// Returns the worker's buffer, and keeps a copy of what is left in it.
    pub(super) fn return_buffer(&mut self) {
        if self.bytes.len() == ROOM {
            let rest = self.unread().to_vec();
            (self.from, self.to) = (0, rest.len());
            give_back(&ARRIVED, std::mem::replace(&mut self.bytes, rest));
        } else if self.is_empty() && !self.bytes.is_empty() {
            *self = Arrived::default();
        }
    }
}

/// Bytes that the library has sealed.
#[derive(Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    sent: usize,
    end: usize,
}

impl Sealed {
    pub(super) fn is_empty(&self) -> bool {
        self.sent >= self.end
    }

    /// Whether nothing more is to be sealed before some of it was sent.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.sent > MOST_SEALED
    }

    /// Room for the library to write to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = borrow(&SEALED);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Makes room for `count` bytes at least.
    pub(super) fn reserve(&mut self, count: usize) {
        let wanted = self.end + count;
        if self.bytes.len() < wanted {
            let mut larger = vec![0; wanted.max(2 * self.bytes.len())];
            if let (Some(begin), Some(held)) =
                (larger.get_mut(..self.end), self.bytes.get(..self.end))
            {
                begin.copy_from_slice(held);
            }
            give_back(&SEALED, std::mem::replace(&mut self.bytes, larger));
        }
    }

    /// The library has written this many bytes.
    pub(super) fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Sends what there is; ready when all of it was.
    pub(super) fn poll_send<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.bytes.get(self.sent..self.end) {
            match Pin::new(&mut *io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.keep_unsent();
                    return Poll::Pending;
                }
            }
        }
        if !self.bytes.is_empty() {
            give_back(&SEALED, std::mem::take(&mut self.bytes));
        }
        (self.sent, self.end) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// The connection waits: what is left moves to memory of its size.
    pub(super) fn keep_unsent(&mut self) {
        if self.bytes.len() == ROOM {
            let rest = self.bytes.get(self.sent..self.end).unwrap_or_default();
            let rest = rest.to_vec();
            (self.sent, self.end) = (0, rest.len());
            give_back(&SEALED, std::mem::replace(&mut self.bytes, rest));
        }
    }
}
