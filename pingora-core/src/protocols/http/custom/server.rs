//! The client side.

use super::SessionOptions;
use crate::protocols::http::HttpTask;
use crate::protocols::http::exchange::DownstreamHalf;
use crate::protocols::http::h1::{self, Fault};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version};
use pingora_error::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::fmt::Debug;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// One request and its response over a custom protocol, seen from the server.
///
/// ```text
/// comes in    poll_request_begins → poll_request      once for each exchange
///             poll_body, take_request_trailers        the request's body
///             poll_gone                               the client leaves
/// is asked    req_header, is_body_empty, response_written, is_response_complete, options
/// goes out    queue, poll_flush                       the response
///             poll_finish → into_next                 the connection goes on, or
///             poll_shutdown                           the exchange is given up
/// ```
///
/// Every `poll_*` keeps its state in the session: a caller may stop polling at any time, and no
/// accepted data is lost. The engine bounds the queue: it reads from an upstream only while
/// [`queued`](DownstreamHalf::queued) is under its mark.
pub trait SessionCustom: DownstreamHalf + Debug + Send + Sync + Unpin + 'static {
    /// The protocol's name, for logs.
    fn protocol(&self) -> &'static str {
        "Custom"
    }

    /// The version of HTTP whose rules its messages follow. It determines whether there are
    /// connection-specific fields, and upgrades.
    fn version(&self) -> Version {
        Version::HTTP_11
    }

    /// Ready once part of the next request has arrived (`true`), or the connection has ended
    /// without one (`false`). Ready at once by default: then [`SessionCustom::poll_request`] does
    /// the waiting.
    fn poll_request_begins(&mut self, _cx: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(true)
    }

    /// Reads the request's head. `false`: the connection has ended without one.
    ///
    /// # Errors
    /// The client broke a rule ([`ErrorType::InvalidHTTPHeader`]), or reading failed.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>>;

    /// The request's header. Before a request was read: an empty `GET /`.
    fn req_header(&self) -> &RequestHeader;

    /// The request's header, mutable.
    fn req_header_mut(&mut self) -> &mut RequestHeader;

    /// Whether the request has no body.
    fn is_body_empty(&mut self) -> bool;

    /// The response's header, once it was queued. Informational responses don't count.
    fn response_written(&self) -> Option<&ResponseHeader>;

    /// Whether a whole response was queued.
    fn is_response_complete(&self) -> bool;

    /// Abandons a response that was begun and will not be completed: the client must be able to
    /// tell.
    fn abandon_response(&mut self);

    /// Timeouts and switches.
    fn options(&self) -> &SessionOptions;

    /// Timeouts and switches, mutable.
    fn options_mut(&mut self) -> &mut SessionOptions;

    /// Ends the response and writes all queued data.
    ///
    /// # Errors
    /// Writing failed, or the response is incomplete.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// The session for the connection's next exchange; `None`: the connection closes. Called after
    /// [`SessionCustom::poll_finish`], and only if [the options](SessionOptions::may_keep_alive)
    /// allow it. The options go with it; the caller counts the remaining exchanges.
    fn into_next(self: Box<Self>) -> Option<Box<dyn SessionCustom>>;

    /// Abandons the exchange and closes its connection, if it has one.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The rest of the connection, for a program that wants to use it directly.
    fn into_stream(self: Box<Self>) -> Option<Stream> {
        None
    }

    /// Stores a value with the connection for its next request. Dropped by default.
    fn set_connection_user_context(&mut self, _ctx: Option<Box<dyn Any + Send + Sync>>) {}

    /// Takes the value that an earlier request has stored.
    fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }

    /// Whether the request asks for an upgrade of the protocol.
    fn is_upgrade_req(&self) -> bool {
        false
    }

    /// Whether the connection became a tunnel.
    fn was_upgraded(&self) -> bool {
        false
    }

    /// Payload bytes of the request so far.
    fn body_bytes_read(&self) -> usize;

    /// Payload bytes of the response so far.
    fn body_bytes_sent(&self) -> usize;

    /// The facts about the connection.
    fn digest(&self) -> Option<&Digest> {
        None
    }

    /// The facts about the connection, mutable.
    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    /// The connection, if the exchange has one of its own.
    fn stream(&self) -> Option<&Stream> {
        None
    }

    /// The rule that the request broke, if any.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// Called with the reason if the exchange fails.
    fn on_proxy_failure(&mut self, _error: &Error) {}

    /// Method, target and host, for a log line.
    fn request_summary(&self) -> String {
        let request = self.req_header();
        let host = request
            .headers
            .get(HOST)
            .map_or(b"" as &[u8], |h| h.as_bytes());
        format!(
            "{} {}, Host: {} ({})",
            request.method,
            String::from_utf8_lossy(request.raw_path()),
            String::from_utf8_lossy(host),
            self.protocol()
        )
    }
}

