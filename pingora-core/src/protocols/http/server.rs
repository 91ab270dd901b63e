//! The server's side of an exchange, over any protocol.

use super::HttpTask;
use super::custom::SessionCustom;
use super::subrequest::server::HttpSession as SessionSubrequest;
use super::v1::server::HttpSession as SessionV1;
use super::v2::server::{HttpSession as SessionV2, Idle};
use super::{error_resp, h1::Fault};
use crate::metrics::Listener;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};
use bytes::{Bytes, BytesMut};
use http::header::{AsHeaderName, DATE};
use http::{HeaderMap, HeaderValue, Method, Version};
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::time::Duration;

mod nested;
mod reusable;

pub use reusable::ReusableHttpStream;

/// One request and its response, seen from the server.
///
/// Offers the operations that all protocols share; [`Session::as_http1`] and its siblings give
/// access to the rest. Methods that write return when the bytes have been sent, unless stated
/// otherwise.
#[derive(Debug)]
pub enum Session {
    /// Over HTTP/1.
    H1(SessionV1),
    /// Over a stream of HTTP/2.
    H2(SessionV2),
    /// From within this process.
    Subrequest(SessionSubrequest),
    /// Over a protocol of the user's own.
    Custom(Box<dyn SessionCustom>),
}

/// Calls the inner session of any kind.
macro_rules! each {
    ($session:expr, $s:ident => $body:expr) => {
        match $session {
            Session::H1($s) => $body,
            Session::H2($s) => $body,
            Session::Subrequest($s) => $body,
            Session::Custom($s) => $body,
        }
    };
}

/// Calls the inner session, where HTTP/2 needs a different call. Sub-requests and custom sessions are
/// called like HTTP/1, unless a third variant is given.
macro_rules! either {
    ($session:expr, $s:ident => $http1:expr, $t:ident => $http2:expr) => {
        either!($session, $s => $http1, $t => $http2, $s => $http1)
    };
    ($session:expr, $s:ident => $http1:expr, $t:ident => $http2:expr, $u:ident => $sub:expr) => {
        match $session {
            Session::H1($s) => $http1,
            Session::H2($t) => $http2,
            Session::Subrequest($u) => $sub,
            Session::Custom($u) => $sub,
        }
    };
}

/// Calls the inner session if it has a connection of its own; the others have no equivalent.
macro_rules! of_connection {
    ($session:expr, $s:ident => $http1:expr, $none:expr) => {
        of_connection!($session, $s => $http1, $none, _c => $none)
    };
    ($session:expr, $s:ident => $http1:expr, $none:expr, $c:ident => $custom:expr) => {
        match $session {
            Session::H1($s) => $http1,
            Session::Custom($c) => $custom,
            Session::H2(_) | Session::Subrequest(_) => $none,
        }
    };
}

// Declared after the macros, which it uses.
mod half;

impl Session {
    /// A session over a connection that speaks HTTP/1.
    pub fn new_http1(stream: Stream) -> Self {
        Session::H1(SessionV1::new(stream))
    }

    /// A session over a stream of HTTP/2.
    pub fn new_http2(session: SessionV2) -> Self {
        Session::H2(session)
    }

    /// A session over a sub-request.
    pub fn new_subrequest(session: SessionSubrequest) -> Self {
        Session::Subrequest(session)
    }

    /// A session over a protocol of the user's own.
    pub fn new_custom(session: Box<dyn SessionCustom>) -> Self {
        Session::Custom(session)
    }

