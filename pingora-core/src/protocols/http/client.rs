//! The client's side of an exchange, over any protocol.

use super::HttpTask;
use super::custom::ClientSessionCustom;
use super::exchange::{SpliceSink, SpliceSource, TunnelSink, TunnelSource, UpstreamHalf};
use super::v1::client::HttpSession as Http1Session;
use super::v2::client::Http2Session;
use crate::process::memory;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream, UniqueID, UniqueIDType};
use bytes::Bytes;
use http::{HeaderMap, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::future::poll_fn;
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

/// Calls the inner session.
macro_rules! each {
    ($session:expr, $s:ident => $body:expr) => {
        match $session {
            HttpSession::H1($s) => $body,
            HttpSession::H2($s) => $body,
            HttpSession::Custom($s) => $body,
        }
    };
}

impl<S: ClientSessionCustom> HttpSession<S> {
    /// The inner HTTP/1 session.
    pub fn as_http1(&self) -> Option<&Http1Session> {
        match self {
            HttpSession::H1(s) => Some(s),
            _ => None,
        }
    }

    /// The inner HTTP/2 session.
    pub fn as_http2(&self) -> Option<&Http2Session> {
        match self {
            HttpSession::H2(s) => Some(s),
            _ => None,
        }
    }

    /// The inner custom session.
    pub fn as_custom(&self) -> Option<&S> {
        match self {
            HttpSession::Custom(s) => Some(s),
            _ => None,
        }
    }

    /// The inner custom session, mutable.
    pub fn as_custom_mut(&mut self) -> Option<&mut S> {
        match self {
            HttpSession::Custom(s) => Some(s),
            _ => None,
        }
    }

    /// The version of HTTP whose rules the upstream's messages follow.
    pub fn version(&self) -> Version {
        match self {
            HttpSession::H1(_) => Version::HTTP_11,
            HttpSession::H2(_) => Version::HTTP_2,
            HttpSession::Custom(s) => s.version(),
        }
    }

    /// Whether other exchanges use the connection at the same time.
    pub fn is_shared(&self) -> bool {
        match self {
            HttpSession::H1(_) => false,
            HttpSession::H2(s) => s.conn.is_shared(),
            HttpSession::Custom(s) => s.is_shared(),
        }
    }

    /// The number of the connection, usually its descriptor; -1 if it has none.
    pub fn id(&self) -> UniqueIDType {
        match self {
            HttpSession::H1(s) => s.id(),
            HttpSession::H2(s) => s.fd(),
            HttpSession::Custom(s) => s.id(),
        }
    }

    /// Queues a request's head without writing it yet. For engines.
    pub fn queue_request_header(&mut self, req: &RequestHeader) -> Result<()> {
        each!(self, s => s.queue_request_header(req))
    }

    /// Writes a request's head. Returns when it has been sent.
    pub async fn write_request_header(&mut self, req: Box<RequestHeader>) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.write_request_header(req).await.map(|_| ()),
            HttpSession::H2(s) => s.write_request_header(req, false),
            HttpSession::Custom(s) => {
                s.queue_request_header(&req)?;
                flush(s).await
            }
        }
    }

    /// Writes a piece of the request's body. Returns when it has been sent. `end`: it is the last
    /// piece.
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
            HttpSession::Custom(s) => {
                s.queue_body(data)?;
                if end {
                    s.queue_end(None)?;
                }
                flush(s).await
            }
        }
    }

    /// Ends the request.
    pub async fn finish_request_body(&mut self) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.finish_body().await.map(|_| ()),
            HttpSession::H2(s) => s.finish_request_body(),
            HttpSession::Custom(s) => {
                s.queue_end(None)?;
                flush(s).await
            }
        }
    }

    /// The timeout between two reads of the response; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        match self {
            HttpSession::H1(s) => s.read_timeout = timeout,
            HttpSession::H2(s) => s.read_timeout = timeout,
            HttpSession::Custom(s) => s.set_read_timeout(timeout),
        }
    }

    /// The time within which the server has to accept some of the request; `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        match self {
            HttpSession::H1(s) => s.write_timeout = timeout,
            HttpSession::H2(s) => s.write_timeout = timeout,
            HttpSession::Custom(s) => s.set_write_timeout(timeout),
        }
    }

    /// Reads the next head, which may be an informational one.
    pub async fn read_response_header(&mut self) -> Result<()> {
        match self {
            HttpSession::H1(s) => s.read_response().await.map(|_| ()),
            HttpSession::H2(s) => s.read_response_header().await,
            HttpSession::Custom(s) => read_head(s).await,
        }
    }

    /// The next piece of the response's body; `None` at its end. Cancel-safe.
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            HttpSession::H1(s) => s.read_body_bytes().await,
            HttpSession::H2(s) => s.read_response_body().await,
            HttpSession::Custom(s) => read_piece(s).await,
        }
    }

    /// Whether the response's body was read to its end.
    pub fn response_done(&mut self) -> bool {
        match self {
            HttpSession::H1(s) => s.is_body_done(),
            HttpSession::H2(s) => s.response_finished(),
            HttpSession::Custom(s) => s.response_done(),
        }
    }

    /// Abandons the exchange: closes the connection, or resets the stream.
    pub async fn shutdown(&mut self) {
        match self {
            HttpSession::H1(s) => s.shutdown().await,
            HttpSession::H2(s) => s.shutdown(),
            HttpSession::Custom(s) => s.shutdown(),
        }
    }

    /// The response's header, once it was read.
    pub fn response_header(&self) -> Option<&ResponseHeader> {
        match self {
            HttpSession::H1(s) => s.resp_header(),
            HttpSession::H2(s) => s.response_header(),
            HttpSession::Custom(s) => s.response_header(),
        }
    }

    /// The facts about the connection.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            HttpSession::H1(s) => Some(s.digest()),
            HttpSession::H2(s) => s.digest(),
            HttpSession::Custom(s) => s.digest(),
        }
    }

    /// The facts about the connection, mutable. `None` for a connection that other exchanges may
    /// also be using.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        match self {
            HttpSession::H1(s) => Some(s.digest_mut()),
            HttpSession::H2(s) => s.digest_mut(),
            HttpSession::Custom(s) => s.digest_mut(),
        }
    }

    /// The server's address; `None` if the transport has none.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.server_addr())
    }

    /// The local address of the connection.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.client_addr())
    }

    /// The connection, if the exchange has one of its own.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            HttpSession::H1(s) => Some(s.stream()),
            HttpSession::H2(_) => None,
            HttpSession::Custom(s) => s.stream(),
        }
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_received(&self) -> usize {
        each!(self, s => s.body_bytes_received())
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_sent(&self) -> usize {
        each!(self, s => s.body_bytes_sent())
    }
}

