//! The server's side of an HTTP/1 connection: reads requests, writes responses.

mod finish;
mod read;
mod splice;
mod tunnel;
mod write;

#[cfg(test)]
mod tests;

use super::input::Input;
use super::output::OutQueue;
use super::timed::Timed;
pub use crate::protocols::http::session_options::{BODY_READ_TIMEOUT, WRITE_TIMEOUT};

use crate::protocols::http::session_options::SessionOptions;

use crate::process::ShutdownWatch;
use crate::process::memory::Held;
use crate::protocols::http::RecycledRequest;
use crate::protocols::http::h1::{BodyDecoder, BodyEncoder, Fault, RequestFacts, RequestRules};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};
use crate::timeout::Alarm;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::AsHeaderName;
use pingora_http::{RequestHeader, ResponseHeader};
use std::any::Any;
use std::sync::OnceLock;
use std::time::Duration;

/// The time for a request's head, from its first byte to its last. Default of
/// [`HttpSession::set_header_timeout`].
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum size of a request's body that is drained while too many other connections are
/// draining, in bytes.
const DRAIN_LIMIT: usize = 64 * 1024;
/// The maximum number of bytes that a client may pipeline before reading pauses.
const READ_AHEAD_LIMIT: usize = 64 * 1024;

/// Whether the client waits for a `100 Continue` (RFC 9110 section 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continue {
    /// It does not wait.
    NotExpected,
    /// It waits.
    Owed,
    /// It got one, or a final response.
    Sent,
}

/// One connection to a client, and the current request on it.
///
/// The state of one request, in the order it passes through:
///
/// ```text
/// read_request ── read_body ───────────────── body done
///      └──────── write_response_header ── write_body ── finish ── reuse
/// ```
///
/// Reading the body and writing the response may interleave in any way.
///
/// For an engine that waits on several things at once: `queue_*` accepts a piece completely and never
/// waits; `poll_read_body`, `poll_flush` and `poll_gone` wait, and may be dropped at any point. Between
/// two requests: `poll_request_begins` together with `poll_keepalive`.
#[derive(Debug)]
pub struct HttpSession {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    io: Stream,
    input: Input,
    out: OutQueue,
    alarm: Alarm,
    /// Created on first use; most connections never need it.
    digest: OnceLock<Box<Digest>>,
    rules: RequestRules,

    request: RecycledRequest,
    request_read: bool,
    facts: RequestFacts,
    fault: Option<Fault>,
    /// For a head that was refused.
    raw_head: Option<Box<Bytes>>,
    decoder: BodyDecoder,
    body_read: usize,
    continue_state: Continue,
    half_closed: bool,

    response: Option<Box<ResponseHeader>>,
    encoder: BodyEncoder,
    body_sent: usize,
    upgraded: bool,
    /// Set while the end of the connection, if it comes now, has to be a reset; see
    /// [`Inner::guard_end`].
    resets: bool,
    /// Set once anything happened that makes the connection unfit for another request.
    broken: bool,
    /// Whether to close the write side when the queue is empty (a tunnel's end of stream).
    close_after_flush: bool,

    held: Held,
    /// The size of the request's head in bytes, if it is large enough to be counted.
    large_head: u32,
    /// Checked when a response's head is written: the connection is not kept beyond a shutdown.
    shutdown: Option<ShutdownWatch>,
    options: SessionOptions,
    http1: Http1Options,
    user_context: Option<Box<dyn Any + Send + Sync>>,
}

/// The options that sessions of other versions don't have, except for the maximum payload.
#[derive(Debug, Clone)]
struct Http1Options {
    header_timeout: Option<Duration>,
    max_body: Option<u64>,
    close_on_early_response: bool,
    pipelining: bool,
}

impl Default for Http1Options {
    fn default() -> Self {
        Http1Options {
            header_timeout: Some(HEADER_TIMEOUT),
            max_body: None,
            close_on_early_response: false,
            pipelining: true,
        }
    }
}

