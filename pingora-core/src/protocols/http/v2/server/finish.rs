//! The end of a stream: complete, abandoned, or dropped.

use super::{End, HttpSession, Inner, PayloadLength};
use crate::protocols::http::grace::GRACE;
use crate::protocols::http::linger::{Dropped, LingerPermit, Patience, linger};
use crate::protocols::http::timed::Timed;
use crate::protocols::http::{faults, give_response};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_h2::Reason;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The maximum size of a request's body that is drained while too many other connections are
/// draining, in bytes.
const DRAIN_LIMIT: usize = 64 * 1024;

impl Inner {
    fn poll_drain(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> Poll<Result<()>> {
        loop {
            let Some(data) = ready!(self.poll_body(cx))? else {
                return Poll::Ready(Ok(()));
            };
            let Some(left) = budget.checked_sub(data.len()) else {
                let context = "the rest of the request's body is too long to be drained";
                return Poll::Ready(Error::e_explain(ErrorType::H2Error, context));
            };
            *budget = left;
        }
    }

    /// Drops everything that has arrived of the request, and lets the client send as much again.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.release();
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                self.unreleased = data.len();
                self.release();
                Poll::Ready(Dropped::Bytes(data.len()))
            }
            Some(Err(_)) | None => Poll::Ready(Dropped::All),
        }
    }

    /// Whether the whole response was handed over, or is queued.
    fn response_complete(&self) -> bool {
        self.response.is_some() && !self.broken && !matches!(self.out.end, End::Open)
    }

    fn reset(&mut self, reason: Reason) {
        self.broken = true;
        self.out.clear();
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let sent = matches!(self.out.end, End::Sent) && !self.broken;
        // After the end, the framing itself refuses the rest of the request.
        if !sent {
            self.reset(Reason::INTERNAL_ERROR);
        }
        if let Some(ledger) = &self.ledger {
            ledger.requeue(&mut self.counted, 0);
            ledger.note_upload(&mut self.upload_counted, 0);
        }
        if let Some(response) = self.response.take() {
            give_response(response);
        }
    }
}

/// Waits until the client gives up a stream; see [`HttpSession::idle`].
#[derive(Debug)]
pub struct Idle<'a>(&'a mut HttpSession);

impl Future for Idle<'_> {
    type Output = Result<Reason>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reason>> {
        let gone = ready!(self.0.inner.poll_reset(cx));
        Poll::Ready(
            gone.map_err(|error| {
                super::super::faults::stream_failed(error, ErrorSource::Downstream)
            }),
        )
    }
}

impl HttpSession {
    /// Reads the rest of the request's body and drops it.
    ///
    /// # Errors
    /// If the rest takes longer than [`HttpSession::set_total_drain_timeout`], or breaks a rule. Also
    /// if it is longer than 64 KiB while more than a thousand other exchanges of this process are being
    /// drained. The stream remains usable.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        let inner = &mut *self.inner;
        // A client still waiting for `100 Continue` sends no body, so there is nothing to drain.
        if inner.body_done || inner.continue_owed {
            return Ok(());
        }
        // Time bounds the draining, unless too many exchanges are draining or lingering already.
        let place = LingerPermit::take();
        let mut budget = if place.is_some() {
            usize::MAX
        } else {
            DRAIN_LIMIT
        };
        let limit = inner.options.total_drain_timeout;
        let drained = inner
            .within(limit, |inner, cx| inner.poll_drain(cx, &mut budget))
            .await;
        drained.unwrap_or_else(|| {
            let what = "while draining the request's body";
            let source = ErrorSource::Downstream;
            Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
        })
    }

    /// Waits until the client resets the stream; returns its reason. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn idle(&mut self) -> Idle<'_> {
        Idle(self)
    }

    /// Ends the exchange: writes queued data, and the end of a response that was begun and is
    /// complete.
    ///
    /// # Errors
    /// The same as for [`HttpSession::write_body`]. The stream was reset in that case.
    pub async fn finish_response(&mut self) -> Result<()> {
        self.inner.queue_end(None)?;
        self.flush().await
    }

    /// Reads and drops data that a client is still sending although its response is complete, until it
    /// is done: for at most 30 s, or 5 s after it fell silent. A client that is busy sending may not
    /// look at a response that a reset follows. The rest is refused when the session is dropped.
    ///
    /// If the body lacks only its end, waits for that at most a second.
    pub(crate) async fn linger(&mut self) {
        let inner = &mut *self.inner;
        inner.options.drop_copy();
        let mut patience = Patience::default();
        if inner.expected == PayloadLength::Exact(0) {
            patience.silence = GRACE;
        }
        linger(inner, patience, Inner::poll_discard).await;
    }

    /// Whether the client is still sending although its response is complete.
    pub(crate) fn lingers(&self) -> bool {
        let inner = &*self.inner;
        let complete = matches!(inner.out.end, End::Sent) && !inner.broken;
        complete && !inner.body_done && !inner.continue_owed
    }

    /// Whether the client got, or will get once the queue is written, a whole response.
    pub fn is_response_complete(&self) -> bool {
        self.inner.response_complete()
    }

    /// Leaves a response that was begun incomplete: the stream is reset, so that the client can
    /// tell.
    pub(crate) fn abandon_response(&mut self) {
        self.inner.broken |= !self.inner.response_complete();
    }

    /// Drops the queue, because the client accepts nothing more.
    pub fn discard_queued(&mut self) {
        self.inner.broken = true;
        self.inner.out.clear();
    }

    /// Abandons the exchange: resets the stream, with `INTERNAL_ERROR` if the response is
    /// incomplete, and with `NO_ERROR` if only the request is (RFC 9113 section 8.1).
    pub fn shutdown(&mut self) {
        let complete = matches!(self.inner.out.end, End::Sent) && !self.inner.broken;
        // The rest of the request is refused when the session is dropped: refusing it here would
        // lose bytes that were handed over and are not written yet.
        if !complete {
            self.inner.reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Resets the stream with this reason. Data that was not written yet is lost.
    pub fn shutdown_with_reason(&mut self, reason: Reason) {
        self.inner.reset(reason);
    }
}
