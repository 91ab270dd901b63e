//! The end of a request: whether the connection is fit for another one.

use super::super::timed::Timed;
use super::{Continue, DRAIN_LIMIT, Http1Options, HttpSession, Inner};
use crate::protocols::Stream;
use crate::protocols::http::RecycledRequest;
use crate::protocols::http::h1::{BodyDecoder, BodyEncoder, Fault, RequestFacts};
use crate::protocols::http::linger::{LingerPermit, Patience, linger, poll_discard};
use crate::protocols::http::recycled::give_response;
use crate::protocols::http::session_options::SessionOptions;
use crate::protocols::l4::stream::Stream as L4Stream;
use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// The number of bytes that are drained before other tasks of the worker get their turn.
const DRAINED_PER_TURN: usize = 256 * 1024;

impl Inner {
    /// Reads and drops the rest of the request's body; an error if it exceeds `budget`.
    fn poll_drain(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> Poll<Result<()>> {
        let mut turn = DRAINED_PER_TURN;
        loop {
            let Some(data) = ready!(self.poll_body(cx))? else {
                return Poll::Ready(Ok(()));
            };
            let Some(left) = budget.checked_sub(data.len()) else {
                self.broken = true;
                let context = "the rest of the request's body is too long to be drained";
                return Poll::Ready(Error::e_explain(ErrorType::H1Error, context));
            };
            *budget = left;
            turn = turn.saturating_sub(data.len());
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    async fn drain(&mut self) -> Result<()> {
        // A client still waiting for `100 Continue` sends no body, so there is nothing to drain.
        if self.decoder.is_done() || self.continue_state == Continue::Owed {
            return Ok(());
        }
        // Time bounds the draining, unless too many connections are draining or lingering already.
        let place = LingerPermit::take();
        let mut budget = if place.is_some() {
            usize::MAX
        } else {
            DRAIN_LIMIT
        };
        let limit = self.options.total_drain_timeout;
        let drained = self
            .within(limit, |inner, cx| inner.poll_drain(cx, &mut budget))
            .await;
        drained.unwrap_or_else(|| {
            self.broken = true;
            Error::e_explain(ErrorType::ReadTimedout, "while draining the request's body")
        })
    }

    /// Whether the client may still be sending bytes that will not be read.
    fn must_linger(&self) -> bool {
        let unread = || !self.decoder.is_done() || !self.input.is_empty() || self.fault.is_some();
        !self.half_closed && (unread() || self.has_arrived())
    }

    /// Whether unread data has arrived, as far as that is known without asking the kernel: a pipelined
    /// request.
    fn has_arrived(&self) -> bool {
        let socket = self.io.as_any().downcast_ref::<L4Stream>();
        socket.and_then(L4Stream::is_quiet) == Some(false)
    }

    async fn close(&mut self) {
        let lingers = self.must_linger();
        // Pipelined bytes will never be processed, and need not be held until then.
        drop(self.input.take());
        let write_side = |inner: &mut Inner, cx: &mut Context<'_>| {
            ready!(inner.out.poll_flush(&mut inner.io, cx))?;
            Pin::new(&mut inner.io).poll_shutdown(cx)
        };
        let limit = self.write_limit();
        let closed = self.within(limit, write_side).await;
        let lingers = lingers || self.must_linger();
        if matches!(closed, Some(io::Result::Ok(()))) && lingers {
            self.options.drop_copy();
            let discard = |inner: &mut Inner, cx: &mut Context<'_>| poll_discard(&mut inner.io, cx);
            linger(self, Patience::default(), discard).await;
        }
    }

    /// Makes the session fit for the next request; keeps the state of the connection.
    fn renew(&mut self) {
        self.request = RecycledRequest::default();
        self.request_read = false;
        self.facts = RequestFacts::default();
        self.fault = None;
        self.raw_head = None;
        self.decoder = BodyDecoder::default();
        self.body_read = 0;
        self.large_head = 0;
        self.held.forget();
        self.count_held();
        self.continue_state = Continue::NotExpected;
        if let Some(response) = self.response.take() {
            give_response(response);
        }
        self.encoder = BodyEncoder::default();
        self.body_sent = 0;
        self.http1 = Http1Options {
            pipelining: self.http1.pipelining,
            ..Http1Options::default()
        };
        self.options = SessionOptions {
            keepalive: self.options.keepalive,
            reuses_remaining: self.options.reuses_remaining,
            ..SessionOptions::default()
        };
    }

    /// Whether the response is complete according to its framing.
    fn response_complete(&self) -> bool {
        self.response.is_some() && self.encoder.is_done()
    }
}

impl HttpSession {
    /// Reads the rest of the request's body and drops it.
    ///
    /// # Errors
    /// If the rest takes longer than [`HttpSession::set_total_drain_timeout`], or breaks a rule; the
    /// connection can't be reused in that case. Also if the rest is longer than 64 KiB while more than
    /// a thousand other connections of this process are being drained.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        self.inner.drain().await
    }

    /// Carries out [`HttpSession::reuse`]: returns the session of the next request, or `None` after closing
    /// the connection in an orderly way.
    pub(crate) async fn into_next(mut self) -> Result<Option<HttpSession>> {
        let inner = &mut *self.inner;
        if inner.response.is_some() && !inner.upgraded && !inner.encoder.is_done() && !inner.broken
        {
            // A short `Exact` body is detected here; the client must then see the connection close.
            let _ = inner.queue_end(None);
        }
        if !inner.out.is_empty() {
            inner.flush().await?;
        }
        if !inner.keeps_alive() || !inner.response_complete() {
            self.shutdown().await;
            return Ok(None);
        }
        if inner.drain().await.is_err() {
            self.shutdown().await;
            return Ok(None);
        }
        if inner.half_closed && inner.input.is_empty() {
            return Ok(None);
        }
        if !inner.http1.pipelining && !inner.input.is_empty() {
            self.shutdown().await;
            return Ok(None);
        }
        inner.options.begin_next();
        inner.renew();
        Ok(Some(self))
    }

    /// Whether the client got, or will get once the queue is written, a whole response.
    pub fn is_response_complete(&self) -> bool {
        self.inner.response_complete()
    }

    /// Leaves a response that was begun incomplete: the connection closes without an end to the
    /// body, so that the client can tell.
    pub(crate) fn abandon_response(&mut self) {
        self.inner.options.keepalive = None;
        self.inner.broken |= !self.inner.response_complete();
    }

    /// Drops the queue, because the client accepts nothing more: closing the connection does not
    /// wait for it a second time.
    pub fn discard_queued(&mut self) {
        self.inner.broken = true;
        self.inner.out.clear();
    }

    /// Closes the connection in an orderly way: writes the queue, closes the write side, then reads
    /// and drops data that the client is still sending until it closes its side, for at most 30 s, or
    /// 5 s after it fell silent. This way, a client that writes everything before it reads sees its
    /// answer (RFC 9112 section 9.6).
    pub async fn shutdown(&mut self) {
        self.inner.broken = true;
        if self.inner.resets {
            let _ = Box::pin(self.inner.flush()).await;
        }
        if self.inner.resets {
            // Over TLS, the close-notify alert that belongs to an orderly end is not sent either
            // (RFC 9112 section 9.8).
            return;
        }
        if self.inner.must_linger() || self.stream().is_encrypted() {
            Box::pin(self.inner.close()).await;
        } else if !self.inner.out.is_empty() {
            // Nothing is in flight to us: closing the socket has the same effect, and saves a call.
            let _ = self.inner.flush().await;
        }
    }

    /// Discards the part of a request that was read, because there is no memory for it.
    pub(crate) fn refuse_unread(&mut self) {
        self.inner.fault = Some(Fault::OUT_OF_MEMORY);
        drop(self.inner.input.take());
        self.inner.held.forget();
    }

    /// Takes the connection out, with the bytes that were read ahead.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        let mut inner = self.inner;
        let ahead = inner.input.take();
        (inner.io, ahead)
    }