impl<S: ClientSessionCustom> UpstreamHalf for HttpSession<S> {
    fn queue_body(&mut self, data: Bytes) -> Result<()> {
        each!(self, s => s.queue_body(data))
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        each!(self, s => s.queue_end(trailers))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        each!(self, s => s.poll_flush(cx))
    }

    fn wants_flush(&self) -> bool {
        each!(self, s => s.wants_flush())
    }

    fn queued(&self) -> usize {
        each!(self, s => s.queued())
    }

    fn is_stalled(&self) -> bool {
        memory::is_short() && self.queued() > 0
    }

    fn count_held(&mut self) {
        each!(self, s => s.count_held())
    }

    fn limit_reads(&mut self, bytes: usize) {
        // Over HTTP/2, the server has been told its window long before.
        match self {
            HttpSession::H1(s) => s.limit_reads(bytes),
            HttpSession::Custom(s) => s.limit_reads(bytes),
            HttpSession::H2(_) => {}
        }
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        match self {
            HttpSession::H1(s) => s.poll_response_task(cx),
            HttpSession::H2(s) => s.poll_response_task(cx),
            HttpSession::Custom(s) => s.poll_task(cx),
        }
    }

    fn has_input(&self) -> bool {
        match self {
            HttpSession::H1(s) => s.has_buffered_input(),
            HttpSession::H2(s) => s.has_buffered_input(),
            HttpSession::Custom(s) => s.has_input(),
        }
    }

    fn splice_source(&mut self) -> Option<SpliceSource<'_>> {
        match self {
            HttpSession::H1(s) => s.splice_source(),
            HttpSession::H2(_) => None,
            HttpSession::Custom(s) => s.splice_source(),
        }
    }

    fn splice_sink(&mut self) -> Option<SpliceSink<'_>> {
        match self {
            HttpSession::H1(s) => s.splice_sink(),
            HttpSession::H2(_) => None,
            HttpSession::Custom(s) => s.splice_sink(),
        }
    }

    fn tunnel_source(&mut self) -> Option<&mut dyn TunnelSource> {
        match self {
            HttpSession::H1(s) => s.tunnel_source(),
            HttpSession::H2(_) | HttpSession::Custom(_) => None,
        }
    }

    fn tunnel_sink(&mut self) -> Option<&mut dyn TunnelSink> {
        match self {
            HttpSession::H1(s) => s.tunnel_sink(),
            HttpSession::H2(_) | HttpSession::Custom(_) => None,
        }
    }
}

async fn flush(session: &mut impl ClientSessionCustom) -> Result<()> {
    poll_fn(|cx| session.poll_flush(cx)).await
}

/// Reads the next head, for callers outside the engine.
async fn read_head(session: &mut impl ClientSessionCustom) -> Result<()> {
    match poll_fn(|cx| session.poll_task(cx)).await? {
        HttpTask::Header(..) => Ok(()),
        HttpTask::Failed(error) => Err(error),
        _ => Error::e_explain(ErrorType::InternalError, "the head was read already"),
    }
}

/// Reads the next piece of a body, for callers outside the engine.
async fn read_piece(session: &mut impl ClientSessionCustom) -> Result<Option<Bytes>> {
    while !session.response_done() {
        match poll_fn(|cx| session.poll_task(cx)).await? {
            HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) => {
                return Ok(Some(data));
            }
            HttpTask::Failed(error) => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}
