//! The client's side of an exchange, over any protocol.

use super::HttpTask;
use super::exchange::{SpliceSink, SpliceSource, UpstreamHalf};
use super::v1::client::HttpSession as Http1Session;
use super::v2::client::Http2Session;
use crate::process::memory;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::task::{Context, Poll};
use std::time::Duration;

/// One request and its response, seen from the client. `S` is a session over a protocol of the
/// user's own.
#[derive(Debug)]
pub enum HttpSession<S = ()> {
    /// Over HTTP/1.
    H1(Http1Session),
    /// Over a stream of HTTP/2.
    H2(Http2Session),
    /// Over a protocol of the user's own.
    Custom(S),
}

#[cold]
fn not_built() -> BError {
    Error::explain(
        ErrorType::InternalError,
        "custom sessions are not built yet",
    )
    .into_in()
}

/// Calls the session within; `else` stands for a custom one, which nothing can be done with yet.
macro_rules! each {
    ($session:expr, $s:ident => $body:expr, else $other:expr) => {
        match $session {
            HttpSession::H1($s) => $body,
            HttpSession::H2($s) => $body,
            HttpSession::Custom(_) => $other,
        }
    };
}

impl<S> HttpSession<S> {
    /// The HTTP/1 session within.
    pub fn as_http1(&self) -> Option<&Http1Session> {
        match self {
            HttpSession::H1(s) => Some(s),
            _ => None,
        }
    }

    /// The HTTP/2 session within.
    pub fn as_http2(&self) -> Option<&Http2Session> {
        match self {
            HttpSession::H2(s) => Some(s),
            _ => None,
        }
    }

    /// The custom session within.
    pub fn as_custom(&self) -> Option<&S> {
        match self {
            HttpSession::Custom(s) => Some(s),
            _ => None,
        }
    }

    /// The custom session within, to be changed.
    pub fn as_custom_mut(&mut self) -> Option<&mut S> {
        match self {
            HttpSession::Custom(s) => Some(s),
            _ => None,
        }
    }

    /// Queues a request's head without writing it yet. For engines.
    pub fn queue_request_header(&mut self, req: &RequestHeader) -> Result<()> {
        each!(self, s => s.queue_request_header(req), else Err(not_built()))
    }

    /// Writes a request's head and returns when it has left.
    pub async fn write_request_header(&mut self, req: Box<RequestHeader>) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.write_request_header(req).await.map(|_| ()),
            HttpSession::H2(s) => s.write_request_header(req, false),
            HttpSession::Custom(_) => Err(not_built()),
        }
    }

    /// Writes a piece of the request's body and returns when it has left; `end` says that it is the
    /// last.
    pub async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        match self {
            HttpSession::H1(s) => {
                s.write_body_bytes(data).await?;
                if end {
                    s.finish_body().await?;
                }
                Ok(())
            }
            HttpSession::H2(s) => s.write_request_body(data, end).await,
            HttpSession::Custom(_) => Err(not_built()),
        }
    }

    /// Ends the request.
    pub async fn finish_request_body(&mut self) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.finish_body().await.map(|_| ()),
            HttpSession::H2(s) => s.finish_request_body(),
            HttpSession::Custom(_) => Err(not_built()),
        }
    }

    /// Time between two reads of the response; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.read_timeout = timeout, else ())
    }

    /// Time in which the server has to take something of the request; `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.write_timeout = timeout, else ())
    }

    /// Reads the next head, which may be an informational one.
    pub async fn read_response_header(&mut self) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.read_response().await.map(|_| ()),
            HttpSession::H2(s) => s.read_response_header().await,
            HttpSession::Custom(_) => Err(not_built()),
        }
    }

    /// The next piece of the response's body; `None` at its end. Cancel-safe.
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            HttpSession::H1(s) => s.read_body_bytes().await,
            HttpSession::H2(s) => s.read_response_body().await,
            HttpSession::Custom(_) => Err(not_built()),
        }
    }

    /// Whether the response's body was read to its end.
    pub fn response_done(&mut self) -> bool {
        match self {
            HttpSession::H1(s) => s.is_body_done(),
            HttpSession::H2(s) => s.response_finished(),
            HttpSession::Custom(_) => true,
        }
    }

    /// Gives the exchange up: closes the connection, or resets the stream.
    pub async fn shutdown(&mut self) {
        match self {
            HttpSession::H1(s) => s.shutdown().await,
            HttpSession::H2(s) => s.shutdown(),
            HttpSession::Custom(_) => {}
        }
    }

    /// The response's header, once it was read.
    pub fn response_header(&self) -> Option<&ResponseHeader> {
        match self {
            HttpSession::H1(s) => s.resp_header(),
            HttpSession::H2(s) => s.response_header(),
            HttpSession::Custom(_) => None,
        }
    }

    /// What is known about the connection.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            HttpSession::H1(s) => Some(s.digest()),
            HttpSession::H2(s) => s.digest(),
            HttpSession::Custom(_) => None,
        }
    }

    /// What is known about the connection, to be added to. `None` for a connection that others may
    /// be using too.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        match self {
            HttpSession::H1(s) => Some(s.digest_mut()),
            HttpSession::H2(s) => s.digest_mut(),
            HttpSession::Custom(_) => None,
        }
    }

    /// The server's address; `None` where the transport has none.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.server_addr(), else None)
    }

    /// The address that we connected from.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.client_addr(), else None)
    }

    /// The connection, where the exchange has one of its own.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            HttpSession::H1(s) => Some(s.stream()),
            HttpSession::H2(_) | HttpSession::Custom(_) => None,
        }
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_received(&self) -> usize {
        each!(self, s => s.body_bytes_received(), else 0)
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_sent(&self) -> usize {
        each!(self, s => s.body_bytes_sent(), else 0)
    }
}

impl<S> UpstreamHalf for HttpSession<S> {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        each!(self, s => s.queue_body(data), else Err(not_built()))
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        each!(self, s => s.queue_end(trailers), else Err(not_built()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        each!(self, s => s.poll_flush(cx), else Poll::Ready(Err(not_built())))
    }

    fn wants_flush(&self) -> bool {
        each!(self, s => s.wants_flush(), else false)
    }

    fn queued(&self) -> usize {
        each!(self, s => s.queued(), else 0)
    }

    fn is_stalled(&self) -> bool {
        memory::is_short() && self.queued() > 0
    }

    fn count_held(&mut self) {
        each!(self, s => s.count_held(), else ())
    }

    fn limit_reads(&mut self, bytes: usize) {
        // Over HTTP/2 the server was told how much it may send long before.
        if let HttpSession::H1(s) = self {
            s.limit_reads(bytes);
        }
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        each!(self, s => s.poll_response_task(cx), else Poll::Ready(Err(not_built())))
    }

    fn has_input(&self) -> bool {
        each!(self, s => s.has_buffered_input(), else false)
    }

    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        match self {
            HttpSession::H1(s) => s.splice_source(),
            HttpSession::H2(_) | HttpSession::Custom(_) => None,
        }
    }

    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        match self {
            HttpSession::H1(s) => s.splice_sink(),
            HttpSession::H2(_) | HttpSession::Custom(_) => None,
        }
    }
}
