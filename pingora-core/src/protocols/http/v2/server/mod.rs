//! The server's side of a stream of HTTP/2: reads a request, writes its response.
//!
//! # What is bounded
//!
//! A connection of HTTP/2 lets its peer decide how much happens at once. These are the bounds, which
//! hold as well where a program brings [`H2Options`] of its own; see [`H2Limits`] for raising them.
//!
//! | what | bound | when it is reached |
//! |---|---|---|
//! | decoded header list | 64 KiB | 431; twice as much on the wire: the connection ends |
//! | fields of a request | 512, of which 256 pieces of a cookie | 431 |
//! | streams at once | 100; with those that are over and still worked on, 200 | `REFUSED_STREAM` |
//! | streams reset, by the client or for its fault | 200, and one more for each response and every 100 ms | the connection ends |
//! | frames that carry nothing, empty DATA and CONTINUATION too | 2000, and more for each response, each piece of data and every 10 ms | the connection ends |
//! | CONTINUATION frames | 16 for one header list | the connection ends |
//! | answers to PING and SETTINGS that wait to be written | 16 KiB | the client is not read from |
//! | received and not yet read | 128 KiB for each stream, 2 MiB for all | the client has to wait |
//! | read from an upstream, not yet written | 128 KiB for each stream, 1 MiB for all, and then 4 KiB for each | the upstream has to wait |
//! | handed to the connection, not yet written | 64 KiB for each stream, 1 MiB for all, twice the client's window | the response has to wait |
//!
//! A connection that ends is told why: GOAWAY with `ENHANCE_YOUR_CALM`.

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
use crate::protocols::http::body_buffer::FixedBuffer;
use crate::protocols::http::grace::Grace;
use crate::protocols::http::h1::{self, Fault, RequestRules};
use crate::protocols::http::session_options::{BODY_READ_TIMEOUT, WRITE_TIMEOUT, write_limit};
use crate::protocols::http::timed::Timed;
use crate::protocols::l4::socket::SocketAddr;
use crate::timeout::Alarm;
use bytes::Bytes;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue, Response};
use pingora_h2::server::{Incoming, SendResponse};
use pingora_h2::{RecvStream, SendStream};
use pingora_http::{RequestHeader, ResponseHeader};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Of a head that is smaller, as RFC 9113 section 6.5.2 counts it, the room is not counted by itself.
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
/// Reading the body and writing the response may interleave in any way. `queue_*` accepts a piece whole
/// and never waits; `poll_read_body`, `poll_flush` and `poll_gone` wait, and may be dropped at any point.
///
/// Dropping a session whose response is not complete resets the stream with `INTERNAL_ERROR`. The
/// unread rest of a request is refused with `NO_ERROR` once the response is complete
/// (RFC 9113 section 8.1).
#[derive(Debug)]
pub struct HttpSession {
    /// Time in which the client has to take something of the response. 60 s by default; `None`: no
    /// limit. A minimum rate ([`HttpSession::set_min_send_rate`]) takes its place.
    pub write_timeout: Option<Duration>,
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// There once the head of the response was handed over.
    send: Option<SendStream<Bytes>>,
    digest: Arc<Digest>,
    alarm: Alarm,

    request: RecycledRequest,
    facts: IncomingRequest,
    request_read: bool,
    fault: Option<Fault>,
    /// The length of the body that is to come; checked by the framing as well.
    expected: PayloadLength,
    body_done: bool,
    /// The end of a body of which nothing is missing.
    grace: Grace,
    body_read: usize,
    /// Of the piece that was handed out last: given back to the client's window with the next one.
    unreleased: usize,
    trailers: Option<Box<HeaderMap>>,
    retry_buffer: Option<Box<FixedBuffer>>,
    continue_owed: bool,

    response: Option<Box<ResponseHeader>>,
    out: Outbox,
    length: PayloadLength,
    body_sent: usize,
    tunnel: bool,
    /// Set once anything went wrong: what is not complete by now will not be.
    broken: bool,
    /// Of the connection, and what is counted there for this stream.
    ledger: Option<Arc<Ledger>>,
    counted: usize,
    /// The same, for the bytes that the client may send before they are read.
    upload_counted: usize,
    options: Options,
}

/// The part of the response that was not handed to the connection yet.
#[derive(Debug, Default)]
struct Outbox {
    head: Option<Response<()>>,
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    bytes: usize,
    /// The client had no window for the first of them.
    stalled: bool,
    end: End,
}

/// The end of the response.
#[derive(Debug, Default)]
enum End {
    /// Is not known yet.
    #[default]
    Open,
    /// Follows what is queued.
    Due(Option<HeaderMap>),
    /// Was handed to the connection.
    Sent,
}