impl Timed for Inner {
    fn timer(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Inner {
    fn digest(&self) -> &Digest {
        let io = &self.io;
        self.digest.get_or_init(|| Box::new(Digest::of(io)))
    }

    #[allow(clippy::expect_used, reason = "it is there since the line before")]
    fn digest_mut(&mut self) -> &mut Digest {
        self.digest();
        self.digest.get_mut().expect("the digest was just made")
    }
}

impl HttpSession {
    /// Takes over a connection. Nothing is read before [`HttpSession::read_request`].
    pub fn new(underlying_stream: Stream) -> Self {
        Self::with_prefix(underlying_stream, Bytes::new())
    }

    /// Takes over a connection from which `prefix` was already read.
    pub fn with_prefix(io: Stream, prefix: Bytes) -> Self {
        let inner = Inner {
            io,
            input: Input::with_prefix(prefix),
            out: OutQueue::default(),
            alarm: Alarm::new(),
            digest: OnceLock::new(),
            rules: RequestRules::default(),
            request: RecycledRequest::default(),
            request_read: false,
            facts: RequestFacts::default(),
            fault: None,
            raw_head: None,
            decoder: BodyDecoder::default(),
            body_read: 0,
            continue_state: Continue::NotExpected,
            half_closed: false,
            response: None,
            encoder: BodyEncoder::default(),
            body_sent: 0,
            upgraded: false,
            resets: false,
            broken: false,
            close_after_flush: false,
            held: Held::default(),
            large_head: 0,
            shutdown: None,
            options: SessionOptions {
                keepalive: Some(0),
                ..SessionOptions::default()
            },
            http1: Http1Options::default(),
            user_context: None,
        };
        HttpSession {
            inner: Box::new(inner),
        }
    }

    /// Sets the rules for the request's head. Call it before the head is read.
    pub fn set_request_rules(&mut self, rules: RequestRules) {
        self.inner.rules = rules;
    }

    /// The request's header. Before a request was read: an empty `GET /`; after a refused one: the
    /// part that was parsed.
    #[inline]
    pub fn req_header(&self) -> &RequestHeader {
        self.inner.request.get()
    }

    /// The request's header, mutable.
    #[inline]
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.request.get_mut()
    }

    /// The first value of this field of the request.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.req_header().headers.get(name)
    }

    /// The first value of this field of the request as bytes; empty if there is none.
    pub fn get_header_bytes(&self, name: impl AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", HeaderValue::as_bytes)
    }

    /// Method, target and host, for a log line. If the head was refused or is incomplete: its beginning.
    pub fn request_summary(&self) -> String {
        if let Some(refused) = &self.inner.raw_head {
            return format!("refused head: {}", first_line(refused));
        }
        if !self.inner.request_read {
            return format!(
                "incomplete head: {}",
                first_line(self.inner.input.waiting())
            );
        }
        let request = self.req_header();
        let host = self.get_header_bytes(http::header::HOST);
        format!(
            "{} {}, Host: {}",
            request.method,
            String::from_utf8_lossy(request.raw_path()),
            String::from_utf8_lossy(host)
        )
    }

