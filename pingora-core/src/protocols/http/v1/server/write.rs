//! Writing: the response's head, its body, and the announcement of what happens to the connection.

use super::super::faults;
use super::super::timed::Timed;
use super::{Continue, HttpSession, Inner};
use crate::process::is_shutting_down;
use crate::protocols::http::HttpTask;
use crate::protocols::http::date;
use crate::protocols::http::h1::{
    self, BodyDecoder, BodyEncoder, BodyLength, Fault, OutgoingResponse,
};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Added after the fields of a response, replacing the blank line.
const CLOSE: &[u8] = b"Connection: close\r\n\r\n";
const KEEP_ALIVE: &[u8] = b"Connection: keep-alive\r\n\r\n";
const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";
const EMPTY: &[u8] = b"Content-Length: 0\r\n";

/// This many bytes of a body are counted when they are queued; fewer only if they have to wait.
const COUNTED: usize = 16 * 1024;

impl Inner {
    /// Writes the queue. Cancel-safe.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Poll::Ready(mut flushed) = self.out.poll_flush(&mut self.io, cx) else {
            return self.poll_blocked(cx);
        };
        self.held.set(self.large_head as usize);
        if self.resets && flushed.is_ok() && self.encoder.is_done() {
            self.guard_end(false);
        }
        if flushed.is_ok() && self.close_after_flush {
            flushed = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.close_after_flush = false;
        }
        Poll::Ready(flushed.map_err(|error| {
            self.broken = true;
            self.out.clear();
            faults::write_failed(error, ErrorSource::Downstream)
        }))
    }

    /// The client does not accept the queued data.
    pub(super) fn poll_blocked(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.count_held();
        if self.held.poll_given_up(cx) {
            self.broken = true;
            self.out.clear();
            self.held.forget();
            Poll::Ready(Err(faults::given_up(ErrorSource::Downstream)))
        } else {
            Poll::Pending
        }
    }

    /// Enters the data that waits on this connection in the process's account.
    pub(super) fn count_held(&mut self) {
        let head = self.large_head as usize;
        self.held.set(head + self.out.held() + self.input.len());
    }

    /// If the end of the connection delimits a body, a premature end, for whatever reason, must be
    /// distinguishable from it: the end is a reset until the last byte has been sent.
    fn guard_end(&mut self, resets: bool) {
        self.resets = resets;
        if let Some(socket) = self.io.get_socket_digest() {
            socket.set_reset_on_close(resets);
        }
    }

    fn is_informational(status: StatusCode) -> bool {
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Queues an informational response, unless this client must not see any.
    fn queue_informational(&mut self, header: &ResponseHeader) {
        if self.request.get().line().version == Version::HTTP_10 || self.options.ignore_info_resp {
            return;
        }
        if header.line().status == StatusCode::CONTINUE {
            if self.continue_state != Continue::Owed {
                return;
            }
            self.continue_state = Continue::Sent;
        }
        self.out.fill(|out| h1::encode_response(header, out));
    }

    /// Turns the connection into a tunnel: from here on bytes are not framed.
    fn become_tunnel(&mut self) {
        self.upgraded = true;
        self.decoder = BodyDecoder::new(BodyLength::UntilClose);
        self.encoder = BodyEncoder::new(BodyLength::UntilClose);
    }

    /// Removes fields that are not true of this connection, even if they were true where the header
    /// came from.
    fn speak_for_this_hop(&self, header: &mut ResponseHeader) {
        // HTTP/1.0 has neither chunks nor kept connections.
        header.set_version(Version::HTTP_11);
        let status = header.line().status;
        // RFC 9110 section 8.6, RFC 9112 section 6.1.
        let no_body = status.is_informational() || status == StatusCode::NO_CONTENT;
        if no_body {
            header.remove_header(&CONTENT_LENGTH);
        }
        if no_body || self.request.get().line().version == Version::HTTP_10 {
            header.remove_header(&TRANSFER_ENCODING);
        }
    }

    /// Decides how the response's body is framed; the second value is what has to be declared in
    /// the head.
    fn frame_response(&self, outgoing: OutgoingResponse, end: bool) -> (BodyLength, &'static [u8]) {
        let http10 = self.request.get().line().version == Version::HTTP_10;
        match outgoing.body {
            BodyLength::UntilClose if end && !outgoing.delimited => (BodyLength::Exact(0), EMPTY),
            BodyLength::UntilClose if !http10 => (BodyLength::Chunked, CHUNKED),
            other => (other, b""),
        }
    }

    /// Queues the final response's head. `end`: no body will follow.
    pub(super) fn queue_response(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        let status = header.line().status;
        // RFC 9110 section 7.8: no switch in the middle of a message.
        let switching = status == StatusCode::SWITCHING_PROTOCOLS
            && self.facts.upgrade
            && self.decoder.is_done();
        let connected = self.request.get().line().method == Method::CONNECT && status.is_success();
        if switching || connected {
            let dated = header.is_dated();
            self.out.fill(|out| {
                h1::encode_response(header, out);
                if date::is_missing(status, dated) {
                    out.truncate(out.len().saturating_sub(2));
                    date::put_date_line(out);
                    out.extend_from_slice(b"\r\n");
                }
            });
            self.become_tunnel();
            return Ok(());
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let context = if self.facts.upgrade {
                "a response switches protocols before the request's body is complete"
            } else {
                "a response switches protocols, which the request did not ask for"
            };
            return Error::e_explain(ErrorType::InvalidHTTPHeader, context)
                .map_err(|e: pingora_error::BError| e.into_up());
        }
        let line = self.request.get().line();
        let (head_request, http10) = (
            line.method == Method::HEAD,
            line.version == Version::HTTP_10,
        );
        let outgoing =
            h1::outgoing_response(header, head_request, http10).map_err(faults::bad_outgoing)?;
        let (length, told) = self.frame_response(outgoing, end);
        if end && matches!(length, BodyLength::Exact(1..)) {
            // Before the first byte is sent, another answer is still possible.
            let fault = Fault::new(500, "the body is shorter than its Content-Length");
            return Err(faults::bad_outgoing(fault));
        }
        self.encoder = BodyEncoder::new(length);
        if length == BodyLength::UntilClose {
            self.guard_end(true);
        }
        let closes_itself = outgoing.closes;
        let keep = self.keeps_alive()
            && !closes_itself
            && length != BodyLength::UntilClose
            && !self.closes_for_the_request()
            && !self.shutdown.as_ref().is_some_and(is_shutting_down);
        if !keep {
            // The announcement to the client is binding, whatever is set afterwards.
            self.facts.keep_alive = false;
            self.options.keepalive = None;
        }
        let closing: &[u8] = match (keep, closes_itself, http10) {
            (false, false, _) => CLOSE,
            (true, _, true) => KEEP_ALIVE,
            (false, true, _) | (true, _, false) => b"\r\n",
        };
        self.out.fill(|out| {
            h1::encode_response(header, out);
            // The decision is written before the blank line instead of into the header, so the
            // header need not be copied for it.
            out.truncate(out.len().saturating_sub(2));
            if outgoing.lacks_date {
                date::put_date_line(out);
            }
            out.extend_from_slice(told);
            out.extend_from_slice(closing);
        });
        Ok(())
    }

    /// Whether what is known about the request forbids another one on this connection.
    fn closes_for_the_request(&self) -> bool {
        // A client that still waits for a 100 Continue will never send the body; whether it is in
        // flight regardless is unknown.
        let unsure = self.continue_state == Continue::Owed;
        let early = self.http1.close_on_early_response && !self.decoder.is_done();
        // Bytes after a body that was read to its end belong to the next request.
        let ahead = !self.http1.pipelining && self.decoder.is_done() && !self.input.is_empty();
        // Bytes behind a CONNECT that is not granted may be meant for the tunnel, and be anything (RFC 9931).
        let refused = self.request.get().line().method == Method::CONNECT;
        unsure || early || ahead || refused
    }

    pub(super) fn keeps_alive(&self) -> bool {
        self.facts.keep_alive && self.options.may_keep_alive() && !self.broken && !self.upgraded
    }

    /// Queues a piece of the body.
    pub(super) fn queue_body(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() || self.response.is_none() {
            return Ok(());
        }
        let (encoder, out) = (&mut self.encoder, &mut self.out);
        let length = data.len();
        let mut wanted = Ok(false);
        out.fill(|out| wanted = encoder.before(length, out));
        let wanted = wanted.map_err(|fault| {
            self.broken = true;
            faults::bad_outgoing(fault)
        })?;
        if wanted {
            self.body_sent += length;
            self.out.push(data);
            let (encoder, out) = (&mut self.encoder, &mut self.out);
            out.fill(|out| encoder.after(out));
            if self.out.len() >= COUNTED {
                // Before it is known whether it is sent at once: other tasks read meanwhile.
                self.count_held();
            }
        }
        Ok(())
    }

    /// Queues the end of the body, with trailers if its framing can carry them.
    pub(super) fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        if self.upgraded {
            self.close_after_flush = true;
            return Ok(());
        }
        let (encoder, out) = (&mut self.encoder, &mut self.out);
        let mut finished = Ok(());
        out.fill(|out| finished = encoder.finish(trailers, out));
        finished.map_err(|fault| {
            self.broken = true;
            faults::bad_outgoing(fault)
        })
    }

    pub(super) fn write_limit(&self) -> Option<std::time::Duration> {
        self.options.write_limit(self.out.len())
    }

    /// Writes the queue, within the write timeout.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let limit = self.write_limit();
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

