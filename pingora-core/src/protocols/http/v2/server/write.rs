//! Writing: the response's head, its body, its end.

use super::super::faults::{stream_failed, stream_reset};
use super::super::gather::gather;
use super::super::message::{
    PayloadLength, outgoing_informational, outgoing_response, outgoing_trailers,
};
use super::{End, HttpSession, Inner, LARGE_HEAD};
use crate::protocols::http::date::get_cached_date;
use crate::protocols::http::faults;
use crate::protocols::http::timed::Timed;
use crate::protocols::http::{HttpTask, take_response};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_h2::Failure;
use pingora_http::ResponseHeader;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// This many bytes of a body are counted when they are queued; fewer only if they have to wait.
const COUNTED: usize = 16 * 1024;

impl Inner {
    /// Hands queued data to the connection, as far as the client's windows allow. Cancel-safe.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = self.poll_hand_over(cx);
        if self.out.bytes > 0 || self.counted > 0 {
            self.count_held();
        }
        flushed
    }

    /// Enters the memory that this stream holds in its connection's ledger.
    pub(super) fn count_held(&mut self) {
        let head = self.facts.list_size;
        let head = if head >= LARGE_HEAD { head } else { 0 };
        if let Some(ledger) = &self.ledger {
            ledger.requeue(&mut self.counted, self.out.bytes + head);
        }
    }

    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.send_head()?;
        while self.out.bytes > 0 {
            ready!(self.poll_send_piece(cx))?;
        }
        Poll::Ready(self.send_end())
    }

    /// Hands over the head, with the end of the stream if nothing follows.
    pub(super) fn send_head(&mut self) -> Result<()> {
        let Some(head) = self.out.head.take() else {
            return Ok(());
        };
        let end = self.out.bytes == 0 && matches!(self.out.end, End::Due(None));
        match self.respond.send_head(head, end) {
            Ok(send) => self.send = Some(send),
            Err(error) => return Err(self.unwritable(error)),
        }
        if end {
            self.out.end = End::Sent;
        }
        Ok(())
    }

    fn poll_send_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (Some(send), Some(piece)) = (&mut self.send, self.out.pieces.front_mut()) else {
            self.out.clear();
            return Poll::Ready(Ok(()));
        };
        if let Some(ledger) = &self.ledger {
            let has_room = ledger.poll_room(cx);
            self.out.stalled = has_room.is_pending();
            ready!(has_room);
        }
        let mut room = send.capacity();
        if room == 0 {
            let capacity = send.poll_capacity(cx);
            self.out.stalled = capacity.is_pending();
            room = match ready!(capacity) {
                Some(room) => room,
                None => return Poll::Ready(Err(self.closed(cx))),
            };
        }
        let data = piece.split_to(room.min(piece.len()));
        if piece.is_empty() {
            self.out.pieces.pop_front();
        }
        self.out.bytes -= data.len();
        if let Some(ledger) = &self.ledger {
            ledger.handed_over(data.len());
        }
        let end = self.out.bytes == 0 && matches!(self.out.end, End::Due(None));
        if let Err(error) = send.send_data(data, end) {
            return Poll::Ready(Err(self.unwritable(error)));
        }
        if end {
            self.out.end = End::Sent;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands over the end of the stream if it was not sent with the previous frame.
    fn send_end(&mut self) -> Result<()> {
        let (Some(send), End::Due(trailers)) = (&mut self.send, &mut self.out.end) else {
            return Ok(());
        };
        let sent = match trailers.take() {
            Some(trailers) => send.send_trailers(trailers),
            None => send.send_data(Bytes::new(), true),
        };
        self.out.end = End::Sent;
        sent.map_err(|error| self.unwritable(error))
    }

    #[cold]
    fn unwritable(&mut self, error: Failure) -> BError {
        self.broken = true;
        self.out.clear();
        stream_failed(error, ErrorSource::Downstream)
    }

    /// The stream accepts nothing more, usually because it was reset.
    #[cold]
    fn closed(&mut self, cx: &mut Context<'_>) -> BError {
        self.broken = true;
        self.out.clear();
        match self.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => stream_reset(reason, ErrorSource::Downstream),
            Poll::Ready(Err(error)) => stream_failed(error, ErrorSource::Downstream),
            Poll::Pending => {
                let context = "the stream was closed before the response was complete";
                Error::explain(ErrorType::WriteError, context).into_down()
            }
        }
    }

    /// Sends an informational response, unless this client must not see any. It waits for no
    /// window.
    fn send_informational(&mut self, header: &ResponseHeader) -> Result<()> {
        let continues = header.line().status == StatusCode::CONTINUE;
        if self.options.ignore_info_resp || continues && !self.continue_owed {
            return Ok(());
        }
        let Some(head) = outgoing_informational(header) else {
            return Ok(());
        };
        self.continue_owed &= !continues;
        let sent = self.respond.send_informational(head);
        sent.map_err(|error| self.unwritable(error))
    }

    /// Queues the final response's head. `end`: no body will follow.
    fn queue_response(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        if header.line().status == StatusCode::SWITCHING_PROTOCOLS {
            let context = "a response switches protocols, which HTTP/2 can't do";
            return Error::e_explain(ErrorType::InvalidHTTPHeader, context)
                .map_err(|e: BError| e.into_up());
        }
        let method = &self.request.get().line().method;
        let outgoing =
            outgoing_response(header, method, get_cached_date).map_err(faults::bad_outgoing)?;
        if end && !outgoing.tunnel {
            outgoing.length.end().map_err(faults::bad_outgoing)?;
        }
        self.out.head = Some(outgoing.head);
        self.length = outgoing.length;
        self.tunnel = outgoing.tunnel;
        if self.tunnel {
            self.become_tunnel();
        } else if end || self.length == PayloadLength::Nothing {
            self.out.end = End::Due(None);
        }
        Ok(())
    }

    /// From here on both directions may carry any amount of data.
    fn become_tunnel(&mut self) {
        self.expected = PayloadLength::Any;
        self.continue_owed = false;
    }

    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() || self.response.is_none() {
            return Ok(());
        }
        let wanted = self.length.take(data.len()).map_err(|fault| {
            self.broken = true;
            faults::bad_outgoing(fault)
        })?;
        if wanted && matches!(self.out.end, End::Open) {
            self.body_sent += data.len();
            self.out.bytes += data.len();
            gather(&mut self.out.pieces, data);
            if self.out.bytes >= COUNTED {
                // Before it is known whether it is sent at once: other tasks read meanwhile.
                self.count_held();
            }
        }
        Ok(())
    }

    pub(super) fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        if self.response.is_none() || !matches!(self.out.end, End::Open) {
            return Ok(());
        }
        self.length.end().map_err(|fault| {
            self.broken = true;
            faults::bad_outgoing(fault)
        })?;
        let mut trailers = trailers.filter(|trailers| !trailers.is_empty()).cloned();
        if let Some(trailers) = &mut trailers {
            outgoing_trailers(trailers);
        }
        self.out.end = End::Due(trailers.filter(|trailers| !trailers.is_empty()));
        Ok(())
    }

    /// Hands over queued data, within the write timeout.
    pub(super) async fn flush(&mut self, limit: Option<Duration>) -> Result<()> {
        match self.within(limit, Inner::poll_flush).await {
            Some(result) => result,
            None => {
                self.broken = true;
                self.out.clear();
                let source = ErrorSource::Downstream;
                let what = "the client takes nothing of the response";
                Err(faults::timed_out(ErrorType::WriteTimedout, source, what))
            }
        }
    }
}

