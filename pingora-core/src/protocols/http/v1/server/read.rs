//! Reading: the head, the body, and the client's other actions meanwhile.

use super::super::input::{BodyEvent, HeadEvent};
use super::super::timed::Timed;
use super::super::{faults, large_head};
use super::{Continue, HttpSession, Inner, READ_AHEAD_LIMIT};
use crate::protocols::http::h1::{self, BodyDecoder, BodyLength, Fault, Nominated};
use bytes::Bytes;
use http::{HeaderMap, Version};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

impl Inner {
    fn poll_read_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>>> {
        let event = self.input.poll_head(&mut self.io, cx, &self.rules.limits);
        if event.is_pending() {
            self.count_held();
        }
        Poll::Ready(match ready!(event) {
            Ok(HeadEvent::Head(head)) => self.begin_request(head).map(Some),
            Ok(HeadEvent::Closed(false)) => Ok(None),
            Ok(HeadEvent::Closed(true)) => {
                self.broken = true;
                let context = "the client closed the connection within a request's head";
                Err(Error::explain(ErrorType::ConnectionClosed, context).into_down())
            }
            Ok(HeadEvent::Fault(fault)) => {
                let read = self.input.take();
                Err(self.refuse(fault, read))
            }
            Err(error) => {
                self.broken = true;
                Err(faults::read_failed(error, ErrorSource::Downstream))
            }
        })
    }

    fn begin_request(&mut self, head: Bytes) -> Result<usize> {
        let length = head.len();
        self.large_head = large_head(length);
        if self.large_head > 0 {
            self.count_held();
        }
        self.request_read = true;
        match h1::take_request(head, &self.rules, self.request.get_mut()) {
            Ok(facts) => {
                self.facts = facts;
                self.decoder = BodyDecoder::new(facts.body);
                if facts.expects_continue && facts.body != BodyLength::Empty {
                    self.continue_state = Continue::Owed;
                }
                self.check_declared_size(facts.body)?;
                Ok(length)
            }
            Err((fault, head)) => Err(self.refuse(fault, head)),
        }
    }

    fn check_declared_size(&mut self, body: BodyLength) -> Result<()> {
        match (body, self.http1.max_body) {
            (BodyLength::Exact(n), Some(most)) if n > most => {
                Err(self.refuse(Fault::BODY_TOO_LARGE, Bytes::new()))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn refuse(&mut self, fault: Fault, read: Bytes) -> BError {
        self.broken = true;
        self.request_read = true;
        self.fault = Some(fault);
        self.raw_head = (!read.is_empty()).then(|| Box::new(read));
        faults::bad_head(fault, ErrorSource::Downstream)
    }

    /// The next piece of the body; `None` at its end. Never sends `100 Continue`. Cancel-safe.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let event = ready!(self.input.poll_body(&mut self.io, &mut self.decoder, cx));
        Poll::Ready(match event {
            Ok(BodyEvent::Data(data)) => self.count_body(data).map(Some),
            Ok(BodyEvent::End) => Ok(None),
            Ok(BodyEvent::Fault(fault)) => {
                self.broken = true;
                self.fault = Some(fault);
                Err(faults::bad_body(fault, ErrorSource::Downstream))
            }
            Err(error) => {
                self.broken = true;
                Err(faults::read_failed(error, ErrorSource::Downstream))
            }
        })
    }

    fn count_body(&mut self, data: Bytes) -> Result<Bytes> {
        // Once a body flows, the client no longer waits for a 100 Continue.
        self.continue_state = match self.continue_state {
            Continue::Owed => Continue::NotExpected,
            other => other,
        };
        self.body_read += data.len();
        if let Some(most) = self.http1.max_body
            && self.body_read as u64 > most
            && !self.upgraded
        {
            self.broken = true;
            self.fault = Some(Fault::BODY_TOO_LARGE);
            return Err(faults::bad_body(
                Fault::BODY_TOO_LARGE,
                ErrorSource::Downstream,
            ));
        }
        self.options.copy(&data);
        Ok(data)
    }

    /// Watches a client that has nothing more to send: ready when it is gone. Pipelined data is
    /// kept for later. Cancel-safe.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        while self.input.len() < READ_AHEAD_LIMIT && !self.half_closed {
            match ready!(self.input.poll_read_ahead(&mut self.io, cx)) {
                Ok(0) => self.half_closed = true,
                Ok(_) => {
                    self.count_held();
                    continue;
                }
                Err(error) => {
                    self.broken = true;
                    return Poll::Ready(faults::read_failed(error, ErrorSource::Downstream));
                }
            }
            if self.options.abort_on_close {
                self.broken = true;
                let context = "the client closed the connection before the response was complete";
                let closed = Error::explain(ErrorType::ConnectionClosed, context);
                return Poll::Ready(closed.into_down());
            }
        }
        Poll::Pending
    }
}

