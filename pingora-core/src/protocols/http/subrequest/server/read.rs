//! Reading: the head, which is already there, and the body, which the caller sends.

use super::{HttpSession, Incoming, Inner, MOST_NESTED};
use crate::protocols::http::HttpTask;
use crate::protocols::http::faults;
use crate::protocols::http::h1::{self, BodyEncoder, BodyLength};
use crate::protocols::http::timed::Timed;
use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Version};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

impl Inner {
    /// Examines the head, which is final from here on.
    fn begin_request(&mut self) -> Result<()> {
        if self.nested > MOST_NESTED {
            let context = format!("sub-requests are nested deeper than {MOST_NESTED}");
            return Err(Error::explain(ErrorType::InternalError, context).into_in());
        }
        let outgoing = h1::outgoing_request(self.request.get())
            .map_err(|fault| faults::bad_head(fault, ErrorSource::Downstream))?;
        self.upgrade = outgoing.upgrade;
        let length = match (self.expects_body, outgoing.body) {
            (Some(false), _) => BodyLength::Empty,
            (Some(true), BodyLength::Empty) => BodyLength::UntilClose,
            // Nothing is framed here: the length is either known or unknown.
            (_, BodyLength::Chunked) => BodyLength::UntilClose,
            (_, declared) => declared,
        };
        self.has_body = !matches!(length, BodyLength::Empty | BodyLength::Exact(0));
        self.incoming = if self.has_body {
            Incoming::Open
        } else {
            Incoming::Done
        };
        let expected = self.request.get().headers.get(EXPECT);
        self.continue_owed = self.has_body
            && self.request.get().line().version != Version::HTTP_10
            && expected.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        self.declared = BodyEncoder::new(length);
        Ok(())
    }