/// Runs `step` with a time limit; `None`: the time is up.
async fn within<T>(limit: Option<Duration>, step: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, step).await.ok(),
        None => Some(step.await),
    }
}

fn timed_out(etype: ErrorType, what: &'static str) -> BError {
    Error::create(etype, ErrorSource::Downstream, Some(what.into()), None)
}

/// The methods that this crate's own sessions have, built on those of the trait.
impl dyn SessionCustom {
    pub(crate) async fn read_request(&mut self) -> Result<Option<()>> {
        let read = poll_fn(|cx| self.poll_request(cx)).await?;
        Ok(read.then_some(()))
    }

    pub(crate) fn get_header(&self, name: impl http::header::AsHeaderName) -> Option<&HeaderValue> {
        self.req_header().headers.get(name)
    }

    pub(crate) fn get_header_bytes(&self, name: impl http::header::AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", HeaderValue::as_bytes)
    }

    pub(crate) fn get_headers_raw_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        h1::encode_request(self.req_header(), &mut out);
        out.into()
    }

    /// Reads a piece of the body. Copies it to the retry buffer if there is one.
    pub(crate) fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let piece = ready!(self.poll_body(cx));
        if let Ok(Some(piece)) = &piece {
            self.options_mut().copy(piece);
        }
        Poll::Ready(piece)
    }

    pub(crate) async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let limit = self.options().read_timeout;
        let read = within(limit, poll_fn(|cx| self.poll_read_body(cx))).await;
        read.unwrap_or_else(|| Err(timed_out(ErrorType::ReadTimedout, "while reading the body")))
    }

    pub(crate) async fn read_body_or_idle(&mut self, no_body: bool) -> Result<Option<Bytes>> {
        if no_body || self.body_done() {
            Err(poll_fn(|cx| self.poll_gone(cx)).await)
        } else {
            self.read_body_bytes().await
        }
    }

    pub(crate) async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.options().total_drain_timeout;
        let drain = async {
            while poll_fn(|cx| self.poll_body(cx)).await?.is_some() {}
            Ok(())
        };
        let drained = within(limit, drain).await;
        drained.unwrap_or_else(|| {
            let what = "while draining the request's body";
            Err(timed_out(ErrorType::ReadTimedout, what))
        })
    }

    pub(crate) fn queue_task(&mut self, task: HttpTask) -> Result<()> {
        match task {
            HttpTask::Failed(error) => {
                self.abandon_response();
                Err(error)
            }
            HttpTask::Header(header, _)
                if self.options().ignore_info_resp
                    && super::is_informational_except_101(u32::from(header.status.as_u16())) =>
            {
                Ok(())
            }
            task => self.queue(task),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let limit = self.options().write_limit(self.queued());
        let flushed = within(limit, poll_fn(|cx| self.poll_flush(cx))).await;
        flushed.unwrap_or_else(|| {
            self.discard_queued();
            Err(timed_out(
                ErrorType::WriteTimedout,
                "while writing the response",
            ))
        })
    }

    pub(crate) async fn write_response_header(&mut self, resp: Box<ResponseHeader>) -> Result<()> {
        self.queue_task(HttpTask::Header(resp, false))?;
        self.flush().await
    }

    pub(crate) async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        self.write_response_header(Box::new(resp.clone())).await
    }

    pub(crate) async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            self.queue_task(task)?;
        }
        self.flush().await?;
        Ok(end)
    }

    pub(crate) async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.flush().await?;
        Ok(self.is_response_complete())
    }

    pub(crate) fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(error) = self.queue_task(task) {
            log::warn!("a piece of a response is dropped: {error}");
            self.abandon_response();
        }
    }

    pub(crate) async fn finish(&mut self) -> Result<Option<usize>> {
        let limit = self.options().write_limit(self.queued());
        let finished = within(limit, poll_fn(|cx| self.poll_finish(cx))).await;
        let late = || {
            Err(timed_out(
                ErrorType::WriteTimedout,
                "while ending the response",
            ))
        };
        finished.unwrap_or_else(late)?;
        Ok(Some(self.body_bytes_sent()))
    }

    pub(crate) async fn shutdown(&mut self) {
        let limit = self.options().write_timeout;
        within(limit, poll_fn(|cx| self.poll_shutdown(cx))).await;
    }

    /// Ends the exchange; returns the session for the next one, if there may be one.
    pub(crate) async fn finish_exchange(mut self: Box<Self>) -> Result<Option<Box<Self>>> {
        self.finish().await?;
        if !self.options().may_keep_alive() || !self.body_done() {
            self.shutdown().await;
            return Ok(None);
        }
        let mut next = self.into_next();
        if let Some(next) = &mut next {
            next.options_mut().begin_next();
        }
        Ok(next)
    }

    pub(crate) async fn write_continue_response(&mut self) -> Result<()> {
        if self.awaits_continue() && self.response_written().is_none() {
            let permission = ResponseHeader::build(http::StatusCode::CONTINUE, None)?;
            return self.write_response_header(Box::new(permission)).await;
        }
        Ok(())
    }

    pub(crate) fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req()
            .then(|| header.status == http::StatusCode::SWITCHING_PROTOCOLS)
    }

    pub(crate) fn is_body_done(&mut self) -> bool {
        self.body_done()
    }

    pub(crate) fn is_continue_owed(&self) -> bool {
        self.awaits_continue()
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.take_request_trailers()
    }

    pub(crate) fn enable_retry_buffering(&mut self) {
        self.options_mut().keep_copy();
    }

    pub(crate) fn retry_buffer_truncated(&self) -> bool {
        self.options().copy_is_truncated()
    }

    pub(crate) fn get_retry_buffer(&self) -> Option<Bytes> {
        self.options().copied()
    }

    pub(crate) fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.options_mut().read_timeout = timeout;
    }

    pub(crate) fn get_read_timeout(&self) -> Option<Duration> {
        self.options().read_timeout
    }

    pub(crate) fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.options_mut().write_timeout = timeout;
    }

    pub(crate) fn get_write_timeout(&self) -> Option<Duration> {
        self.options().write_limit(self.queued())
    }

    pub(crate) fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.options_mut().total_drain_timeout = timeout;
    }

    pub(crate) fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.options().total_drain_timeout
    }

    pub(crate) fn set_min_send_rate(&mut self, rate: Option<usize>) {
        self.options_mut().min_send_rate = rate;
    }

    pub(crate) fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.options_mut().ignore_info_resp = ignore;
    }

    pub(crate) fn set_abort_on_close(&mut self, abort: bool) {
        self.options_mut().abort_on_close = abort;
    }

    pub(crate) fn proxy_tasks_enabled(&self) -> bool {
        self.options().proxy_tasks
    }

    pub(crate) fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.options_mut().proxy_tasks = enabled;
    }

    pub(crate) fn has_pending_proxy_tasks(&self) -> bool {
        self.wants_flush()
    }

    pub(crate) fn will_keepalive(&self) -> bool {
        self.options().may_keep_alive()
    }

    pub(crate) fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.peer_addr()
    }

    pub(crate) fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.local_addr()
    }
}