    /// Waits for the first byte of the next request; `false` if the client closed the connection.
    /// Holds no buffer meanwhile. Cancel-safe.
    pub fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let inner = &mut *self.inner;
        match ready!(inner.input.poll_unexpected(&mut inner.io, cx)) {
            Ok(n) => Poll::Ready(n > 0),
            Err(_) => Poll::Ready(false),
        }
    }

    /// Whether the next bytes are `expected`; ready as soon as that is certain. Does not consume
    /// them. Cancel-safe.
    pub(crate) fn poll_begins_with(&mut self, cx: &mut Context<'_>, expected: &[u8]) -> Poll<bool> {
        let inner = &mut *self.inner;
        loop {
            let waiting = inner.input.waiting();
            let compared = waiting.len().min(expected.len());
            if waiting.get(..compared) != expected.get(..compared) {
                return Poll::Ready(false);
            }
            if compared == expected.len() {
                return Poll::Ready(true);
            }
            match ready!(inner.input.poll_read_ahead(&mut inner.io, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(false),
            }
        }
    }

    /// Ready when an idle connection has waited until `at`. Poll it together with
    /// [`HttpSession::poll_request_begins`].
    pub fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        let inner = &mut *self.inner;
        inner.alarm.poll_reached(cx, at, now)
    }
}