impl HttpSession {
    /// Reads and checks a request's head. Returns its size in bytes, or `None` if the client closed
    /// the connection, or stayed silent for the keep-alive time, without sending one.
    ///
    /// Cancel-safe: received data is kept for the next call.
    ///
    /// # Errors
    /// [`ErrorType::InvalidHTTPHeader`] for a head that is refused ([`HttpSession::fault`] returns
    /// the rule and the status code), [`ErrorType::ReadTimedout`] for one that takes too long,
    /// [`ErrorType::ConnectionClosed`] and [`ErrorType::ReadError`].
    pub async fn read_request(&mut self) -> Result<Option<usize>> {
        if self.inner.request_read {
            return Error::e_explain(ErrorType::InternalError, "a request was read already");
        }
        let limit = self.inner.http1.header_timeout;
        match self.inner.within(limit, Inner::poll_read_request).await {
            Some(result) => result,
            None if self.inner.input.is_empty() => Ok(None),
            None => {
                let read = self.inner.input.take();
                let _ = self.inner.refuse(Fault::TIMED_OUT, read);
                let source = ErrorSource::Downstream;
                let what = "the request's head took too long";
                Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
            }
        }
    }

    /// Checks the request again after its header was changed by hand: whether its length is still
    /// unambiguous.
    pub fn validate_request(&self) -> Result<()> {
        h1::outgoing_request_length(self.req_header())
            .map(|_| ())
            .map_err(|fault| faults::bad_head(fault, ErrorSource::Downstream))
    }

    /// The next piece of the request's body; `None` at its end. If the client waits for a `100
    /// Continue`, sends it first. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorType::H1Error`] for a body that breaks the rules, [`ErrorType::ConnectionClosed`] for
    /// one that is cut short, [`ErrorType::ReadTimedout`], [`ErrorType::ReadError`].
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.inner.continue_state {
            Continue::Owed => self.write_continue_response().await?,
            // An earlier call was dropped before the 100 Continue had been sent.
            Continue::Sent if !self.inner.out.is_empty() => self.inner.flush().await?,
            _ => {}
        }
        let limit = self.inner.options.read_timeout;
        match self.inner.within(limit, Inner::poll_body).await {
            Some(result) => result,
            None => {
                self.inner.broken = true;
                self.inner.fault = Some(Fault::TIMED_OUT);
                let source = ErrorSource::Downstream;
                let what = "the request's body took too long";
                Err(faults::timed_out(ErrorType::ReadTimedout, source, what))
            }
        }
    }

    /// [`HttpSession::read_body_bytes`] as a poll function for engines: sends no 100 Continue, has
    /// no time limit.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.inner.poll_body(cx)
    }

    /// Ready when the client is gone; see [`HttpSession::set_abort_on_close`]. Poll it after the
    /// request's body is complete.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        self.inner.poll_gone(cx)
    }

    /// Waits for the client to close the connection, then returns 0. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorType::ReadError`], or [`ErrorType::ConnectionClosed`] for a connection that was reset.
    pub async fn idle(&mut self) -> Result<usize> {
        let gone = poll_fn(|cx| self.inner.poll_gone(cx)).await;
        if self.inner.half_closed {
            Ok(0)
        } else {
            Err(gone)
        }
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
    pub fn is_body_done(&mut self) -> bool {
        self.inner.decoder.is_done()
    }

    /// Whether the request has no body, according to its header.
    pub fn is_body_empty(&mut self) -> bool {
        matches!(
            self.inner.facts.body,
            BodyLength::Empty | BodyLength::Exact(0)
        )
    }

    /// The fields that followed a chunked body, once it is complete.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        let trailers = self.inner.decoder.take_trailers()?;
        let request = self.inner.request.get();
        Nominated::by(|f| request.for_each_control_field(f)).without(trailers)
    }

    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub fn is_continue_owed(&self) -> bool {
        self.inner.continue_state == Continue::Owed
    }

    pub(super) fn is_http10(&self) -> bool {
        self.req_header().line().version == Version::HTTP_10
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
