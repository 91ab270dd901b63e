//! The upstream side.

use crate::protocols::http::HttpTask;
use crate::protocols::http::exchange::UpstreamHalf;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream, UniqueIDType};
use bytes::Bytes;
use http::{HeaderMap, Version};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::fmt::Debug;
use std::task::{Context, Poll};
use std::time::Duration;

/// One request and its response over a custom protocol, seen from the client.
///
/// ```text
/// goes out    queue_request_header, queue_body, queue_end, poll_flush   the request
/// comes in    poll_task                                                the response
/// is asked    response_header, response_done, digest
/// then        into_next, poll_idle                  the connection waits in a pool, or
///             shutdown                              the exchange is given up
/// ```
pub trait ClientSessionCustom: UpstreamHalf + Debug + Send + Sync + Unpin + 'static {
    /// The version of HTTP whose rules its messages follow. It determines whether there are
    /// connection-specific fields, and upgrades.
    fn version(&self) -> Version {
        Version::HTTP_11
    }

    /// Queues a request's head completely.
    ///
    /// # Errors
    /// The protocol can't carry it.
    fn queue_request_header(&mut self, req: &RequestHeader) -> Result<()>;

    /// The response's header, once [`poll_task`](UpstreamHalf::poll_task) has returned it.
    fn response_header(&self) -> Option<&ResponseHeader>;

    /// Whether the response was read to its end.
    fn response_done(&mut self) -> bool;

    /// Abandons the exchange.
    fn shutdown(&mut self);

    /// The session for the connection's next exchange; `None` if the connection can't be reused.
    fn into_next(self) -> Option<Self>
    where
        Self: Sized;

    /// Checks, without waiting, whether something happened while the session waits for its next
    /// exchange, and arranges for a wake-up when something does. Ready: the connection is closed, or
    /// has received unrequested data, and must not be used any more.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether other exchanges use the connection at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// The timeout between two reads of the response, for callers outside the engine; `None`: no
    /// limit.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    /// The time within which the server has to accept some data, for callers outside the engine;
    /// `None`: no limit.
    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    /// Payload bytes of the response so far.
    fn body_bytes_received(&self) -> usize;

    /// Payload bytes of the request so far.
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

    /// The number of the connection, usually its descriptor; -1 if it has none.
    fn id(&self) -> UniqueIDType {
        -1
    }

    /// The server's address; `None` if the transport has none.
    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.peer_addr()
    }

    /// The local address of the connection.
    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.local_addr()
    }
}

#[cold]
fn none() -> BError {
    let context = "there is no session over a protocol of one's own";
    Error::explain(ErrorType::InternalError, context).into_in()
}

/// A placeholder session where no custom protocol exists: no exchange ever has one.
impl UpstreamHalf for () {
    fn queue_body(&mut self, _data: Bytes) -> Result<()> {
        Err(none())
    }

    fn queue_end(&mut self, _trailers: Option<&HeaderMap>) -> Result<()> {
        Err(none())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Err(none()))
    }

    fn wants_flush(&self) -> bool {
        false
    }

    fn queued(&self) -> usize {
        0
    }

    fn poll_task(&mut self, _cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        Poll::Ready(Err(none()))
    }

    fn has_input(&self) -> bool {
        false
    }
}

impl ClientSessionCustom for () {
    fn queue_request_header(&mut self, _req: &RequestHeader) -> Result<()> {
        Err(none())
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        None
    }

    fn response_done(&mut self) -> bool {
        true
    }

    fn shutdown(&mut self) {}

    fn into_next(self) -> Option<Self> {
        None
    }

    fn poll_idle(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn body_bytes_received(&self) -> usize {
        0
    }

    fn body_bytes_sent(&self) -> usize {
        0
    }
}