impl HttpSession {
    /// Queues the head of a response: a final one, or any number of informational ones before it.
    /// For engines: nothing is written before [`HttpSession::poll_flush`].
    ///
    /// The framing is decided here: without a length of its own, a body goes out in chunks
    /// (RFC 9112 section 6.3); `end` says that there will be none.
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
        self.inner.speak_for_this_hop(&mut header);
        if Inner::is_informational(header.line().status) {
            self.inner.queue_informational(&header);
            return Ok(());
        }
        self.inner.queue_response(&header, end)?;
        self.inner.response = Some(header);
        Ok(())
    }

    /// Enters the data that waits on this connection in the process's account.
    pub(crate) fn count_held(&mut self) {
        self.inner.count_held();
    }

    /// Queues a piece of the response's body. For engines.
    pub fn queue_body(&mut self, data: Bytes) -> Result<()> {
        self.inner.queue_body(data)
    }

    /// Queues the end of the response. For engines.
    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        self.inner.queue_end(trailers)
    }

    /// Writes queued data. For engines; cancel-safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx)
    }

    /// The number of queued bytes.
    pub fn queued(&self) -> usize {
        self.inner.out.len()
    }

    /// Whether [`HttpSession::poll_flush`] has something to do.
    pub fn wants_flush(&self) -> bool {
        !self.inner.out.is_empty() || self.inner.close_after_flush
    }

    /// The connection's timer, for engines that wait on more than this session.
    pub fn alarm(&mut self) -> &mut crate::timeout::Alarm {
        &mut self.inner.alarm
    }

    /// Writes a response's header, and returns when it has been sent. Informational responses may
    /// precede the final one. A second final one is ignored, with a warning in the log.
    ///
    /// If the future is dropped while it waits, the header stays queued.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] for a header that can't be sent unchanged,
    /// [`ErrorType::WriteError`], [`ErrorType::WriteTimedout`].
    pub async fn write_response_header(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        self.queue_response_header(header, false)?;
        self.inner.flush().await
    }

    /// [`HttpSession::write_response_header`] for a header passed by reference.
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        self.write_response_header(Box::new(resp.clone())).await
    }

    /// Sends 100 Continue to a client that waits for it. Does nothing for others.
    pub async fn write_continue_response(&mut self) -> Result<()> {
        if self.inner.continue_state != Continue::Owed || self.inner.response.is_some() {
            return Ok(());
        }
        self.inner.continue_state = Continue::Sent;
        if !self.is_http10() {
            self.inner
                .out
                .fill(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        self.inner.flush().await
    }

    /// Writes a piece of the response's body, and returns when it has been sent. `None` if the
    /// response has no body, because of its status or the request's method: the piece is dropped in
    /// that case.
    pub async fn write_body(&mut self, buf: &[u8]) -> Result<Option<usize>> {
        self.write_body_bytes(Bytes::copy_from_slice(buf)).await
    }

    /// [`HttpSession::write_body`] without a copy.
    pub async fn write_body_bytes(&mut self, data: Bytes) -> Result<Option<usize>> {
        let before = self.inner.body_sent;
        self.inner.queue_body(data)?;
        self.inner.flush().await?;
        let sent = self.inner.body_sent - before;
        Ok((sent > 0).then_some(sent))
    }

    /// Ends the response's body. Returns the payload's size, or `None` if there was no response.
    ///
    /// # Errors
    /// [`ErrorType::InternalError`] if the header promised more than was written; the connection is
    /// closed in that case so that the client can tell.
    pub async fn finish_body(&mut self) -> Result<Option<usize>> {
        if self.inner.response.is_none() {
            return Ok(None);
        }
        self.inner.queue_end(None)?;
        self.inner.flush().await?;
        Ok(Some(self.inner.body_sent))
    }

    /// Writes trailers and ends the body.
    pub async fn write_trailers(&mut self, trailers: &HeaderMap) -> Result<()> {
        self.inner.queue_end(Some(trailers))?;
        self.inner.flush().await
    }

    /// Queues one piece of a response, of any kind. For engines.
    pub fn queue_task(&mut self, task: HttpTask) -> Result<()> {
        match task {
            HttpTask::Header(header, end) => {
                let first = self.inner.response.is_none();
                self.queue_response_header(header, end)?;
                if end && first && self.inner.response.is_some() && !self.inner.upgraded {
                    self.inner.queue_end(None)?;
                }
            }
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                if let Some(data) = data {
                    self.inner.queue_body(data)?;
                }
                if end {
                    self.inner.queue_end(None)?;
                }
            }
            HttpTask::Trailer(trailers) => self.inner.queue_end(trailers.as_deref())?,
            HttpTask::Done => {
                if self.inner.response.is_some() {
                    self.inner.queue_end(None)?;
                }
            }
            HttpTask::Failed(error) => {
                self.inner.broken = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes pieces of a response and returns when they have been sent; `true` if they complete
    /// the response.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            self.queue_task(task)?;
        }
        self.inner.flush().await?;
        Ok(end)
    }

    /// Whether tasks may be queued with [`HttpSession::send_proxy_task`]. On by default.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.inner.options.proxy_tasks
    }

    /// See [`HttpSession::proxy_tasks_enabled`].
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.inner.options.proxy_tasks = enabled;
    }

    /// Queues a piece of the response. A piece that can't be queued breaks the connection.
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
        self.inner.flush().await?;
        Ok(self.inner.encoder.is_done())
    }
}
