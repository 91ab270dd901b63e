//! Sending the request.

use super::faults::{self, ExchangeStage};
use super::{ConnectionRef, Http2Session, Inner};
use crate::process::memory::{self, Held};
use crate::protocols::http::v2::gather::{SHORT, gather};
use crate::protocols::http::v2::message::{
    OutgoingRequest, PayloadLength, outgoing_request, outgoing_trailers,
};
use bytes::Bytes;
use http::{HeaderMap, Method};
use pingora_error::{BError, ErrorSource, ErrorType, Result};
use pingora_h2::{Pieces, Reason};
use pingora_http::RequestHeader;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

/// The progress of the request.
///
/// ```text
///   Nothing ──queue_request_header──▶ Head ──the first of body, end, flush──▶ Body ──end──▶ Ended
///                                                                              └─refused─▶ Closed
/// ```
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Nothing,
    /// The head is held back until the next part, so that a request without a body ends its stream
    /// with the head.
    Head(OutgoingRequest),
    /// The head was sent.
    Body,
    /// The end was sent.
    Ended,
    /// The server accepts no more of the request, or the stream is gone.
    Closed,
}

/// The end of the request, once it was requested.
#[derive(Debug, Default)]
enum Ending {
    #[default]
    Open,
    /// To be sent after the queued data.
    Queued(Option<HeaderMap>),
}

/// The sending half of the exchange.
#[derive(Debug, Default)]
pub(super) struct Sending {
    stage: Stage,
    queue: Pieces,
    /// Bytes in the queue.
    queued: usize,
    /// Something was queued since the last flush.
    fresh: bool,
    ending: Ending,
    /// The declared bytes of the body that are still to come.
    length: PayloadLength,
    pub(super) head_request: bool,
    pub(super) connect_request: bool,
    /// The answer to a CONNECT is still to come: until then the end of the request does not end the
    /// stream, because it may become a tunnel.
    holds_end: bool,
    held: Held,
}

impl Sending {
    /// Sends nothing more.
    pub(super) fn close(&mut self) {
        if !matches!(self.stage, Stage::Ended) {
            self.stage = Stage::Closed;
        }
        self.queue.clear();
        self.queued = 0;
        self.ending = Ending::Open;
    }

    /// Whether the request was sent completely.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether the head is waiting to be sent.
    pub(super) fn holds_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Whether an end was requested, may be sent, and no body is queued before it.
    fn ends_now(&self) -> bool {
        self.queue.is_empty() && !self.holds_end && matches!(self.ending, Ending::Queued(None))
    }

    /// The answer to a CONNECT determines whether the stream is a tunnel from now on.
    pub(super) fn answered(&mut self, tunnel: bool) {
        if !self.holds_end {
            return;
        }
        self.holds_end = false;
        if tunnel {
            // The request has ended; the bytes of the tunnel begin now.
            self.ending = Ending::Open;
        }
    }

    /// Whether little is queued, and more may be queued soon: pieces that arrived together are sent in
    /// one frame. Never twice for the same piece.
    fn waits_for_more(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        fresh && self.queued < SHORT && matches!(self.ending, Ending::Open)
    }

    fn wants_flush(&self) -> bool {
        match self.stage {
            Stage::Nothing | Stage::Ended | Stage::Closed => false,
            Stage::Head(_) => true,
            Stage::Body => {
                !self.queue.is_empty()
                    || !self.holds_end && matches!(self.ending, Ending::Queued(_))
            }
        }
    }
}

