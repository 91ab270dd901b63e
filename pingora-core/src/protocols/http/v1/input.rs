//! The receiving side of an HTTP/1 connection: from the socket to heads and payload.

use crate::process::memory::{self, fallible};
use crate::protocols::Stream;
use crate::protocols::http::exchange::Taker;
use crate::protocols::http::h1::{
    BodyDecoder, Fault, HeadLimits, HeadScanner, Step, skip_leading_crlf,
};
use crate::runtime::local;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// A body with at least this many bytes still to come is read directly into its own memory instead
/// of through the worker's scratch buffer.
const READ_DIRECT: u64 = 16 * 1024;
/// The maximum size of one direct read.
const DIRECT_SIZE: usize = 128 * 1024;
/// A smaller read is copied: a waiting piece keeps the whole buffer that it was read into alive, so a
/// few kilobytes could hold many times as much.
const DIRECT_SHARED: usize = DIRECT_SIZE / 4;
/// The maximum size of one read while memory is short.
const SHORT_READ: usize = 16 * 1024;
/// The number of bytes of empty lines before a message that are tolerated (RFC 9112 section 2.2).
const LEADING_CRLF: usize = 8;

/// The result of looking for a message head.
#[derive(Debug)]
pub(crate) enum HeadEvent {
    /// A head, with the blank line that ends it.
    Head(Bytes),
    /// The peer closed the connection; `true` if it had begun a message.
    Closed(bool),
    /// The bytes can't be the beginning of a message.
    Fault(Fault),
}

/// The result of reading a body.
#[derive(Debug)]
pub(crate) enum BodyEvent {
    /// A piece of payload, never empty.
    Data(Bytes),
    /// The body is over.
    End,
    /// The bytes break the rules, or the body was cut short.
    Fault(Fault),
}

/// The bytes that arrived on one connection and are not consumed yet.
///
/// Holds no memory while nothing is pending: reads go through the worker's scratch buffer.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Complete bytes, the first of which is consumed next.
    rest: Bytes,
    /// The beginning of an incomplete head. Empty unless `rest` is empty.
    partial: BytesMut,
    scanner: HeadScanner,
    /// Empty lines skipped before the current head.
    skipped: usize,
    /// Whether empty lines before a message are skipped. A server should tolerate them from old
    /// clients (RFC 9112 section 2.2), whereas before a response they show that the two sides
    /// disagree on where the previous one ended.
    forgives_empty_lines: bool,
    /// The maximum number of bytes of one read, if it is less than usual; 0: as usual.
    most: u32,
}

impl Input {
    /// For a server; begins with bytes that were read elsewhere.
    pub(crate) fn with_prefix(prefix: Bytes) -> Self {
        Input {
            rest: prefix,
            forgives_empty_lines: true,
            ..Input::default()
        }
    }

    /// Limits each read to this many bytes from now on. More than the size of a worker's scratch buffer
    /// is no limit.
    #[inline]
    pub(crate) fn limit_reads(&mut self, bytes: usize) {
        let limited = bytes < local::SCRATCH_SIZE;
        self.most = if limited { bytes.max(1) as u32 } else { 0 };
    }

