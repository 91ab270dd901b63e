//! The transport as OpenSSL sees it: memory in front of the real one.
//!
//! OpenSSL reads and writes one record at a time, and answers a read that finds nothing with an error
//! that costs as much as a record. Here, a poll reads from the real transport once, as much as has
//! arrived, and hands it to the library; and what the library seals is gathered, and leaves in one write.
//! The memory belongs to the worker and is borrowed within one poll: an idle connection holds none.

use crate::protocols::tls::{ClientHelloFinder, PlainHttp};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread::LocalKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one read takes from the real transport, in bytes.
const READ_AT_ONCE: usize = 64 * 1024;
/// The least: a record with its header, its tag, and what TLS 1.2 may add (RFC 5246 section 6.2.3).
const READ_AT_LEAST: usize = 16 * 1024 + 2048 + 5;
/// Sealed bytes beyond which nothing is added: more than a batch of records may be.
const MOST_SEALED: usize = 96 * 1024;

thread_local! {
    static ARRIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SEALED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The worker's buffer, or a new one if it is lent already.
fn borrow(buffer: &'static LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    buffer.try_with(Cell::take).unwrap_or_default()
}

fn give_back(buffer: &'static LocalKey<Cell<Vec<u8>>>, bytes: Vec<u8>) {
    // While the thread ends, it goes the ordinary way.
    let _ = buffer.try_with(|cell| cell.set(bytes));
}

/// The transport as OpenSSL sees it.
pub(super) struct Transport<T> {
    pub(super) io: T,
    /// Of the task that made the present call into the library.
    waker: Waker,
    /// Bytes that have arrived and that the library has not read yet: from here to there.
    arrived: Vec<u8>,
    from: usize,
    to: usize,
    ended: bool,
    /// The library reads what has arrived, and no more.
    fed: bool,
    /// The library has read from the real transport, for any reason.
    read_by_itself: bool,
    /// Bytes that the library has sealed, and how many of them were sent.
    sealed: Vec<u8>,
    sent: usize,
    /// The library's writes are gathered.
    gathers: bool,
    /// The first bytes that arrived, if they are plain HTTP instead of TLS.
    pub(super) plain_http: Option<PlainHttp>,
    /// Looks at what is read, until the handshake is over.
    pub(super) client_hello: Option<Box<ClientHelloFinder>>,
}

impl<T> Transport<T> {
    pub(super) fn new(io: T) -> Self {
        Transport {
            io,
            waker: Waker::noop().clone(),
            arrived: Vec::new(),
            from: 0,
            to: 0,
            ended: false,
            fed: false,
            read_by_itself: false,
            sealed: Vec::new(),
            sent: 0,
            gathers: false,
            plain_http: None,
            client_hello: None,
        }
    }

    /// Calls into the library are on behalf of this task from now on.
    pub(super) fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker.clone_from(waker);
        }
    }

    /// With `true`, a read finds what [`fill`](Transport::poll_fill) has brought, and nothing else.
    pub(super) fn set_fed(&mut self, fed: bool) {
        self.fed = fed;
    }

    /// With `true`, writes are gathered until [`poll_send`](Transport::poll_send).
    pub(super) fn set_gathers(&mut self, gathers: bool) {
        self.gathers = gathers;
    }

    /// Whether something has arrived that the library has not read.
    pub(super) fn has_arrived(&self) -> bool {
        self.from < self.to
    }

    /// Memory that is held, in bytes.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.arrived.capacity() + self.sealed.capacity()
    }

    /// Whether the library has read from the real transport since it was asked last.
    pub(super) fn take_read_by_itself(&mut self) -> bool {
        std::mem::take(&mut self.read_by_itself)
    }

    /// Returns the worker's buffer, and keeps a copy of what is left in it.
    pub(super) fn return_buffer(&mut self) {
        if self.arrived.len() == READ_AT_ONCE {
            let rest = self.arrived.get(self.from..self.to).unwrap_or_default();
            let rest = rest.to_vec();
            (self.from, self.to) = (0, rest.len());
            give_back(&ARRIVED, std::mem::replace(&mut self.arrived, rest));
        } else if !self.has_arrived() && self.to > 0 {
            self.arrived = Vec::new();
            (self.from, self.to) = (0, 0);
        }
    }

    /// Whether nothing more is gathered before some of it was sent.
    pub(super) fn is_full(&self) -> bool {
        self.sealed.len() - self.sent > MOST_SEALED
    }

    /// Ciphertext goes here while it can't be sent.
    fn gather(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_full() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.sealed.capacity() == 0 {
            self.sealed = borrow(&SEALED);
            self.sealed.reserve(MOST_SEALED + READ_AT_LEAST);
        }
        self.sealed.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl<T: AsyncRead + Unpin> Transport<T> {
    /// Reads what has arrived, once, for a caller that has room for `room` bytes. The end counts as
    /// having arrived: the library makes of it what it means.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<()>> {
        self.return_buffer();
        let mut buffer = borrow(&ARRIVED);
        buffer.resize(READ_AT_ONCE, 0);
        let wanted = room.clamp(READ_AT_LEAST, READ_AT_ONCE);
        let mut unfilled = ReadBuf::new(buffer.get_mut(..wanted).unwrap_or_default());
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut unfilled);
        let arrived = unfilled.filled().len();
        if arrived == 0 {
            give_back(&ARRIVED, buffer);
            self.ended = matches!(polled, Poll::Ready(Ok(())));
        } else {
            (self.arrived, self.from, self.to) = (buffer, 0, arrived);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> Transport<T> {
    /// Sends what was gathered; ready when all of it was.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.sealed.get(self.sent..) {
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.keep_unsent();
                    return Poll::Pending;
                }
            }
        }
        if self.sealed.capacity() > 0 {
            self.return_sealed();
        }
        Poll::Ready(Ok(()))
    }

    /// The connection waits: what is left moves to memory of its size.
    pub(super) fn keep_unsent(&mut self) {
        if self.sealed.capacity() > MOST_SEALED {
            let rest = self.sealed.get(self.sent..).unwrap_or_default().to_vec();
            self.return_sealed();
            self.sealed = rest;
        }
    }

    fn return_sealed(&mut self) {
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.sealed);
        buffer.clear();
        if buffer.capacity() > MOST_SEALED {
            give_back(&SEALED, buffer);
        }
    }
}

fn or_would_block<R>(poll: Poll<io::Result<R>>) -> io::Result<R> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<T: AsyncRead + Unpin> Read for Transport<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.has_arrived() {
            let arrived = self.arrived.get(self.from..self.to).unwrap_or_default();
            let n = Read::read(&mut &*arrived, buf)?;
            self.from += n;
            return Ok(n);
        }
        if self.fed {
            return if self.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let mut cx = Context::from_waker(&self.waker);
        let mut buf = ReadBuf::new(buf);
        or_would_block(Pin::new(&mut self.io).poll_read(&mut cx, &mut buf))?;
        if let Some(finder) = &mut self.client_hello {
            finder.feed(buf.filled());
        }
        if !self.read_by_itself {
            self.read_by_itself = true;
            self.plain_http = PlainHttp::recognize(buf.filled());
        }
        Ok(buf.filled().len())
    }
}

impl<T: AsyncWrite + Unpin> Write for Transport<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // After all waiting data: an alert, for example, while a body can't be sent.
        if self.gathers || self.sent < self.sealed.len() {
            return self.gather(buf);
        }
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_write(&mut cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathers || self.sent < self.sealed.len() {
            return Ok(());
        }
        let mut cx = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.io).poll_flush(&mut cx))
    }
}
