//! The client's side of an HTTP/1 connection: writes requests, reads responses.

mod options;
mod receive;
mod send;
mod splice;
mod tunnel;

#[cfg(test)]
mod tests;

pub use options::{ClientOptions, HasClientOptions};
pub use send::http_req_header_to_wire;

use super::input::Input;
use super::output::OutQueue;
use super::timed::Timed;
use crate::process::memory::Held;
use crate::protocols::http::h1::{
    BodyDecoder, BodyEncoder, HeadLimits, Nominated, ResponseContext,
};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream, UniqueID, UniqueIDType};
use crate::timeout::Alarm;
use bytes::Bytes;
use http::HeaderValue;
use http::header::AsHeaderName;
use pingora_http::ResponseHeader;
use std::time::Duration;

/// One connection to a server, and the current request on it.
///
/// ```text
/// write_request_header ── write_body ── finish_body
///          └───── read_response (1xx*, final) ── read_body ── reuse
/// ```
///
/// A response may begin, and even end, before the request is complete.
///
/// For an engine that waits on several things at once: `queue_*` accepts a piece completely and never
/// waits; `poll_flush` and `poll_response_task` wait, and may be dropped at any point.
#[derive(Debug)]
pub struct HttpSession {
    /// The timeout between two reads of the response; `None`: no limit. If a connector made the session,
    /// that of the peer; otherwise none.
    pub read_timeout: Option<Duration>,
    /// The time within which the server has to accept some of the request; `None` (the default): no
    /// limit.
    pub write_timeout: Option<Duration>,
    inner: Box<Inner>,
}

/// The key and the runtime of a connection, for its pool: set once, instead of being determined again after each
/// exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolTag {
    /// The hash of the peer that the connection was made for.
    pub(crate) pool_key: u64,
    /// The runtime that its socket is registered with.
    pub(crate) runtime: Option<tokio::runtime::Id>,
}

#[derive(Debug)]
struct Inner {
    io: Stream,
    pool_tag: Option<PoolTag>,
    input: Input,
    out: OutQueue,
    alarm: Alarm,
    digest: Digest,
    limits: HeadLimits,
    allow_unsound_length: bool,

    context: ResponseContext,
    request_sent: bool,
    /// The request itself asks for the connection to be closed.
    request_closes: bool,
    encoder: BodyEncoder,
    body_sent: usize,

    response: Option<Box<ResponseHeader>>,
    /// Anything was received in answer, even if only an informational response.
    answered: bool,
    /// The final head was handed out.
    head_received: bool,
    keep_alive: bool,
    upgraded: bool,
    decoder: BodyDecoder,
    body_received: usize,
    trailers: Option<Box<http::HeaderMap>>,
    /// Of a chunked response.
    nominated: Nominated,
    /// The end of the response was handed out.
    done: bool,
    /// Writing failed, or the write side was closed; the response may still be worth reading.
    write_closed: bool,
    broken: bool,
    close_after_flush: bool,
    held: Held,
    /// The connection held most of the memory while it was scarce.
    given_up: bool,
    /// The size of the response's head in bytes, if it is large enough to be counted.
    large_head: u32,
}

impl Timed for Inner {
    fn timer(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl HttpSession {
    /// Takes over an idle connection.
    pub fn new(stream: Stream) -> Self {
        let digest = Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        };
        let inner = Inner {
            io: stream,
            pool_tag: None,
            input: Input::default(),
            out: OutQueue::default(),
            alarm: Alarm::new(),
            digest,
            limits: HeadLimits::default(),
            allow_unsound_length: false,
            context: ResponseContext::default(),
            request_sent: false,
            request_closes: false,
            encoder: BodyEncoder::default(),
            body_sent: 0,
            response: None,
            answered: false,
            head_received: false,
            keep_alive: false,
            upgraded: false,
            decoder: BodyDecoder::default(),
            body_received: 0,
            trailers: None,
            nominated: Nominated::default(),
            done: false,
            write_closed: false,
            broken: false,
            close_after_flush: false,
            held: Held::default(),
            given_up: false,
            large_head: 0,
        };
        HttpSession {
            read_timeout: None,
            write_timeout: None,
            inner: Box::new(inner),
        }
    }

    /// [`HttpSession::new`] with the timeouts of a peer's options.
    pub fn new_with_options<P: HasClientOptions>(stream: Stream, peer: &P) -> Self {
        let mut session = Self::new(stream);
        session.apply_options(peer);
        session
    }

    /// Applies the timeouts of a peer's options.
    pub fn apply_options<P: HasClientOptions>(&mut self, peer: &P) {
        let options = peer.client_options();
        self.read_timeout = options.read_timeout;
        self.write_timeout = options.write_timeout;
        self.inner.allow_unsound_length = options.allow_invalid_content_length;
    }

    /// The response's header, once it was read. The most recent one: an informational one until the
    /// final one arrives.
    pub fn resp_header(&self) -> Option<&ResponseHeader> {
        self.inner.response.as_deref()
    }

    /// The first value of this field of the response.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.resp_header()?.headers.get(name)
    }