impl super::Outbox {
    pub(super) fn clear(&mut self) {
        self.head = None;
        self.pieces.clear();
        self.bytes = 0;
        self.stalled = false;
        self.end = End::Sent;
    }
}

impl HttpSession {
    /// Queues the head of a response: a final one, or any number of informational ones before it,
    /// which are sent at once. For engines: the final one is not written before
    /// [`HttpSession::poll_flush`].
    ///
    /// Connection-specific fields are omitted. `end`: there will be no body.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that can't be sent unchanged.
    pub fn queue_response_header(
        &mut self,
        mut header: Box<ResponseHeader>,
        end: bool,
    ) -> Result<()> {
        if self.inner.response.is_some() {
            log::warn!("a second response header is ignored: {}", header.status);
            return Ok(());
        }
        header.set_version(Version::HTTP_2);
        let status = header.line().status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return self.inner.send_informational(&header);
        }
        self.inner.queue_response(&header, end)?;
        self.inner.response = Some(header);
        Ok(())
    }

    /// Queues a piece of the response's body. For engines.
    pub fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.inner.queue_body(data)
    }

    /// Queues the end of the response. For engines.
    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.inner.queue_end(trailers)
    }

    /// Hands queued data to the connection. For engines; cancel-safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx)
    }

    /// The number of queued bytes.
    pub fn queued(&self) -> usize {
        self.inner.out.bytes
    }

    /// Whether a piece waits for the client to open its window, or to make room for its other streams. A
    /// hundred such streams would otherwise each hold as much as one that makes progress.
    pub(crate) fn is_stalled(&self) -> bool {
        let full = || self.inner.ledger.as_ref().is_some_and(|l| l.is_full());
        self.inner.out.bytes > 0 && (self.inner.out.stalled || full())
    }

    /// The number of bytes that may be read for the client at once: few if its connection holds much.
    pub(crate) fn read_ahead(&self) -> usize {
        let sent = self.inner.body_sent - self.inner.out.bytes;
        let ledger = self.inner.ledger.as_ref();
        ledger.map_or(usize::MAX, |ledger| ledger.read_ahead(sent))
    }

    /// Whether [`HttpSession::poll_flush`] has something to do.
    pub fn wants_flush(&self) -> bool {
        let out = &self.inner.out;
        out.head.is_some() || out.bytes > 0 || matches!(out.end, End::Due(_))
    }

    /// Writes a response's header; `end`: no body follows. Informational responses may precede the
    /// final one. A second final one is ignored, with a warning in the log.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that can't be sent unchanged,
    /// [`ErrorType::H2Error`] for a stream that was reset.
    pub fn write_response_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.queue_response_header(header, end)?;
        self.inner.send_head()
    }

    /// [`HttpSession::write_response_header`] for a header passed by reference.
    pub fn write_response_header_ref(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        let mut copy = take_response();
        copy.assign_from(header);
        self.write_response_header(copy, end)
    }

    /// Sends 100 Continue to a client that waits for it. Does nothing for others.
    pub fn write_continue_response(&mut self) -> Result<()> {
        if !self.inner.continue_owed || self.inner.response.is_some() {
            return Ok(());
        }
        self.inner.continue_owed = false;
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        let sent = self.inner.respond.send_informational(head);
        sent.map_err(|error| self.inner.unwritable(error))
    }

    /// Writes a piece of the response's body, and returns when it was handed to the connection;
    /// `end`: it is the last. The piece is dropped if the response has no body, because of its status
    /// or the request's method.
    ///
    /// # Errors
    /// [`ErrorType::H2Error`] for a stream that was reset, [`ErrorType::WriteTimedout`],
    /// [`ErrorType::InternalError`] if the header promised another length.
    pub async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.queue_body(data)?;
        if end {
            self.inner.queue_end(None)?;
        }
        self.flush().await
    }

    /// Writes trailers, which end the response. Data queued before them still has to be sent: see
    /// [`HttpSession::finish_response`].
    pub fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.queue_end(Some(&trailers))?;
        match self.inner.out.bytes {
            0 => self.inner.send_head().and_then(|()| self.inner.send_end()),
            _ => Ok(()),
        }
    }

    /// Ends the response. Data queued before the end still has to be sent: see
    /// [`HttpSession::finish_response`].
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised more than was written; the stream is
    /// reset when the session is dropped, so that the client can tell.
    pub fn finish(&mut self) -> Result<()> {
        self.inner.queue_end(None)?;
        match self.inner.out.bytes {
            0 => self.inner.send_head().and_then(|()| self.inner.send_end()),
            _ => Ok(()),
        }
    }

    /// Queues one piece of a response, of any kind. For engines.
    pub fn queue_task(&mut self, task: HttpTask) -> Result<()> {
        match task {
            HttpTask::Header(header, end) => self.queue_response_header(header, end),
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                if let Some(data) = data {
                    self.inner.queue_body(data)?;
                }
                if end {
                    self.inner.queue_end(None)
                } else {
                    Ok(())
                }
            }
            HttpTask::Trailer(trailers) => self.inner.queue_end(trailers.as_deref()),
            HttpTask::Done => self.inner.queue_end(None),
            HttpTask::Failed(error) => {
                self.inner.broken = true;
                Err(error)
            }
        }
    }

    /// Writes pieces of a response and returns when they were handed to the connection; `true` if
    /// they complete the response.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            self.queue_task(task)?;
        }
        self.flush().await?;
        Ok(end)
    }

    /// Hands over queued data, within the write timeout.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let limit = self.get_write_timeout();
        self.inner.flush(limit).await
    }

    /// Whether tasks may be queued with [`HttpSession::send_proxy_task`]. On by default.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.inner.options.proxy_tasks
    }

    /// See [`HttpSession::proxy_tasks_enabled`].
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.inner.options.proxy_tasks = enabled;
    }

    /// Queues a piece of the response. A piece that can't be queued breaks the stream.
    pub fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(error) = self.queue_task(task) {
            log::warn!("a piece of the response is dropped: {error}");
            self.inner.broken = true;
        }
    }

    /// Whether queued pieces are still waiting to be written.
    pub fn has_pending_proxy_tasks(&self) -> bool {
        self.wants_flush()
    }

    /// Writes the queued pieces; `true` if they complete the response.
    pub async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.flush().await?;
        Ok(self.is_response_complete())
    }
}
