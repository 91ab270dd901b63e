//! The server's side of an HTTP/2 stream: reads a request, writes its response.
//!
//! # Bounds
//!
//! An HTTP/2 connection lets its peer decide how much happens at once. These bounds apply even if a
//! program sets its own [`H2Options`]; see [`H2Limits`] for raising them.
//!
//! | quantity | bound | beyond it |
//! |---|---|---|
//! | decoded header list | 64 KiB | 431; twice as much on the wire: the connection ends |
//! | fields of a request | 512, of which 256 pieces of a cookie | 431 |
//! | concurrent streams | 100; including those that are over but still being processed, 200 | `REFUSED_STREAM` |
//! | streams reset, by the client or because of its fault | 200, and one more for each response and every 100 ms | the connection ends |
//! | frames without useful content, including empty DATA and CONTINUATION | 2000, and more for each response, each piece of data and every 10 ms | the connection ends |
//! | CONTINUATION frames | 16 for one header list | the connection ends |
//! | answers to PING and SETTINGS waiting to be written | 16 KiB | reading from the client pauses |
//! | received and not yet read | 128 KiB for each stream, 2 MiB for all | the client has to wait |
//! | read from an upstream, not yet written | 128 KiB for each stream, 1 MiB for all, and then 4 KiB for each | the upstream has to wait |
//! | handed to the connection, not yet written | 64 KiB for each stream, 1 MiB for all, twice the client's window | the response has to wait |
//!
//! A connection that ends in this way gets a GOAWAY with `ENHANCE_YOUR_CALM`.

mod accept;
mod finish;
mod limits;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use accept::{H2Accept, default_h2_options, handshake};
pub(crate) use accept::{accept, limited_handshake};
pub use finish::Idle;
pub use limits::H2Limits;
pub use pingora_h2::server::Builder as H2Options;

use super::ledger::Ledger;
use super::message::{IncomingRequest, PayloadLength, incoming_request};
use crate::protocols::Digest;
use crate::protocols::http::RecycledRequest;
use crate::protocols::http::grace::Grace;
use crate::protocols::http::h1::{self, Fault, RequestRules};
use crate::protocols::http::session_options::{SessionOptions, WRITE_TIMEOUT, write_limit};
use crate::protocols::http::timed::Timed;
use crate::protocols::l4::socket::SocketAddr;
use crate::timeout::Alarm;
use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue};
use pingora_h2::server::{Incoming, SendResponse};
use pingora_h2::{Head, Pieces, RecvStream, SendStream, give_head};
use pingora_http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use std::time::Duration;

/// If a head is smaller than this, as RFC 9113 section 6.5.2 counts it, its memory is not counted
/// individually.
const LARGE_HEAD: usize = 8 * 1024;

/// The bytes with which a client begins an HTTP/2 connection (RFC 9113 section 3.4).
pub(crate) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One request and its response, over a stream of its own.
///
/// ```text
/// read_request ── read_body ──────────────────── body done, trailers
///      └──────── write_response_header (1xx*, final) ── write_body ── finish
/// ```
///
/// Reading the body and writing the response may interleave in any way. `queue_*` accepts a piece
/// completely and never waits; `poll_read_body`, `poll_flush` and `poll_gone` wait, and may be dropped at
/// any point.
///
/// Dropping a session whose response is incomplete resets the stream with `INTERNAL_ERROR`. The
/// unread rest of a request is refused with `NO_ERROR` once the response is complete (RFC 9113
/// section 8.1).
#[derive(Debug)]
pub struct HttpSession {
    /// The time within which the client has to accept some of the response. 60 s by default;
    /// `None`: no limit. A minimum rate ([`HttpSession::set_min_send_rate`]) replaces it.
    pub write_timeout: Option<Duration>,
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// Set once the head of the response was handed over.
    send: Option<SendStream<Bytes>>,
    digest: Arc<Digest>,
    alarm: Alarm,

    request: RecycledRequest,
    facts: IncomingRequest,
    request_read: bool,
    fault: Option<Fault>,
    /// The length of the body that is to come; the framing checks it as well.
    expected: PayloadLength,
    body_done: bool,
    /// The end of a body that is otherwise complete.
    grace: Grace,
    body_read: usize,
    /// The size of the last piece handed out: given back to the client's window with the next one.
    unreleased: usize,
    trailers: Option<Box<HeaderMap>>,
    continue_owed: bool,

    response: Option<Box<ResponseHeader>>,
    out: Outbox,
    length: PayloadLength,
    body_sent: usize,
    tunnel: bool,
    /// Set once anything went wrong: what is not complete by now will not be completed.
    broken: bool,
    /// The connection's ledger, and the bytes counted there for this stream.
    ledger: Option<Arc<Ledger>>,
    counted: usize,
    /// The same, for the bytes that the client may send before they are read.
    upload_counted: usize,
    max_body: Option<u64>,
    /// The session's public `write_timeout` stands in for the one here; keep-alive is the connection's.
    options: SessionOptions,
}

/// The part of the response that was not handed to the connection yet.
#[derive(Debug, Default)]
struct Outbox {
    head: Option<Box<Head>>,
    pieces: Pieces,
    /// Bytes in `pieces`.
    bytes: usize,
    /// The client had no window for the first of them.
    stalled: bool,
    end: End,
}

