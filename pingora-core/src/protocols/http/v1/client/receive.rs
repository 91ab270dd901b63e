//! Receiving the response.

use super::{HttpSession, Inner};
use crate::process::memory;
use crate::protocols::http::HttpTask;
use crate::protocols::http::h1::{self, BodyDecoder, BodyEncoder, BodyLength, Fault, Nominated};
use crate::protocols::http::recycled::take_response;
use crate::protocols::http::v1::input::{BodyEvent, HeadEvent};
use crate::protocols::http::v1::timed::Timed;
use crate::protocols::http::v1::{faults, large_head};
use bytes::Bytes;
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result, RetryType};
use pingora_http::ResponseHeader;
use std::task::{Context, Poll, ready};

/// If a server switches protocols before the request's body is complete, it would interpret the
/// rest of the body as its new protocol.
const EARLY_SWITCH: Fault = Fault::new(
    502,
    "a response switches protocols before the request's body is complete",
);
/// Bytes that were read but not handed out yet are counted if there are at least this many.
const NOTABLE_REST: usize = 16 * 1024;

impl Inner {
    /// The next head, informational or final. Cancel-safe.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Box<ResponseHeader>, usize)>> {
        let event = ready!(self.input.poll_head(&mut self.io, cx, &self.limits));
        Poll::Ready(match event {
            Ok(HeadEvent::Head(head)) => self.begin_response(head),
            Ok(HeadEvent::Closed(_)) => Err(self.closed_before_head()),
            Ok(HeadEvent::Fault(fault)) => {
                self.broken = true;
                Err(faults::bad_head(fault, ErrorSource::Upstream))
            }
            Err(error) => {
                self.broken = true;
                let mut failed = faults::read_failed(error, ErrorSource::Upstream);
                if self.is_unanswered() {
                    failed.retry = RetryType::ReusedOnly;
                }
                Err(failed)
            }
        })
    }

    /// The server may have closed an idle connection just when the request was sent; only in that
    /// case may another connection succeed.
    #[cold]
    fn closed_before_head(&mut self) -> BError {
        self.broken = true;
        let context = "the server closed the connection before its response was complete";
        let mut closed = Error::explain(ErrorType::ConnectionClosed, context).into_up();
        if self.is_unanswered() {
            closed.retry = RetryType::ReusedOnly;
        }
        closed
    }

    /// Whether not a single byte of an answer was received, not even of an informational response:
    /// a server that sent anything has seen the request, and may have acted on it.
    fn is_unanswered(&self) -> bool {
        !self.answered && self.input.is_empty()
    }

    fn begin_response(&mut self, head: Bytes) -> Result<(Box<ResponseHeader>, usize)> {
        let length = head.len();
        self.large_head = large_head(length);
        self.count_rest();
        self.answered = true;
        let mut header = take_response();
        let forgive = self.allow_unsound_length;
        let facts = h1::take_response(head, &self.limits, self.context, forgive, &mut header);
        let facts = facts.map_err(|fault| {
            self.broken = true;
            faults::bad_head(fault, ErrorSource::Upstream)
        })?;
        if facts.informational {
            return Ok((header, length));
        }
        self.head_received = true;
        self.keep_alive = facts.keep_alive;
        self.decoder = BodyDecoder::new(facts.body);
        if facts.body == BodyLength::Chunked {
            self.nominated = Nominated::by(|f| header.for_each_control_field(f));
        }
        self.done = self.decoder.is_done();
        if facts.upgraded {
            // RFC 9110 section 7.8: no switch in the middle of a message.
            if !self.encoder.is_done() {
                self.broken = true;
                return Err(faults::bad_head(EARLY_SWITCH, ErrorSource::Upstream));
            }
            self.upgraded = true;
            self.done = false;
            self.decoder = BodyDecoder::new(BodyLength::UntilClose);
            self.encoder = BodyEncoder::new(BodyLength::UntilClose);
        }
        Ok((header, length))
    }

    /// Counts bytes that were read but not handed out yet, if there are many: it may take a while.
    #[inline]
    fn count_rest(&mut self) {
        if self.input.len() >= NOTABLE_REST || self.large_head > 0 || self.held.is_entered() {
            self.count_held(0);
        }
    }

    /// The next piece of the body; `None` at its end. Cancel-safe.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let event = ready!(self.input.poll_body(&mut self.io, &mut self.decoder, cx));
        Poll::Ready(match event {
            Ok(BodyEvent::Data(data)) => {
                self.body_received += data.len();
                self.count_rest();
                Ok(Some(data))
            }
            Ok(BodyEvent::End) => {
                self.done = true;
                Ok(None)
            }
            Ok(BodyEvent::Fault(fault)) => {
                self.broken = true;
                Err(faults::bad_body(fault, ErrorSource::Upstream))
            }
            Err(error) => {
                self.broken = true;
                Err(faults::read_failed(error, ErrorSource::Upstream))
            }
        })
    }

    /// Whether the body ends here, as far as can be determined without reading on.
    fn ends_here(&mut self) -> bool {
        self.done |= self.input.ends_body(&mut self.decoder);
        self.done
    }

    /// Takes out the trailers that are not limited to one hop, once the body is complete.
    fn take_trailers(&mut self) {
        if let Some(trailers) = self.decoder.take_trailers() {
            self.trailers = self.nominated.without(trailers);
        }
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        if self.given_up {
            return Poll::Ready(Err(faults::given_up(ErrorSource::Upstream)));
        }
        if !self.head_received {
            let (header, _) = ready!(self.poll_head(cx))?;
            let mut end = self.head_received && !self.upgraded && self.ends_here();
            if end {
                // A body that consists of trailers only.
                self.take_trailers();
                end = self.trailers.is_none();
            }
            return Poll::Ready(Ok(HttpTask::Header(header, end)));
        }
        if self.done {
            let end = match self.trailers.take() {
                Some(trailers) => HttpTask::Trailer(Some(trailers)),
                None => HttpTask::Done,
            };
            return Poll::Ready(Ok(end));
        }
        let data = ready!(self.poll_body(cx))?;
        if self.upgraded {
            let end = data.is_none();
            return Poll::Ready(Ok(HttpTask::UpgradedBody(data, end)));
        }
        let end = data.is_none() || self.ends_here();
        if end {
            self.take_trailers();
        }
        Poll::Ready(Ok(match data {
            None if self.trailers.is_some() => HttpTask::Trailer(self.trailers.take()),
            // Trailers follow as a separate piece: the last piece of payload must not end the body.
            data => HttpTask::Body(data, end && self.trailers.is_none()),
        }))
    }
}

