//! Reading: the request's body, and whether the client is still there.

use super::super::faults::{bad_body, stream_failed, stream_reset};
use super::super::message::{check_trailers, incoming_trailers};
use super::{HttpSession, Inner, PayloadLength};
use crate::protocols::http::faults;
use crate::protocols::http::h1::Fault;
use crate::protocols::http::timed::Timed;
use bytes::Bytes;
use http::{HeaderMap, Method};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_h2::{Failure, Reason};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

impl Inner {
    /// The next piece of the body; `None` at its end. Cancel-safe.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.upload_counted > 0 {
            self.count_upload(0);
        }
        self.release();
        while !self.body_done {
            let Poll::Ready(received) = self.body.poll_data(cx) else {
                return self.poll_late_end(cx);
            };
            match received {
                Some(Ok(data)) => {
                    self.unreleased = data.len();
                    let data = self.count_body(data)?;
                    if self.body.is_end_stream() {
                        self.end_body()?;
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(self.unreadable(error))),
                None => {
                    let trailers = ready!(self.body.poll_trailers(cx));
                    match trailers {
                        Ok(trailers) => self.keep_trailers(trailers)?,
                        Err(error) => return Poll::Ready(Err(self.unreadable(error))),
                    }
                    self.end_body()?;
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Nothing has arrived. If the body is otherwise complete, it ends after a moment without an
    /// explicit end, because the server behind us may be waiting for that. Trailers that come later are
    /// lost.
    fn poll_late_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.expected != PayloadLength::Exact(0) {
            return Poll::Pending;
        }
        ready!(self.grace.poll(cx));
        Poll::Ready(self.end_body().map(|()| None))
    }

    /// Lets the client send as much as was consumed: a caller that asks for more has room for it.
    pub(super) fn release(&mut self) {
        let taken = std::mem::take(&mut self.unreleased);
        if taken > 0 {
            self.body.release(taken);
        }
    }

    /// Enters the bytes of the request that the framing may hold in the connection's ledger.
    pub(super) fn count_upload(&mut self, bytes: usize) {
        if let Some(ledger) = &self.ledger {
            ledger.note_upload(&mut self.upload_counted, bytes);
        }
    }

    fn end_body(&mut self) -> Result<()> {
        self.body_done = true;
        self.release();
        self.expected.end().map_err(|fault| self.refuse_body(fault))
    }

    fn keep_trailers(&mut self, trailers: Option<HeaderMap>) -> Result<()> {
        let Some(mut trailers) = trailers else {
            return Ok(());
        };
        check_trailers(&trailers).map_err(|fault| self.refuse_body(fault))?;
        if let Err(fault) = incoming_trailers(&mut trailers) {
            return Err(self.refuse_body(fault));
        }
        if !trailers.is_empty() {
            self.trailers = Some(Box::new(trailers));
        }
        Ok(())
    }

    fn count_body(&mut self, data: Bytes) -> Result<Bytes> {
        // Once a body flows, the client no longer waits for a 100 Continue.
        self.continue_owed = false;
        self.body_read += data.len();
        if let Err(fault) = self.expected.take(data.len()) {
            return Err(self.refuse_body(fault));
        }
        let most = self.max_body.filter(|_| !self.tunnel);
        if most.is_some_and(|most| self.body_read as u64 > most) {
            return Err(self.refuse_body(Fault::BODY_TOO_LARGE));
        }
        self.options.copy(&data);
        Ok(data)
    }

    #[cold]
    fn refuse_body(&mut self, fault: Fault) -> BError {
        self.fault = Some(fault);
        bad_body(fault, ErrorSource::Downstream)
    }

    #[cold]
    fn unreadable(&mut self, error: Failure) -> BError {
        self.broken = true;
        stream_failed(error, ErrorSource::Downstream)
    }

    /// Ready when the client, or its connection, has given up the stream.
    pub(super) fn poll_reset(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<Reason, Failure>> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        }
    }

    /// Watches a client that has nothing more to send: ready when it is gone. Cancel-safe.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if !self.options.abort_on_close {
            return Poll::Pending;
        }
        let gone = ready!(self.poll_reset(cx));
        self.broken = true;
        Poll::Ready(match gone {
            Ok(reason) => stream_reset(reason, ErrorSource::Downstream),
            Err(error) => stream_failed(error, ErrorSource::Downstream),
        })
    }
}