/// The end of the response.
#[derive(Debug, Default)]
enum End {
    /// Not known yet.
    #[default]
    Open,
    /// To be sent after the queued data.
    Due(Option<HeaderMap>),
    /// Handed to the connection.
    Sent,
}

impl Timed for Inner {
    fn timer(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl HttpSession {
    /// A session for an accepted request. [`HttpSession::read_request`] tells whether the request
    /// is valid. The memory of the session is entered in its connection's ledger.
    pub(crate) fn new(
        request: Incoming,
        respond: SendResponse<Bytes>,
        digest: Arc<Digest>,
        rules: &RequestRules,
        ledger: Option<Arc<Ledger>>,
    ) -> Self {
        let Incoming { mut head, body } = request;
        let body_done = body.is_end_stream();
        let mut recycled = RecycledRequest::default();
        let header = recycled.get_mut();
        let checked = incoming_request(&mut head, rules, header);
        give_head(head);
        header.set_send_end_stream(body_done);
        let facts = checked.unwrap_or_default();
        let inner = Inner {
            body,
            respond,
            send: None,
            digest,
            alarm: Alarm::new(),
            request: recycled,
            facts,
            request_read: false,
            fault: checked.err(),
            expected: PayloadLength::declared(facts.length),
            body_done,
            grace: Grace::default(),
            body_read: 0,
            unreleased: 0,
            trailers: None,
            continue_owed: facts.expects_continue && !body_done,
            response: None,
            out: Outbox::default(),
            length: PayloadLength::Any,
            body_sent: 0,
            tunnel: false,
            broken: false,
            ledger,
            counted: 0,
            upload_counted: 0,
            max_body: None,
            options: SessionOptions::default(),
        };
        let mut session = HttpSession {
            write_timeout: Some(WRITE_TIMEOUT),
            inner: Box::new(inner),
        };
        if facts.list_size >= LARGE_HEAD {
            session.inner.count_held();
        }
        session
    }

    /// The request's header. It has a `Host`, however the client named it; the URI contains the
    /// authority and the scheme if the client sent `:authority`. Cookies are joined. For an extended
    /// CONNECT (RFC 8441), the extensions contain the [`Protocol`](pingora_h2::ext::Protocol).
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

    /// Method, target and host, for a log line.
    pub fn request_summary(&self) -> String {
        let request = self.req_header();
        let host = self.get_header_bytes(http::header::HOST);
        format!(
            "{} {}, Host: {}",
            request.method,
            String::from_utf8_lossy(request.raw_path()),
            String::from_utf8_lossy(host)
        )
    }

    /// The request's head in HTTP/1 syntax.
    pub fn pseudo_raw_h1_request_header(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        h1::encode_request(self.req_header(), &mut out);
        out.into()
    }

    /// The rule that the request broke, if any.
    pub fn fault(&self) -> Option<Fault> {
        self.inner.fault
    }

    /// Whether the request asks for a tunnel with a `:protocol` (RFC 8441).
    pub fn is_upgrade_req(&self) -> bool {
        self.inner.facts.extended_connect
    }

    /// Whether this response grants the requested tunnel; `None` if none was requested.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req().then(|| header.status.is_success())
    }

    /// Whether the stream became a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.inner.tunnel
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

    /// The facts about the connection. Never `None`.
    pub fn digest(&self) -> Option<&Digest> {
        Some(&self.inner.digest)
    }

    /// The facts about the connection, mutable: for this request only. Never `None`.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(Arc::make_mut(&mut self.inner.digest))
    }

    /// The client's address; `None` if the transport has none.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.peer_addr()
    }

    /// The address that the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.local_addr()
    }

    /// The number of the stream on its connection (RFC 9113 section 5.1.1).
    pub fn stream_id(&self) -> u32 {
        self.inner.body.stream_id().get()
    }

    /// The timeout between two pieces of the body. 60 s by default; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.read_timeout = timeout;
    }

    /// See [`HttpSession::set_read_timeout`].
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.options.read_timeout
    }

    /// The time within which the client has to accept some of the response. 60 s by default;
    /// `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    /// The current time limit of a write: [`HttpSession::set_write_timeout`], or the time that the
    /// minimum rate allows for the queued data.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        let rate = self.inner.options.min_send_rate;
        write_limit(self.write_timeout, rate, self.inner.out.bytes)
    }

    /// The time within which an unwanted request body has to arrive. 5 s by default; `None`: no
    /// limit.
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

    /// The maximum payload of the request, in bytes; more is answered with 413. No limit by default.
    /// Set it before [`HttpSession::read_request`].
    pub fn set_max_body_size(&mut self, limit: Option<u64>) {
        self.inner.max_body = limit;
    }

    /// Whether informational responses are dropped instead of forwarded. Off by default.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.inner.options.ignore_info_resp = ignore;
    }

    /// Whether a request is aborted if the client resets the stream. On by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        self.inner.options.abort_on_close = abort;
    }

    /// The stream's timer, for engines that wait on more than this session.
    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.inner.alarm
    }
}