    /// Whether this is a stream of HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self, Session::H2(_))
    }

    /// The version of HTTP whose rules the client's messages follow; the header has the version of a
    /// request. A sub-request follows the rules of HTTP/1.1.
    pub fn version(&self) -> Version {
        match self {
            Session::H1(_) | Session::Subrequest(_) => Version::HTTP_11,
            Session::H2(_) => Version::HTTP_2,
            Session::Custom(s) => s.version(),
        }
    }

    /// Whether this is a sub-request.
    pub fn is_subrequest(&self) -> bool {
        matches!(self, Session::Subrequest(_))
    }

    /// Whether this speaks a custom protocol.
    pub fn is_custom(&self) -> bool {
        matches!(self, Session::Custom(_))
    }

    /// The kind of session, for logs.
    pub fn session_type(&self) -> &'static str {
        match self {
            Session::H1(_) => "HTTP/1",
            Session::H2(_) => "HTTP/2",
            Session::Subrequest(_) => "Subrequest",
            Session::Custom(s) => s.protocol(),
        }
    }

    /// Reads the request's head; `false` if the client closed the connection, or stayed silent,
    /// without sending one. See [`SessionV1::read_request`] for limits and errors.
    pub async fn read_request(&mut self) -> Result<bool> {
        either!(self,
            s => s.read_request().await.map(|read| read.is_some()),
            s => s.read_request().map(|()| true))
    }

    /// The request's header. Before a request was read: an empty `GET /`.
    #[inline]
    pub fn req_header(&self) -> &RequestHeader {
        each!(self, s => s.req_header())
    }

    /// The request's header, mutable.
    #[inline]
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        each!(self, s => s.req_header_mut())
    }

    /// The first value of this field of the request.
    pub fn get_header<K: AsHeaderName>(&self, key: K) -> Option<&HeaderValue> {
        each!(self, s => s.get_header(key))
    }

    /// The first value of this field of the request as bytes; empty if there is none.
    pub fn get_header_bytes<K: AsHeaderName>(&self, key: K) -> &[u8] {
        each!(self, s => s.get_header_bytes(key))
    }

    /// The next piece of the request's body; `None` at its end. If the client waits for a 100
    /// Continue, sends it first. Cancel-safe.
    pub async fn read_request_body(&mut self) -> Result<Option<Bytes>> {
        each!(self, s => s.read_body_bytes().await)
    }

    /// Reads the rest of the request's body and drops it, within limits.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        each!(self, s => s.drain_request_body().await)
    }

    /// Writes a response's header; informational ones may precede the final one. A final one without a `Date` gets
    /// one. Without a `Content-Length`, the body is sent in chunks over HTTP/1.1, and until the connection closes
    /// over HTTP/1.0.
    pub async fn write_response_header(&mut self, resp: Box<ResponseHeader>) -> Result<()> {
        either!(self, s => s.write_response_header(resp).await, s => {
            s.queue_response_header(resp, false)?;
            s.flush().await
        })
    }

    /// [`Session::write_response_header`] for a header passed by reference.
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        either!(self, s => s.write_response_header_ref(resp).await, s => {
            s.write_response_header_ref(resp, false)
        })
    }

    /// Writes a piece of the response's body; `end`: it is the last.
    pub async fn write_response_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        each!(self, s => {
            s.queue_task(HttpTask::Body(Some(data), end))?;
            s.write_proxy_tasks().await.map(|_| ())
        })
    }

    /// Writes trailers, which end the response.
    pub async fn write_response_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        let end = HttpTask::Trailer(Some(Box::new(trailers)));
        self.response_duplex_vec(vec![end]).await.map(|_| ())
    }

    /// Writes a whole response at once: head and body are sent together. The body's length is put
    /// into the header.
    pub async fn write_response(
        &mut self,
        mut header: Box<ResponseHeader>,
        body: Bytes,
    ) -> Result<()> {
        let head_request = self.req_header().line().method == Method::HEAD;
        error_resp::declare_whole_body(&mut header, body.len(), head_request)?;
        each!(self, s => {
            s.queue_task(HttpTask::Header(header, body.is_empty()))?;
            if !body.is_empty() {
                s.queue_task(HttpTask::Body(Some(body), true))?;
            }
            s.write_proxy_tasks().await.map(|_| ())
        })
    }

    /// Ends the exchange; returns the connection if it may carry another one.
    pub async fn finish(self) -> Result<Option<ReusableHttpStream>> {
        match self {
            Session::H1(s) => {
                let next = s.into_next().await?;
                Ok(next.map(ReusableHttpStream::from_session))
            }
            Session::H2(mut s) => {
                s.finish_response().await?;
                if s.lingers() {
                    Box::pin(s.linger()).await;
                }
                Ok(None)
            }
            Session::Subrequest(mut s) => s.finish().await.map(|_| None),
            Session::Custom(s) => {
                let next = s.finish_exchange().await?;
                Ok(next.map(ReusableHttpStream::from_custom))
            }
        }
    }

    /// Tells the caller of a sub-request, or a custom session, why the exchange fails. Does nothing
    /// for other sessions.
    pub fn on_proxy_failure(&mut self, e: Box<Error>) {
        match self {
            Session::Subrequest(s) => s.on_proxy_failure(e),
            Session::Custom(s) => s.on_proxy_failure(&e),
            Session::H1(_) | Session::H2(_) => {}
        }
    }

    /// Writes pieces of a response; `true` if they complete the response.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        each!(self, s => s.response_duplex_vec(tasks).await)
    }

    /// The idle time that the connection is allowed after this exchange, in seconds: `Some(0)`:
    /// without limit; `None`: it closes.
    pub fn set_keepalive(&mut self, duration: Option<u64>) {
        of_connection!(self, s => s.set_server_keepalive(duration), {}, c => {
            c.options_mut().keepalive = duration;
        })
    }

    /// See [`Session::set_keepalive`].
    pub fn get_keepalive(&self) -> Option<u64> {
        of_connection!(self, s => s.get_keepalive_timeout(), None, c => c.options().keepalive)
    }

    /// The number of further exchanges that the connection may carry; `None`: any number.
    pub fn set_keepalive_reuses_remaining(&mut self, reuses: Option<u32>) {
        of_connection!(self, s => s.set_keepalive_reuses_remaining(reuses), {}, c => {
            c.options_mut().reuses_remaining = reuses;
        })
    }

    /// See [`Session::set_keepalive_reuses_remaining`].
    pub fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        of_connection!(self, s => s.get_keepalive_reuses_remaining(), None, c => {
            c.options().reuses_remaining
        })
    }

    /// Stores a value with the connection for its next request.
    pub fn set_connection_user_context(&mut self, ctx: Option<Box<dyn Any + Send + Sync>>) {
        of_connection!(self, s => s.set_connection_user_context(ctx), {}, c => {
            c.set_connection_user_context(ctx);
        })
    }

    /// Takes the value that an earlier request of this connection has stored.
    pub fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        of_connection!(self, s => s.take_connection_user_context(), None, c => {
            c.take_connection_user_context()
        })
    }

    /// The timeout between two reads of the request's body. 60 s by default; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_read_timeout(timeout))
    }

    /// See [`Session::set_read_timeout`].
    pub fn get_read_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_read_timeout())
    }

    /// The time within which the client has to accept some of the response. 60 s by default;
    /// `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_write_timeout(timeout))
    }

    /// See [`Session::set_write_timeout`].
    pub fn get_write_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_write_timeout())
    }

    /// The time within which an unwanted request body has to arrive; 5 s by default.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_total_drain_timeout(timeout))
    }

    /// See [`Session::set_total_drain_timeout`].
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_total_drain_timeout())
    }

    /// The minimum rate at which the client has to accept the response, in bytes per second; none
    /// by default.
    pub fn set_min_send_rate(&mut self, rate: Option<usize>) {
        each!(self, s => s.set_min_send_rate(rate))
    }

    /// Whether informational responses are dropped instead of forwarded. Off by default.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        each!(self, s => s.set_ignore_info_resp(ignore))
    }

    /// Whether a response that begins before the request is complete closes the connection.
    pub fn set_close_on_response_before_downstream_finish(&mut self, close: bool) {
        of_connection!(self, s => s.set_close_on_response_before_downstream_finish(close), {})
    }

    /// Whether a request is aborted if the client closes its side. On by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        each!(self, s => s.set_abort_on_close(abort))
    }

    /// Method, target and host, for a log line.
    pub fn request_summary(&self) -> String {
        each!(self, s => s.request_summary())
    }

    /// The response's header, once it was written. Informational responses don't count.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        each!(self, s => s.response_written())
    }

    /// Whether the connection will be kept for another request, as far as is known so far.
    pub fn will_keepalive(&self) -> bool {
        of_connection!(self, s => s.will_keepalive(), false, c => c.will_keepalive())
    }

    /// Drops the queue, because the client accepts nothing more. A response that was begun can't be
    /// completed any more.
    pub fn discard_queued(&mut self) {
        each!(self, s => s.discard_queued())
    }

    /// Whether the client got, or will get once the queue is written, a whole response.
    pub fn is_response_complete(&self) -> bool {
        each!(self, s => s.is_response_complete())
    }

    /// Abandons the exchange: closes the connection, or resets the stream.
    pub async fn shutdown(&mut self) {
        match self {
            Session::H1(s) => s.shutdown().await,
            Session::H2(s) => {
                if s.wants_flush() {
                    // A failure here fails the stream, which is abandoned anyway.
                    let _ = s.flush().await;
                }
                if s.lingers() {
                    Box::pin(s.linger()).await;
                }
                s.shutdown();
            }
            Session::Subrequest(s) => s.shutdown(),
            Session::Custom(s) => s.shutdown().await,
        }
    }

    /// Abandons the exchange with this reason if it is an HTTP/2 stream. Does nothing for others.
    pub fn shutdown_with_reason(&mut self, reason: pingora_h2::Reason) {
        if let Session::H2(s) = self {
            s.shutdown_with_reason(reason);
        }
    }

    /// Waits until the client gives up the stream; `None` if this is not an HTTP/2 stream.
    pub fn watch_h2_stream_close(&mut self) -> Option<Idle<'_>> {
        match self {
            Session::H2(s) => Some(s.idle()),
            _ => None,
        }
    }

    /// The request's head in HTTP/1 syntax. If the head was refused: the part that was read.
    pub fn to_h1_raw(&self) -> Bytes {
        either!(self, s => s.get_headers_raw_bytes(), s => s.pseudo_raw_h1_request_header())
    }

    /// Whether the request's body was read to its end.
    pub fn is_body_done(&mut self) -> bool {
        each!(self, s => s.is_body_done())
    }

    /// Ends the response's body.
    pub async fn finish_body(&mut self) -> Result<()> {
        either!(self,
            s => s.finish_body().await.map(|_| ()),
            s => s.finish_response().await,
            s => s.finish().await.map(|_| ()))
    }

    /// A response for this status without a body, with the current `Date`; see
    /// [`error_resp::gen_error_response`].
    pub fn generate_error(error: u16) -> ResponseHeader {
        let mut header = error_resp::gen_error_response(error);
        // There is room: the header holds three fields.
        let _ = header.insert_header(DATE, super::date::get_cached_date());
        header
    }

    /// Answers with this status and no body, unless a response was begun already; in that case the
    /// connection closes so that the client can tell.
    pub async fn respond_error(&mut self, error: u16) -> Result<()> {
        self.respond_error_with_body(error, Bytes::new()).await
    }

    /// [`Session::respond_error`] with a body.
    pub async fn respond_error_with_body(&mut self, error: u16, body: Bytes) -> Result<()> {
        self.write_error_response(Self::generate_error(error), body)
            .await
    }

    /// Answers with a custom header and body; see [`Session::respond_error`]. The body is complete, so its length is
    /// put into the header and replaces any length there; but a 204 gets none, and an answer to a HEAD and a 304
    /// without a body keep theirs. Adds a `Date` if there is none.
    pub async fn write_error_response(
        &mut self,
        mut resp: ResponseHeader,
        body: Bytes,
    ) -> Result<()> {
        if self.response_written().is_some() {
            each!(self, s => s.abandon_response());
            return Ok(());
        }
        // The rest of the client's body would be mistaken for its next request.
        if !self.is_body_done() {
            self.set_keepalive(None);
        }
        let head_request = self.req_header().line().method == Method::HEAD;
        error_resp::declare_whole_body(&mut resp, body.len(), head_request)?;
        each!(self, s => {
            s.queue_task(HttpTask::Header(Box::new(resp), body.is_empty()))?;
            if !body.is_empty() {
                s.queue_task(HttpTask::Body(Some(body), true))?;
            }
            s.write_proxy_tasks().await.map(|_| ())
        })
    }

    /// Whether the request has no body, according to its header.
    pub fn is_body_empty(&mut self) -> bool {
        each!(self, s => s.is_body_empty())
    }

    /// Keeps a copy of the body while it is read, up to 64 KiB, for retries.
    pub fn enable_retry_buffering(&mut self) {
        each!(self, s => s.enable_retry_buffering())
    }

    /// Whether the body was longer than the copy may be.
    pub fn retry_buffer_truncated(&self) -> bool {
        each!(self, s => s.retry_buffer_truncated())
    }

    /// The copy of the body so far; `None` if there is none or it is incomplete.
    pub fn get_retry_buffer(&self) -> Option<Bytes> {
        each!(self, s => s.get_retry_buffer())
    }

    /// The next piece of the body or, if none is expected, the error that the client is gone.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        each!(self, s => s.read_body_or_idle(no_body_expected).await)
    }

    /// The inner HTTP/1 session.
    pub fn as_http1(&self) -> Option<&SessionV1> {
        match self {
            Session::H1(s) => Some(s),
            _ => None,
        }
    }

    /// The inner HTTP/1 session, mutable.
    pub fn as_http1_mut(&mut self) -> Option<&mut SessionV1> {
        match self {
            Session::H1(s) => Some(s),
            _ => None,
        }
    }

    /// The inner HTTP/2 session.
    pub fn as_http2(&self) -> Option<&SessionV2> {
        match self {
            Session::H2(s) => Some(s),
            _ => None,
        }
    }

    /// The inner sub-request.
    pub fn as_subrequest(&self) -> Option<&SessionSubrequest> {
        match self {
            Session::Subrequest(s) => Some(s),
            _ => None,
        }
    }

    /// The inner sub-request, mutable.
    pub fn as_subrequest_mut(&mut self) -> Option<&mut SessionSubrequest> {
        match self {
            Session::Subrequest(s) => Some(s),
            _ => None,
        }
    }

    /// The inner custom session.
    pub fn as_custom(&self) -> Option<&dyn SessionCustom> {
        match self {
            Session::Custom(s) => Some(&**s),
            _ => None,
        }
    }

    /// The inner custom session, mutable.
    pub fn as_custom_mut(&mut self) -> Option<&mut Box<dyn SessionCustom>> {
        match self {
            Session::Custom(s) => Some(s),
            _ => None,
        }
    }

    /// Sends 100 Continue to a client that waits for it. Does nothing for others.
    pub async fn write_continue_response(&mut self) -> Result<()> {
        either!(self, s => s.write_continue_response().await, s => s.write_continue_response())
    }

    /// Whether the request asks for an upgrade of the protocol.
    pub fn is_upgrade_req(&self) -> bool {
        each!(self, s => s.is_upgrade_req())
    }

    /// Whether this response grants the requested upgrade; `None` if none was requested.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        each!(self, s => s.is_upgrade(header))
    }

    /// Whether the connection became a tunnel.
    pub fn was_upgraded(&self) -> bool {
        each!(self, s => s.was_upgraded())
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_sent(&self) -> usize {
        each!(self, s => s.body_bytes_sent())
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_read(&self) -> usize {
        each!(self, s => s.body_bytes_read())
    }

    /// The facts about the connection.
    pub fn digest(&self) -> Option<&Digest> {
        either!(self, s => Some(s.digest()), s => s.digest(), s => s.digest())
    }

    /// The facts about the connection, mutable.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        either!(self, s => Some(s.digest_mut()), s => s.digest_mut(), s => s.digest_mut())
    }

    /// The client's address; `None` if the transport has none.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.client_addr())
    }

    /// The address that the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.server_addr())
    }

    /// Where the exchange is counted: the listener that its connection came over.
    pub fn listener(&self) -> Listener {
        match self {
            Session::H1(s) => s.stream().listener(),
            Session::Custom(c) => c
                .stream()
                .map_or_else(Listener::default, |io| io.listener()),
            Session::H2(s) => s
                .digest()
                .and_then(|digest| digest.socket_digest.as_ref())
                .map_or_else(Listener::default, |socket| socket.listener()),
            Session::Subrequest(_) => Listener::default(),
        }
    }

    /// The connection, if the exchange has one of its own.
    pub fn stream(&self) -> Option<&Stream> {
        of_connection!(self, s => Some(s.stream()), None, c => c.stream())
    }

    /// The rule that the request broke, if any.
    pub fn fault(&self) -> Option<Fault> {
        each!(self, s => s.fault())
    }

    /// Whether pieces of a response may be queued.
    pub fn supports_proxy_task_api(&self) -> bool {
        each!(self, s => s.proxy_tasks_enabled())
    }

    /// See [`Session::supports_proxy_task_api`].
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        each!(self, s => s.set_proxy_tasks_enabled(enabled))
    }

    /// Whether the next request may be sent before this one is answered.
    pub fn pipelining_enabled(&self) -> bool {
        of_connection!(self, s => s.pipelining_enabled(), false)
    }

    /// See [`Session::pipelining_enabled`].
    pub fn set_pipelining_enabled(&mut self, enabled: bool) {
        of_connection!(self, s => s.set_pipelining_enabled(enabled), {})
    }

    /// Begins the connection with bytes that were read elsewhere.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        of_connection!(self, s => s.set_pipelined_prefix(prefix), {})
    }

    /// Queues a piece of the response.
    pub fn send_downstream_proxy_task(&mut self, task: HttpTask) {
        each!(self, s => s.send_proxy_task(task))
    }

    /// Whether queued pieces are waiting to be written.
    pub fn has_pending_downstream_proxy_tasks(&self) -> bool {
        each!(self, s => s.has_pending_proxy_tasks())
    }

    /// Writes the queued pieces; `true` if they complete the response.
    pub async fn write_downstream_proxy_tasks(&mut self) -> Result<bool> {
        each!(self, s => s.write_proxy_tasks().await)
    }
}