#[derive(Debug, Clone)]
struct Options {
    read_timeout: Option<Duration>,
    total_drain_timeout: Option<Duration>,
    min_send_rate: Option<usize>,
    max_body: Option<u64>,
    ignore_info_resp: bool,
    abort_on_close: bool,
    proxy_tasks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            read_timeout: Some(BODY_READ_TIMEOUT),
            total_drain_timeout: Some(Duration::from_secs(5)),
            min_send_rate: None,
            max_body: None,
            ignore_info_resp: false,
            abort_on_close: true,
            proxy_tasks: true,
        }
    }
}

impl Timed for Inner {
    fn timer(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl HttpSession {
    /// A session for a request that was accepted. Whether the request is sound is told by
    /// [`HttpSession::read_request`]. What it holds is entered in its connection's ledger.
    pub(crate) fn new(
        request: Incoming,
        respond: SendResponse<Bytes>,
        digest: Arc<Digest>,
        rules: &RequestRules,
        ledger: Option<Arc<Ledger>>,
    ) -> Self {
        let Incoming { head, body } = request;
        let (made, checked) = incoming_request(head, rules);
        let facts = checked.unwrap_or_default();
        let body_done = body.is_end_stream();
        let mut header = RecycledRequest::default();
        *header.get_mut() = made;
        header.get_mut().set_send_end_stream(body_done);
        let inner = Inner {
            body,
            respond,
            send: None,
            digest,
            alarm: Alarm::new(),
            request: header,
            facts,
            request_read: false,
            fault: checked.err(),
            expected: PayloadLength::declared(facts.length),
            body_done,
            grace: Grace::default(),
            body_read: 0,
            unreleased: 0,
            trailers: None,
            retry_buffer: None,
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
            options: Options::default(),
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

    /// The request's header. It has a `Host`, whichever way the client named it; the URI holds the
    /// authority and the scheme where the client sent `:authority`. Cookies are joined. Of an extended
    /// CONNECT (RFC 8441), the extensions hold the [`Protocol`](pingora_h2::ext::Protocol).
    #[inline]
    pub fn req_header(&self) -> &RequestHeader {
        self.inner.request.get()
    }

    /// The request's header, to be changed.
    #[inline]
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.request.get_mut()
    }

    /// The first value of this field of the request.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.req_header().headers.get(name)
    }

    /// The first value of this field of the request as bytes; empty where there is none.
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

    /// The request's head as HTTP/1 would write it.
    pub fn pseudo_raw_h1_request_header(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        h1::encode_request(self.req_header(), &mut out);
        out.into()
    }

    /// The rule that the request broke, if it broke one.
    pub fn fault(&self) -> Option<Fault> {
        self.inner.fault
    }

    /// Whether the request asks for a tunnel with a protocol of its own (RFC 8441).
    pub fn is_upgrade_req(&self) -> bool {
        self.inner.facts.extended_connect
    }

    /// Whether this response grants the tunnel that was asked for; `None` where none was.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req().then(|| header.status.is_success())
    }

    /// Whether the stream became a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.inner.tunnel
    }

    /// The response's header, once it was written. Informational ones don't count.
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

    /// The facts about the connection, to be added to: for this request alone. Never `None`.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(Arc::make_mut(&mut self.inner.digest))
    }

    /// The client's address; `None` where the transport has none.
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

    /// Time between two pieces of the body. [`BODY_READ_TIMEOUT`] by default; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.read_timeout = timeout;
    }

    /// See [`HttpSession::set_read_timeout`].
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.options.read_timeout
    }

    /// Time in which the client has to take something of the response. 60 s by default; `None`: no
    /// limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    /// The time that a write may take at present: [`HttpSession::set_write_timeout`], or what the
    /// minimum rate allows for what is queued.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        let rate = self.inner.options.min_send_rate;
        write_limit(self.write_timeout, rate, self.inner.out.bytes)
    }

    /// Time in which an unwanted request body has to arrive. 5 s by default; `None`: no limit.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.total_drain_timeout = timeout;
    }

    /// See [`HttpSession::set_total_drain_timeout`].
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.options.total_drain_timeout
    }

    /// The rate at which the client has to take the response, in bytes per second; takes the
    /// place of the write time-out. None by default.
    pub fn set_min_send_rate(&mut self, min_send_rate: Option<usize>) {
        self.inner.options.min_send_rate = min_send_rate;
    }

    /// The most payload that the request may carry, in bytes; more is answered with 413. No limit by
    /// default. To be set before [`HttpSession::read_request`].
    pub fn set_max_body_size(&mut self, limit: Option<u64>) {
        self.inner.options.max_body = limit;
    }

    /// Whether informational responses are dropped instead of passed on. Off by default.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.inner.options.ignore_info_resp = ignore;
    }

    /// Whether a client that resets the stream gives its request up. On by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        self.inner.options.abort_on_close = abort;
    }

    /// The stream's timer, for engines that wait on more than this session.
    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.inner.alarm
    }
}