    /// The next piece of the body; `None` at its end. Cancel-safe.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.incoming != Incoming::Open {
            return Poll::Ready(Ok(None));
        }
        if let Some(wants_body) = self.wants_body.take() {
            // A caller that does not listen sends, or not, regardless.
            let _ = wants_body.send(());
        }
        loop {
            let piece = match self.tasks.poll_recv(cx) {
                Poll::Ready(Some(task)) => self.accept(task),
                Poll::Ready(None) => self.accept_close().map(|()| None),
                Poll::Pending => match self.poll_gone(cx) {
                    Poll::Ready(gone) => return Poll::Ready(Err(gone)),
                    // A caller that has sent everything declared owes nothing but the end.
                    Poll::Pending if !self.lacks_nothing() => return Poll::Pending,
                    Poll::Pending => {
                        ready!(self.grace.poll(cx));
                        self.end_body().map(|()| None)
                    }
                },
            };
            match piece {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) if self.incoming == Incoming::Done => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                Err(error) => {
                    self.incoming = Incoming::Done;
                    self.broken = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Processes one piece from the caller; returns the payload in it.
    fn accept(&mut self, task: HttpTask) -> Result<Option<Bytes>> {
        let (data, end) = match task {
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => (data, end),
            // The end of the request, which a caller may send before it knows that there is a tunnel.
            HttpTask::Trailer(_) | HttpTask::Done if self.upgraded => (None, false),
            HttpTask::Trailer(trailers) => {
                self.trailers = trailers;
                (None, true)
            }
            HttpTask::Done => (None, true),
            HttpTask::Failed(error) => return Err(error.into_down()),
            HttpTask::Header(..) => {
                let context = "a sub-request has its head already, and was sent another one";
                return Err(Error::explain(ErrorType::InternalError, context).into_in());
            }
        };
        let data = data.filter(|data| !data.is_empty());
        if let Some(data) = &data {
            // The framing is not needed, only the count.
            self.declared
                .before(data.len(), &mut Vec::new())
                .map_err(faults::bad_outgoing)?;
            self.body_read += data.len();
            self.continue_owed = false;
            self.options.copy(data);
        }
        if end {
            self.end_body()?;
        }
        Ok(data)
    }

    fn end_body(&mut self) -> Result<()> {
        self.declared
            .finish(None, &mut Vec::new())
            .map_err(faults::bad_outgoing)?;
        self.incoming = Incoming::Done;
        Ok(())
    }

    /// Whether a body of declared length has arrived completely.
    fn lacks_nothing(&self) -> bool {
        !self.upgraded && self.declared.is_done()
    }

    /// The caller sends nothing more. This ends the direction of a tunnel, and a body that lacks
    /// nothing but its end; it cuts any other body short.
    fn accept_close(&mut self) -> Result<()> {
        if self.upgraded || self.lacks_nothing() {
            return self.end_body();
        }
        let context = "the caller of a sub-request went away within its body";
        Err(Error::explain(ErrorType::ConnectionClosed, context).into_down())
    }

    /// Ready when the response is no longer read. Cancel-safe.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if !self.options.abort_on_close {
            return Poll::Pending;
        }
        ready!(self.out.poll_closed(cx));
        self.broken = true;
        let context = "the caller of a sub-request has given it up";
        Poll::Ready(Error::explain(ErrorType::ConnectionClosed, context).into_down())
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while ready!(self.poll_body(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }
}

impl HttpSession {
    /// Begins the request. Never waits. Returns a size of 0: the head did not come over a wire.
    ///
    /// # Errors
    /// [`ErrorType::InvalidHTTPHeader`] for a head that can't be forwarded unchanged,
    /// [`ErrorType::InternalError`] for a sub-request that is nested too deeply ([`MOST_NESTED`]),
    /// and for a second call.
    pub async fn read_request(&mut self) -> Result<Option<usize>> {
        if self.inner.request_read {
            return Error::e_explain(ErrorType::InternalError, "a request was read already");
        }
        self.inner.request_read = true;
        self.inner.begin_request().map(|()| Some(0))
    }

    /// Checks the request again after its header was changed by hand: whether its length is still
    /// unambiguous.
    pub fn validate_request(&self) -> Result<()> {
        h1::outgoing_request_length(self.req_header())
            .map(|_| ())
            .map_err(|fault| faults::bad_head(fault, ErrorSource::Downstream))
    }

    /// The next piece of the request's body; `None` at its end. If the head has `Expect:
    /// 100-continue`, the caller first gets the `100 Continue` that its client waits for. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorType::ConnectionClosed`] if the caller is gone, [`ErrorType::ReadTimedout`],
    /// [`ErrorType::InternalError`] for a body that does not have the declared length.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.write_continue_response().await?;
        let limit = self.inner.options.read_timeout;
        match self.inner.within(limit, Inner::poll_body).await {
            Some(result) => result,
            None => {
                self.inner.broken = true;
                let what = "the body of the sub-request took too long";
                let source = ErrorSource::Downstream;
                Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
            }
        }
    }

    /// [`HttpSession::read_body_bytes`] as a poll function for engines, without a time limit.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.inner.poll_body(cx)
    }

    /// Reads the rest of the request's body and drops it. Rarely needed: unread data is dropped
    /// with the session.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.inner.options.total_drain_timeout;
        let drained = self.inner.within(limit, Inner::poll_drain).await;
        drained.unwrap_or_else(|| {
            let what = "while draining the sub-request's body";
            let source = ErrorSource::Downstream;
            Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
        })
    }

    /// Ready when the caller is gone; see [`HttpSession::set_abort_on_close`].
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        self.inner.poll_gone(cx)
    }

    /// The next piece of the body, or, if none is expected, the error that the caller is gone.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            Err(poll_fn(|cx| self.inner.poll_gone(cx)).await)
        } else {
            self.read_body_bytes().await
        }
    }

    /// Whether the request's body was read to its end.
    pub fn is_body_done(&mut self) -> bool {
        match self.inner.incoming {
            Incoming::Undecided => self.is_body_empty(),
            incoming => incoming == Incoming::Done,
        }
    }

    /// Whether the request has no body, according to its header and to the caller. Later changes to
    /// the header by phases have no effect.
    pub fn is_body_empty(&mut self) -> bool {
        let inner = &self.inner;
        if inner.request_read {
            return !inner.has_body;
        }
        match inner.expects_body {
            Some(expected) if !expected => true,
            expected => match h1::outgoing_request_length(inner.request.get()) {
                Ok(BodyLength::Exact(0)) => true,
                Ok(BodyLength::Empty) => expected.is_none(),
                _ => false,
            },
        }
    }

    /// Whether a client waits for a `100 Continue` before it sends the body.
    pub fn is_continue_owed(&self) -> bool {
        self.inner.continue_owed
    }

    /// The fields that followed the body, once it is complete.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.inner.trailers.take()
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