    /// The part of the worker's scratch buffer that may be filled.
    fn window<'a>(&self, scratch: &'a mut [u8]) -> &'a mut [u8] {
        let most = match self.most {
            0 if memory::is_short() => SHORT_READ,
            0 => return scratch,
            most => most as usize,
        };
        let room = most.min(scratch.len());
        scratch.get_mut(..room).unwrap_or_default()
    }

    /// Whether bytes are waiting to be consumed.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.partial.is_empty()
    }

    /// The number of bytes waiting to be consumed.
    pub(crate) fn len(&self) -> usize {
        self.rest.len() + self.partial.len()
    }

    /// The bytes waiting to be consumed.
    pub(crate) fn waiting(&self) -> &[u8] {
        if self.partial.is_empty() {
            &self.rest
        } else {
            &self.partial
        }
    }

    /// Takes all waiting bytes: for a tunnel, or for the next user of the connection.
    pub(crate) fn take(&mut self) -> Bytes {
        self.skipped = 0;
        self.scanner = HeadScanner::default();
        if self.partial.is_empty() {
            std::mem::take(&mut self.rest)
        } else {
            self.partial.split().freeze()
        }
    }

    /// Reads until a whole message head has arrived. Cancel-safe.
    pub(crate) fn poll_head(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
    ) -> Poll<io::Result<HeadEvent>> {
        if !self.rest.is_empty() {
            match self.head_in_rest(limits) {
                Ok(Some(head)) => return Poll::Ready(Ok(HeadEvent::Head(head))),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Ok(HeadEvent::Fault(fault))),
            }
        }
        loop {
            let found = local::with_scratch(|scratch| {
                let mut buf = ReadBuf::new(self.window(scratch));
                ready!(Pin::new(&mut *io).poll_read(cx, &mut buf))?;
                Poll::Ready(io::Result::Ok(self.head_in_new(buf.filled(), limits)))
            });
            match ready!(found)? {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Ok(HeadEvent::Fault(fault))),
            }
        }
    }

    /// Looks for a head in bytes left over from the previous message.
    fn head_in_rest(&mut self, limits: &HeadLimits) -> Result<Option<Bytes>, Fault> {
        self.skip_empty_lines_in_rest();
        if let Some(end) = self.scanner.find_end(&self.rest, limits)? {
            self.begin_message();
            return Ok(Some(self.rest.split_to(end)));
        }
        fallible::append(&mut self.partial, &self.rest).map_err(|_| Fault::OUT_OF_MEMORY)?;
        self.rest = Bytes::new();
        Ok(None)
    }

    /// The number of bytes of empty lines before a message that may be skipped.
    fn empty_lines(&self, bytes: &[u8]) -> usize {
        if self.forgives_empty_lines {
            skip_leading_crlf(bytes).min(LEADING_CRLF.saturating_sub(self.skipped))
        } else {
            0
        }
    }

    fn skip_empty_lines_in_rest(&mut self) {
        let skip = self.empty_lines(&self.rest);
        self.skipped += skip;
        self.rest.advance(skip);
    }

    /// An empty line that arrived in two pieces.
    fn skip_empty_lines_in_partial(&mut self) {
        if self.partial.starts_with(b"\r\n") {
            let skip = self.empty_lines(&self.partial);
            self.skipped += skip;
            self.partial.advance(skip);
        }
    }

    /// Looks for a head in `fresh` bytes that were just read, after those that were there before.
    fn head_in_new(
        &mut self,
        fresh: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<HeadEvent>, Fault> {
        if fresh.is_empty() {
            return Ok(Some(HeadEvent::Closed(!self.partial.is_empty())));
        }
        if self.partial.is_empty() {
            let skip = self.empty_lines(fresh);
            self.skipped += skip;
            let fresh = fresh.get(skip..).unwrap_or_default();
            let found = self.scanner.find_end(fresh, limits);
            let Ok(Some(end)) = found else {
                // Also for a refused head, which is logged.
                self.keep_partial(fresh)?;
                return found.map(|_| None);
            };
            self.begin_message();
            return self.split_fresh(fresh, end).map(Some);
        }
        self.keep_partial(fresh)?;
        self.skip_empty_lines_in_partial();
        let Some(end) = self.scanner.find_end(&self.partial, limits)? else {
            return Ok(None);
        };
        self.begin_message();
        let whole = std::mem::take(&mut self.partial);
        self.split_fresh(&whole, end).map(Some)
    }

    /// Keeps the received part of an incomplete head.
    fn keep_partial(&mut self, fresh: &[u8]) -> Result<(), Fault> {
        fallible::append(&mut self.partial, fresh).map_err(|_| Fault::OUT_OF_MEMORY)
    }

    /// Copies a head, and the bytes after it, out of a buffer that has to be given back.
    #[inline]
    fn split_fresh(&mut self, fresh: &[u8], end: usize) -> Result<HeadEvent, Fault> {
        let (head, rest) = fresh.split_at_checked(end).unwrap_or((fresh, &[]));
        // Separate copies: memory with a single owner needs no counter, and a header value that is
        // kept does not keep a body alive.
        self.rest = fallible::copy(rest).map_err(|_| Fault::OUT_OF_MEMORY)?;
        let head = fallible::copy(head).map_err(|_| Fault::OUT_OF_MEMORY)?;
        Ok(HeadEvent::Head(head))
    }

    fn begin_message(&mut self) {
        self.scanner = HeadScanner::default();
        self.skipped = 0;
    }

    /// Whether the next [`Input::poll_body`] can return something without reading.
    pub(crate) fn has_body_input(&self, decoder: &BodyDecoder) -> bool {
        !self.rest.is_empty() || decoder.is_done()
    }

    /// Reads the next piece of a body. Cancel-safe.
    pub(crate) fn poll_body(
        &mut self,
        io: &mut Stream,
        decoder: &mut BodyDecoder,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<BodyEvent>> {
        loop {
            if let Some(event) = self.decode(decoder) {
                return Poll::Ready(Ok(event));
            }
            let limited = self.most > 0 || memory::is_short();
            let n = if decoder.remaining().unwrap_or(u64::MAX) >= READ_DIRECT && !limited {
                ready!(self.poll_read_direct(io, cx))?
            } else {
                ready!(self.poll_read_scratch(io, cx))?
            };
            if n == 0 {
                let end = match decoder.end_of_input() {
                    Ok(()) => BodyEvent::End,
                    Err(fault) => BodyEvent::Fault(fault),
                };
                return Poll::Ready(Ok(end));
            }
        }
    }

    /// One piece of the bytes that are already there; `None` if more has to be read first.
    fn decode(&mut self, decoder: &mut BodyDecoder) -> Option<BodyEvent> {
        loop {
            if decoder.is_done() {
                return Some(BodyEvent::End);
            }
            if self.rest.is_empty() {
                return None;
            }
            match decoder.step(&self.rest) {
                Ok(Step::More { consumed }) => self.rest.advance(consumed.min(self.rest.len())),
                Ok(Step::End { consumed }) => self.rest.advance(consumed.min(self.rest.len())),
                Ok(Step::Data { skip, len }) => {
                    self.rest.advance(skip.min(self.rest.len()));
                    let data = self.rest.split_to(len.min(self.rest.len()));
                    return Some(BodyEvent::Data(data));
                }
                Err(fault) => return Some(BodyEvent::Fault(fault)),
            }
        }
    }

    /// Whether the body ends here, as far as can be determined without reading on.
    pub(crate) fn ends_body(&mut self, decoder: &mut BodyDecoder) -> bool {
        if decoder.is_done() || self.rest.is_empty() {
            return decoder.is_done();
        }
        let mut ahead = decoder.clone();
        if let Ok(Step::End { consumed } | Step::More { consumed }) = ahead.step(&self.rest) {
            self.rest.advance(consumed.min(self.rest.len()));
            *decoder = ahead;
        }
        decoder.is_done()
    }

    #[inline]
    fn poll_read_scratch(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        local::with_scratch(|scratch| {
            let mut buf = ReadBuf::new(self.window(scratch));
            ready!(Pin::new(io).poll_read(cx, &mut buf))?;
            self.rest = fallible::copy(buf.filled())?;
            Poll::Ready(Ok(self.rest.len()))
        })
    }

    fn poll_read_direct(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut direct = match local::take_chunk(DIRECT_SIZE) {
            Some(chunk) => chunk,
            None => fallible::buffer(DIRECT_SIZE)?,
        };
        let read = tokio_util::io::poll_read_buf(Pin::new(io), cx, &mut direct);
        let piece = match read {
            Poll::Ready(Ok(n)) if n < DIRECT_SHARED => fallible::copy(&direct).map(Some),
            Poll::Ready(Ok(_)) => Ok(Some(direct.split().freeze())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(None),
        };
        // A peer that stalls in the middle of a body, on either side, holds none of our memory
        // meanwhile.
        local::give_chunk(direct);
        match piece? {
            Some(piece) => {
                self.rest = piece;
                Poll::Ready(Ok(self.rest.len()))
            }
            None => Poll::Pending,
        }
    }

    /// Reads once, and lends what has arrived to `take` instead of keeping it; 0: the end. Nothing may be
    /// waiting. Cancel-safe.
    pub(crate) fn poll_lend(
        &self,
        io: &mut Stream,
        cx: &mut Context<'_>,
        take: Taker<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        local::with_scratch(|scratch| {
            let mut buf = ReadBuf::new(self.window(scratch));
            ready!(Pin::new(io).poll_read(cx, &mut buf))?;
            let arrived = buf.filled();
            if !arrived.is_empty() {
                take(cx, arrived);
            }
            Poll::Ready(Ok(arrived.len()))
        })
    }

    /// Reads while nothing is expected: ready when the peer closed (`0`) or sent something, which
    /// is kept for later. Pending while the peer is silent. Cancel-safe.
    pub(crate) fn poll_unexpected(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.is_empty() {
            return Poll::Ready(Ok(self.len()));
        }
        self.poll_read_scratch(io, cx)
    }

    /// Reads ahead while earlier bytes wait for their turn: ready with the number of bytes added,
    /// `0` if the peer closed. The caller decides how far to read ahead. Cancel-safe.
    pub(crate) fn poll_read_ahead(
        &mut self,
        io: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            return self.poll_read_scratch(io, cx);
        }
        local::with_scratch(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut buf))?;
            let waiting = self.take();
            self.rest = fallible::join(&waiting, buf.filled())?;
            Poll::Ready(Ok(buf.filled().len()))
        })
    }
}