impl Inner {
    fn queue_request(&mut self, request: &RequestHeader, conn: &ConnectionRef) -> Result<()> {
        if !matches!(self.sending.stage, Stage::Nothing) {
            return Err(faults::unsendable("a request is under way on this stream"));
        }
        let encrypted = conn.digest().ssl_digest.is_some();
        let outgoing = outgoing_request(request, encrypted).map_err(faults::unsendable)?;
        let method = &outgoing.head.pseudo.method;
        self.sending.head_request = *method == Some(Method::HEAD);
        self.sending.connect_request = *method == Some(Method::CONNECT);
        self.sending.holds_end = self.sending.connect_request;
        let length = outgoing.length.filter(|_| !self.sending.connect_request);
        self.sending.length = PayloadLength::declared(length);
        self.sending.stage = Stage::Head(outgoing);
        Ok(())
    }

    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        let sending = &mut self.sending;
        if data.is_empty() || matches!(sending.stage, Stage::Closed | Stage::Ended) {
            return Ok(());
        }
        if let Err(fault) = sending.length.take(data.len()) {
            self.reset(Reason::CANCEL);
            return Err(faults::unsendable(fault.reason()));
        }
        sending.queued += data.len();
        sending.fresh = true;
        gather(&mut sending.queue, data);
        Ok(())
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        let sending = &mut self.sending;
        if matches!(sending.stage, Stage::Closed | Stage::Ended) {
            return Ok(());
        }
        if let Err(fault) = sending.length.end() {
            self.reset(Reason::CANCEL);
            return Err(faults::unsendable(fault.reason()));
        }
        let trailers = trailers.cloned().map(|mut trailers| {
            outgoing_trailers(&mut trailers);
            trailers
        });
        sending.ending = Ending::Queued(trailers.filter(|trailers| !trailers.is_empty()));
        Ok(())
    }

    /// Sends the head, if that has not been done, together with the end of the stream if nothing
    /// else follows. If the head can't be sent, reading the response returns the error.
    fn poll_head(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<()> {
        let Stage::Head(outgoing) = &self.sending.stage else {
            return Poll::Ready(());
        };
        if outgoing.head.pseudo.protocol.is_some() {
            ready!(self.poll_extended_connect(cx, conn));
        }
        let Stage::Head(outgoing) = std::mem::take(&mut self.sending.stage) else {
            return Poll::Ready(());
        };
        let end = self.sending.ends_now();
        match self.send_request.send_head(outgoing.head, end) {
            Ok((response, stream)) => {
                self.stream = Some(stream);
                self.receiving.begin(response);
                self.sending.stage = if end { Stage::Ended } else { Stage::Body };
            }
            // The server has not seen this request.
            Err(error) => self.unsent(faults::stream_failed(
                error,
                conn.ping_timedout(),
                ExchangeStage::Unsent,
            )),
        }
        Poll::Ready(())
    }

    #[cold]
    fn unsent(&mut self, error: BError) {
        self.sending.close();
        self.receiving.fail(error);
    }

    /// Waits until it is known whether the server supports extended CONNECT (RFC 8441 section 3).
    fn poll_extended_connect(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<()> {
        let settled = conn.activity().poll_settled(cx);
        if !self.send_request.is_extended_connect_protocol_enabled() {
            ready!(settled);
            self.unsent(faults::no_extended_connect());
        }
        Poll::Ready(())
    }

    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        conn: &ConnectionRef,
    ) -> Poll<Result<()>> {
        let flushed = self.poll_hand_over(cx, conn);
        self.sending.held.set(self.sending.queued);
        if flushed.is_pending() && self.sending.held.poll_given_up(cx) {
            return Poll::Ready(Err(self.give_up()));
        }
        flushed
    }

    /// It holds most of the memory while memory is scarce.
    #[cold]
    fn give_up(&mut self) -> BError {
        self.reset(Reason::CANCEL);
        self.sending.held.forget();
        crate::protocols::http::faults::given_up(ErrorSource::Upstream)
    }

    /// Enters the waiting data in the process's account: queued data, and data that the server may
    /// have sent while it is not read.
    pub(super) fn count_held(&mut self) {
        let received = self.receiving.held_by_framing();
        let held = memory::EXCHANGE + self.sending.queued + received;
        self.sending.held.set(held);
    }

    fn poll_hand_over(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<Result<()>> {
        ready!(self.poll_head(cx, conn));
        if self.sending.waits_for_more() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while !self.sending.queue.is_empty() {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(()));
            };
            let room = match ready!(stream.poll_capacity(cx)) {
                Some(room) => room,
                None => return self.poll_refused(cx, conn),
            };
            let Some(first) = self.sending.queue.front_mut() else {
                break;
            };
            let piece = if first.len() <= room {
                std::mem::take(first)
            } else {
                first.split_to(room)
            };
            if first.is_empty() {
                self.sending.queue.pop_front();
            }
            self.sending.queued -= piece.len();
            self.body_sent += piece.len();
            let end = self.sending.ends_now();
            if stream.send_data(piece, end).is_err() {
                return self.poll_refused(cx, conn);
            }
            if end {
                self.sending.stage = Stage::Ended;
            }
        }
        self.poll_end(cx, conn)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<Result<()>> {
        let sending = &mut self.sending;
        if !matches!(sending.stage, Stage::Body) || sending.holds_end {
            return Poll::Ready(Ok(()));
        }
        let (Ending::Queued(trailers), Some(stream)) = (&mut sending.ending, &mut self.stream)
        else {
            return Poll::Ready(Ok(()));
        };
        let sent = match trailers.take() {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        match sent {
            Ok(()) => {
                sending.stage = Stage::Ended;
                Poll::Ready(Ok(()))
            }
            Err(_) => self.poll_refused(cx, conn),
        }
    }

    /// The server accepts no more of the request: determines the reason.
    #[cold]
    fn poll_refused(&mut self, cx: &mut Context<'_>, conn: &ConnectionRef) -> Poll<Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        let reason = stream.poll_reset(cx);
        self.sending.close();
        let progress = self.progress();
        Poll::Ready(match reason {
            // RFC 9113 section 8.1: the response is complete, and the rest of the request is not
            // needed. If it is not complete, reading it fails.
            Poll::Ready(Ok(Reason::NO_ERROR)) => Ok(()),
            Poll::Ready(Ok(reason)) => Err(faults::upload_refused(reason, progress)),
            Poll::Ready(Err(error)) => {
                Err(faults::stream_failed(error, conn.ping_timedout(), progress))
            }
            Poll::Pending => Err(faults::broken("the stream takes nothing more")),
        })
    }
}

impl Http2Session {
    /// Enters the data that waits on this stream, in both directions, in the process's account.
    pub(crate) fn count_held(&mut self) {
        self.inner.count_held();
    }

    /// Queues a request's head. For engines: it is sent together with the first part that follows,
    /// so that a request without a body ends its stream at once.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that can't be sent over HTTP/2.
    pub fn queue_request_header(&mut self, request: &RequestHeader) -> Result<()> {
        self.inner.queue_request(request, &self.conn)
    }

    /// Queues a piece of the request's body. For engines.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised less. The stream is reset in that case.
    pub fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.inner.queue_body(data)
    }

    /// Queues the end of the request. For engines. In a tunnel: ends our direction once all queued
    /// data has been sent.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised more. The stream is reset in that case.
    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.inner.queue_end(trailers)
    }

    /// Sends queued data, as far as the server accepts it. For engines; cancel-safe. After an error
    /// nothing more is sent, but a response may still be read.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx, &self.conn)
    }

    /// The number of bytes queued here. The connection's own buffers have separate bounds.
    pub fn queued(&self) -> usize {
        self.inner.sending.queued
    }

    /// Whether [`Http2Session::poll_flush`] has something to do.
    pub fn wants_flush(&self) -> bool {
        self.inner.sending.wants_flush()
    }

    /// Sends the request's head; `end`: nothing follows.
    ///
    /// If it is not known yet whether the server supports extended CONNECT, the head of such a
    /// request is sent by the next call that waits.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that can't be sent over HTTP/2;
    /// [`ErrorType::H2Error`] or [`ErrorType::ConnectionClosed`], to be retried, if the connection
    /// accepts no new streams any more.
    pub fn write_request_header(&mut self, req: Box<RequestHeader>, end: bool) -> Result<()> {
        self.inner.queue_request(&req, &self.conn)?;
        self.inner.request_header = Some(req);
        if end {
            self.inner.queue_end(None)?;
        }
        self.flush_now()?;
        match self.inner.receiving.take_failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends a piece of the request's body and returns when it was handed to the connection; `end`:
    /// it is the last.
    ///
    /// # Errors
    /// [`ErrorType::H2Error`] if the server has reset the stream, [`ErrorType::ConnectionClosed`],
    /// [`ErrorType::WriteTimedout`], [`ErrorType::InternalError`] if the header promised another
    /// length.
    pub async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.queue_body(data)?;
        if end {
            self.inner.queue_end(None)?;
        }
        let flushed = poll_fn(|cx| self.inner.poll_flush(cx, &self.conn));
        match self.write_timeout {
            None => flushed.await,
            Some(limit) => match tokio::time::timeout(limit, flushed).await {
                Ok(result) => result,
                Err(_) => Err(self.write_timed_out()),
            },
        }
    }

    #[cold]
    fn write_timed_out(&mut self) -> BError {
        self.inner.reset(Reason::CANCEL);
        let what = "the server takes nothing of the request";
        faults::timed_out(ErrorType::WriteTimedout, what)
    }

    /// Ends the request.
    ///
    /// # Errors
    /// The same as for [`write_request_body`](Self::write_request_body).
    pub fn finish_request_body(&mut self) -> Result<()> {
        self.inner.queue_end(None)?;
        self.flush_now()
    }

    /// Sends the data that can be sent without waiting. The next call that waits sends the rest.
    fn flush_now(&mut self) -> Result<()> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.inner.poll_flush(&mut cx, &self.conn) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}