    /// The first value of this field of the response as bytes; empty if there is none.
    pub fn get_header_bytes(&self, name: impl AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", HeaderValue::as_bytes)
    }

    /// The response's status, once its header was read.
    pub fn get_status(&self) -> Option<http::StatusCode> {
        Some(self.resp_header()?.status)
    }

    /// The response's head as received; empty before it was read.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        if let Some(header) = self.resp_header() {
            crate::protocols::http::h1::encode_response(header, &mut out);
        }
        out.into()
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_received(&self) -> usize {
        self.inner.body_received
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_sent(&self) -> usize {
        self.inner.body_sent
    }

    /// Whether the request that was sent asked for an upgrade of the protocol.
    pub fn is_upgrade_req(&self) -> bool {
        self.inner.context.upgrade_requested
    }

    /// Whether the connection became a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.inner.upgraded
    }

    /// Does nothing: the writer follows the response automatically. Kept for compatibility.
    pub fn maybe_upgrade_body_writer(&mut self) {}

    /// Whether a response with an invalid `Content-Length` is treated as delimited by the end of the
    /// connection instead of being refused. Off by default.
    pub fn set_allow_h1_response_invalid_content_length(&mut self, allow: bool) {
        self.inner.allow_unsound_length = allow;
    }

    /// Lets the response decide whether the connection persists. It always does; kept for
    /// compatibility.
    pub fn respect_keepalive(&mut self) {}

    /// Whether the connection may carry another request once this one is complete, as far as is
    /// known so far.
    pub fn will_keepalive(&self) -> bool {
        let inner = &self.inner;
        inner.keep_alive
            && !inner.request_closes
            && !inner.broken
            && !inner.write_closed
            && !inner.upgraded
    }

    /// The facts about the connection.
    pub fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    /// The facts about the connection, mutable.
    pub fn digest_mut(&mut self) -> &mut Digest {
        &mut self.inner.digest
    }

    /// The server's address; `None` if the transport has none.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.peer_addr()
    }

    /// The local address of the connection.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.local_addr()
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        &self.inner.io
    }

    /// Takes the connection out. Bytes that were read and not consumed are lost.
    pub fn into_inner(self) -> Stream {
        self.inner.io
    }

    /// Whether the exchange is complete in both directions and the connection fit for another.
    pub fn is_reusable(&self) -> bool {
        let inner = &self.inner;
        self.will_keepalive()
            && inner.head_received
            && inner.done
            && inner.encoder.is_done()
            && inner.out.is_empty()
            && inner.input.is_empty()
    }

    /// Ends the current exchange. Returns a fresh session if the connection may carry another
    /// exchange: the request and the response are complete, there was no error, and no surplus
    /// byte.
    pub fn renew(mut self) -> Option<HttpSession> {
        if !self.is_reusable() {
            return None;
        }
        let inner = &mut *self.inner;
        inner.context = ResponseContext::default();
        inner.request_sent = false;
        inner.encoder = BodyEncoder::default();
        inner.body_sent = 0;
        inner.response = None;
        inner.answered = false;
        inner.head_received = false;
        inner.keep_alive = false;
        inner.decoder = BodyDecoder::default();
        inner.body_received = 0;
        inner.trailers = None;
        inner.nominated = Nominated::default();
        inner.done = false;
        inner.large_head = 0;
        inner.held.forget();
        Some(self)
    }

    /// Ends the current exchange. Returns the connection if it may carry another one; closes it
    /// otherwise.
    pub async fn reuse(mut self) -> Option<Stream> {
        if self.is_reusable() {
            return Some(self.inner.io);
        }
        self.shutdown().await;
        None
    }

    /// Closes the connection.
    pub async fn shutdown(&mut self) {
        self.inner.broken = true;
        self.inner.out.clear();
        crate::protocols::Shutdown::shutdown(&mut *self.inner.io).await;
    }

    /// The tag of the connection, if the connector that made it has set it.
    pub(crate) fn pool_tag(&self) -> Option<PoolTag> {
        self.inner.pool_tag
    }

    pub(crate) fn set_pool_tag(&mut self, pool_tag: PoolTag) {
        self.inner.pool_tag = Some(pool_tag);
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.inner.io
    }
}

impl UniqueID for HttpSession {
    fn id(&self) -> UniqueIDType {
        self.inner.io.id()
    }
}