impl HttpSession {
    /// Limits each read to this many bytes from now on.
    #[inline]
    pub(crate) fn limit_reads(&mut self, bytes: usize) {
        self.inner.input.limit_reads(bytes);
    }

    /// Enters the data that waits on this connection, in both directions, in the process's account.
    pub(crate) fn count_held(&mut self) {
        self.inner.count_held(memory::EXCHANGE);
    }

    /// The next piece of the response: heads (informational ones first), body, trailers, end. For
    /// engines; cancel-safe, no time limit.
    pub fn poll_response_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        self.inner.poll_task(cx)
    }

    /// Whether the next piece is available without reading.
    pub fn has_buffered_input(&self) -> bool {
        let inner = &self.inner;
        let body = || !inner.done && inner.input.has_body_input(&inner.decoder);
        inner.head_received && (inner.trailers.is_some() || body())
    }

    #[cold]
    fn read_timed_out(&mut self) -> BError {
        self.inner.broken = true;
        let what = "the server's response took too long";
        faults::timed_out(ErrorType::ReadTimedout, ErrorSource::Upstream, what)
    }

    /// Reads the next head, which may be an informational one: see [`HttpSession::resp_header`].
    /// Returns its size in bytes. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorType::InvalidHTTPHeader`] for a head that breaks the rules,
    /// [`ErrorType::ConnectionClosed`], [`ErrorType::ReadError`], [`ErrorType::ReadTimedout`].
    pub async fn read_response(&mut self) -> Result<usize> {
        let limit = self.read_timeout;
        let read = self.inner.within(limit, Inner::poll_head).await;
        let (header, length) = read.unwrap_or_else(|| Err(self.read_timed_out()))?;
        self.inner.response = Some(header);
        Ok(length)
    }

    /// Reads the next head and hands it out.
    pub async fn read_resp_header_parts(&mut self) -> Result<Box<ResponseHeader>> {
        self.read_response().await?;
        let header = self.inner.response.clone();
        header.ok_or_else(|| Error::explain(ErrorType::InternalError, "no response header"))
    }

    /// The next piece of the response's body; `None` at its end. Cancel-safe.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let limit = self.read_timeout;
        let read = self.inner.within(limit, Inner::poll_body).await;
        read.unwrap_or_else(|| Err(self.read_timed_out()))
    }

    /// The next piece of the response, within the read timeout.
    pub async fn read_response_task(&mut self) -> Result<HttpTask> {
        let limit = self.read_timeout;
        let read = self.inner.within(limit, Inner::poll_task).await;
        read.unwrap_or_else(|| Err(self.read_timed_out()))
    }

    /// Whether the response's body was read to its end.
    pub fn is_body_done(&mut self) -> bool {
        self.inner.done || self.inner.decoder.is_done()
    }

    /// The fields that followed a chunked body, once it is complete.
    pub fn take_trailers(&mut self) -> Option<Box<http::HeaderMap>> {
        if self.inner.trailers.is_none() {
            self.inner.take_trailers();
        }
        self.inner.trailers.take()
    }
}