impl HttpSession {
    /// Checks whether the request is valid. Never waits: a stream begins with a whole head.
    ///
    /// # Errors
    /// [`ErrorType::InvalidHTTPHeader`] for a head that is refused; [`HttpSession::fault`] returns
    /// the rule and the status code. A request that breaks the rules of the framing never gets here:
    /// its stream was reset with `PROTOCOL_ERROR` (RFC 9113 section 8.1.1).
    pub fn read_request(&mut self) -> Result<()> {
        let inner = &mut *self.inner;
        if inner.request_read {
            return Error::e_explain(ErrorType::InternalError, "a request was read already");
        }
        inner.request_read = true;
        if inner.fault.is_none()
            && let (Some(length), Some(most)) = (inner.facts.length, inner.max_body)
            && length > most
        {
            inner.fault = Some(Fault::BODY_TOO_LARGE);
        }
        match inner.fault {
            Some(fault) => Err(faults::bad_head(fault, ErrorSource::Downstream)),
            None => Ok(()),
        }
    }

    /// The next piece of the request's body; `None` at its end. If the client waits for a `100
    /// Continue`, sends it first. Cancel-safe.
    ///
    /// A piece that was handed out counts against the client's window until the next one is requested.
    ///
    /// # Errors
    /// [`ErrorType::H2Error`] for a stream that was reset, [`ErrorType::ConnectionClosed`] for a
    /// connection that is gone, [`ErrorType::ReadTimedout`].
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.inner.continue_owed {
            self.write_continue_response()?;
        }
        let limit = self.inner.options.read_timeout;
        match self.inner.within(limit, Inner::poll_body).await {
            Some(result) => result,
            None => {
                self.inner.fault = Some(Fault::TIMED_OUT);
                let what = "the request's body took too long";
                let source = ErrorSource::Downstream;
                Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
            }
        }
    }

    /// [`HttpSession::read_body_bytes`] as a poll function for engines: sends no 100 Continue, has
    /// no time limit.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.inner.poll_body(cx)
    }

    /// Called while the upstream accepts nothing of the body: enters the bytes that the client has sent,
    /// or may still send within its window, in the connection's ledger. No task is notified when they
    /// arrive.
    pub(crate) fn count_upload(&mut self) {
        let inner = &mut *self.inner;
        if inner.body_done {
            return;
        }
        let (arrived, may_come) = inner.body.arriving();
        let bytes = arrived.saturating_add(may_come);
        inner.count_upload(bytes);
    }

    /// Ready when the client has reset the stream, or its connection is gone; see
    /// [`HttpSession::set_abort_on_close`].
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        self.inner.poll_gone(cx)
    }

    /// The next piece of the body, or, if none is expected, the error that the client is gone.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            Err(poll_fn(|cx| self.inner.poll_gone(cx)).await)
        } else {
            self.read_body_bytes().await
        }
    }

    /// Whether the request's body was read to its end.
    pub fn is_body_done(&self) -> bool {
        self.inner.body_done
    }

    /// Whether the request has no body, according to its head.
    pub fn is_body_empty(&self) -> bool {
        let inner = &*self.inner;
        // The bytes after a CONNECT belong to the tunnel (RFC 9110 section 9.3.6).
        inner.request.get().line().method == Method::CONNECT
            || inner.body_read == 0 && (inner.body_done || inner.expected.is_empty())
    }

    /// The fields that followed the body, once it is complete.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.inner.trailers.take()
    }

    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub fn is_continue_owed(&self) -> bool {
        self.inner.continue_owed
    }

    /// Keeps a copy of the body while it is read, up to 64 KiB, for retries.
    pub fn enable_retry_buffering(&mut self) {
        self.inner.options.keep_copy();
    }

    /// Whether the body was longer than the copy may be; it can't be resent in that case.
    pub fn retry_buffer_truncated(&self) -> bool {
        self.inner.options.copy_is_truncated()
    }

    /// The copy of the body so far; `None` if there is none or it is incomplete.
    pub fn get_retry_buffer(&self) -> Option<Bytes> {
        self.inner.options.copied()
    }
}