    /// The head in HTTP/1 syntax. If it was refused: the part that was read.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        if let Some(raw_head) = &self.inner.raw_head {
            return Bytes::clone(raw_head);
        }
        let mut out = Vec::with_capacity(512);
        crate::protocols::http::h1::encode_request(self.req_header(), &mut out);
        out.into()
    }

    /// The rule that the request broke, if any.
    pub fn fault(&self) -> Option<Fault> {
        self.inner.fault
    }

    /// Whether the request asks for an upgrade of the protocol, in a well-formed way.
    pub fn is_upgrade_req(&self) -> bool {
        self.inner.facts.upgrade
    }

    /// Whether this response grants the requested upgrade; `None` if none was requested.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req()
            .then(|| header.status == http::StatusCode::SWITCHING_PROTOCOLS)
    }

    /// Whether the connection became a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.inner.upgraded
    }

    /// The response's header, once it was written. Informational responses don't count.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response.as_deref()
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_sent(&self) -> usize {
        self.inner.body_sent
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_read(&self) -> usize {
        self.inner.body_read
    }

    /// Whether the client has closed its side of the connection.
    pub fn is_half_closed(&self) -> bool {
        self.inner.half_closed
    }

    /// The facts about the connection.
    pub fn digest(&self) -> &Digest {
        self.inner.digest()
    }

    /// The facts about the connection, mutable.
    pub fn digest_mut(&mut self) -> &mut Digest {
        self.inner.digest_mut()
    }

    /// The client's address; `None` if the transport has none.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest().socket_digest.as_ref()?.peer_addr()
    }

    /// The address that the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest().socket_digest.as_ref()?.local_addr()
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        &self.inner.io
    }

    /// Takes the connection out. Bytes that were read and not consumed are lost.
    pub fn into_inner(self) -> Stream {
        self.inner.io
    }

    /// The idle time that the connection is allowed after this request, in seconds; `Some(0)`:
    /// without limit; `None`: it closes.
    pub fn get_keepalive_timeout(&self) -> Option<u64> {
        self.inner.options.keepalive
    }

    /// Sets the value of [`HttpSession::get_keepalive_timeout`]. The client is informed when the head
    /// of the response is written: once a close was announced, the connection closes, whatever is set
    /// afterwards.
    pub fn set_server_keepalive(&mut self, keepalive: Option<u64>) {
        self.inner.options.keepalive = keepalive;
    }

    /// The number of further requests that the connection may carry; `None`: any number.
    pub fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        self.inner.options.reuses_remaining
    }

    /// Sets the value of [`HttpSession::get_keepalive_reuses_remaining`].
    pub fn set_keepalive_reuses_remaining(&mut self, remaining: Option<u32>) {
        self.inner.options.reuses_remaining = remaining;
    }

    /// Whether the connection will be kept for another request, as far as is known so far. Decided
    /// when the head of the response is written.
    pub fn will_keepalive(&self) -> bool {
        self.inner.keeps_alive()
    }

    /// Closes the connection, and announces it, after the first response whose head is written once
    /// the shutdown has begun.
    pub(crate) fn heed_shutdown(&mut self, shutdown: &ShutdownWatch) {
        self.inner.shutdown.get_or_insert_with(|| shutdown.clone());
    }

    /// Lets the request decide whether the connection persists. It always does; kept for
    /// compatibility.
    pub fn respect_keepalive(&mut self) {}

    /// Stores a value with the connection for its next request.
    pub fn set_connection_user_context(&mut self, ctx: Option<Box<dyn Any + Send + Sync>>) {
        self.inner.user_context = ctx;
    }

    /// Takes the value that an earlier request of this connection has stored.
    pub fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        self.inner.user_context.take()
    }

    /// The time limit for the head, from its first byte to its last, however slowly the bytes
    /// arrive. [`HEADER_TIMEOUT`] by default; `None`: no limit.
    pub fn set_header_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.http1.header_timeout = timeout;
    }

    /// The timeout between two reads of the body. [`BODY_READ_TIMEOUT`] by default; `None`: no
    /// limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.read_timeout = timeout;
    }

    /// See [`HttpSession::set_read_timeout`].
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.options.read_timeout
    }

    /// The time within which the client has to accept some of the response. [`WRITE_TIMEOUT`] by
    /// default; `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.write_timeout = timeout;
    }

    /// The current time limit of a write: [`HttpSession::set_write_timeout`], or the time that the
    /// minimum rate allows for the queued data.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.write_limit()
    }

    /// The time within which an unwanted request body has to arrive; after it, the connection is
    /// closed instead. 5 s by default; `None`: no limit.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.total_drain_timeout = timeout;
    }

    /// See [`HttpSession::set_total_drain_timeout`].
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.options.total_drain_timeout
    }

    /// The minimum rate at which the client has to accept the response, in bytes per second;
    /// replaces the write timeout. None by default.
    pub fn set_min_send_rate(&mut self, min_send_rate: Option<usize>) {
        self.inner.options.min_send_rate = min_send_rate;
    }

    /// The maximum payload of a request, in bytes; more is answered with 413. No limit by default.
    pub fn set_max_body_size(&mut self, limit: Option<u64>) {
        self.inner.http1.max_body = limit;
    }

    /// Whether informational responses are dropped instead of forwarded. Off by default.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.inner.options.ignore_info_resp = ignore;
    }

    /// Whether a response that begins before the request's body is complete closes the connection.
    /// Off by default: the rest of the body is drained, within the time of
    /// [`HttpSession::set_total_drain_timeout`].
    pub fn set_close_on_response_before_downstream_finish(&mut self, close: bool) {
        self.inner.http1.close_on_early_response = close;
    }

    /// Whether a request is aborted if the client closes its side. On by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        self.inner.options.abort_on_close = abort;
    }

    /// Whether the next request may be sent before this one is answered. On by default; responses
    /// always keep the order of the requests.
    pub fn pipelining_enabled(&self) -> bool {
        self.inner.http1.pipelining
    }

    /// See [`HttpSession::pipelining_enabled`]. If it is off, pipelined bytes end the connection
    /// after the current response.
    pub fn set_pipelining_enabled(&mut self, enabled: bool) {
        self.inner.http1.pipelining = enabled;
    }

    /// Begins the connection with bytes that were read elsewhere.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        self.inner.input = Input::with_prefix(prefix.freeze());
    }
}

/// The first line of an unreadable head, quoted: non-printable characters are escaped, and a long line is
/// truncated.
fn first_line(head: &[u8]) -> String {
    /// The maximum number of bytes shown.
    const MOST: usize = 200;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (shown, rest) = line.split_at(line.len().min(MOST));
    let more = if rest.is_empty() { "" } else { "..." };
    format!("\"{}\"{more}", shown.escape_ascii())
}
