//! The client's side of HTTP/2: exchanges as streams of a shared connection.
//!
//! | file | content |
//! |---|---|
//! | `send`, `receive` | one exchange: the request, the response |
//! | `connection`, `activity` | the connection: whether another stream may be opened, how busy it is |
//! | `drive` | the connection's task: frames, PINGs, the end |

mod activity;
mod connection;
mod drive;
mod faults;
mod receive;
mod send;

pub(crate) use activity::Activity;
pub use connection::ConnectionRef;
pub(crate) use connection::{MOST_BEFORE_SETTINGS, Reserved};
pub(crate) use drive::Driver;
pub use drive::drive_connection;

use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, UniqueID, UniqueIDType};
use bytes::Bytes;
use faults::ExchangeStage;
use pingora_error::ErrorType;
use pingora_h2::client::SendRequest;
use pingora_h2::{Reason, SendStream};
use pingora_http::{RequestHeader, ResponseHeader};
use receive::Receiving;
use send::Sending;
use std::fmt;
use std::time::Duration;

/// The connection was abandoned because the server did not answer a PING.
pub const PING_TIMEDOUT: ErrorType = ErrorType::Custom("PingTimedout");

/// One exchange: a stream of a connection to a server.
///
/// ```text
/// write_request_header ── write_request_body ── finish_request_body
///          └───── read_response_header (1xx*, final) ── read_response_body ── read_trailers
/// ```
///
/// `queue_*` accepts a piece completely and never waits; `poll_flush` and `poll_response_task` wait, and
/// may be dropped at any point. A response may begin, and even end, before the request is complete.
/// Dropping a session whose exchange is incomplete resets its stream (CANCEL); the connection continues.
pub struct Http2Session {
    /// The timeout between two reads of the response; `None`: no limit. If a connector made the session,
    /// that of the peer; otherwise none.
    pub read_timeout: Option<Duration>,
    /// The time within which the server has to accept some of the request; `None` (the default): no
    /// limit.
    pub write_timeout: Option<Duration>,
    /// The connection that this exchange shares with others.
    pub conn: ConnectionRef,
    inner: Box<Inner>,
}

struct Inner {
    send_request: SendRequest<Bytes>,
    sending: Sending,
    stream: Option<SendStream<Bytes>>,
    receiving: Receiving,
    /// Anything was received in answer, even if only an informational response.
    answered: bool,
    request_header: Option<Box<RequestHeader>>,
    response_header: Option<Box<ResponseHeader>>,
    body_sent: usize,
    body_received: usize,
}

impl Inner {
    fn progress(&self) -> ExchangeStage {
        match self.stream {
            _ if self.answered => ExchangeStage::Answered,
            Some(_) => ExchangeStage::Unanswered,
            None => ExchangeStage::Unsent,
        }
    }

    /// Resets the stream, whatever is still to come.
    fn reset(&mut self, reason: Reason) {
        self.sending.close();
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
    }

    fn is_complete(&self) -> bool {
        self.receiving.is_done() && self.sending.is_ended()
    }
}

impl Http2Session {
    /// A session in a slot that was reserved on the connection.
    fn new(conn: ConnectionRef, send_request: SendRequest<Bytes>) -> Self {
        let inner = Inner {
            send_request,
            sending: Sending::default(),
            stream: None,
            receiving: Receiving::default(),
            answered: false,
            request_header: None,
            response_header: None,
            body_sent: 0,
            body_received: 0,
        };
        Http2Session {
            read_timeout: None,
            write_timeout: None,
            conn,
            inner: Box::new(inner),
        }
    }

    /// The request's header, if it was passed to
    /// [`write_request_header`](Self::write_request_header).
    pub fn request_header(&self) -> Option<&RequestHeader> {
        self.inner.request_header.as_deref()
    }

    /// The response's header, once it was read. The most recent one: an informational one until the
    /// final one arrives.
    pub fn response_header(&self) -> Option<&ResponseHeader> {
        self.inner.response_header.as_deref()
    }

    /// Whether the response was read to its end, trailers included.
    pub fn response_finished(&self) -> bool {
        self.inner.receiving.is_done()
    }

    /// Payload bytes of the response so far.
    pub fn body_bytes_received(&self) -> usize {
        self.inner.body_received
    }

    /// Payload bytes of the request so far.
    pub fn body_bytes_sent(&self) -> usize {
        self.inner.body_sent
    }

    /// Abandons the exchange: resets its stream (CANCEL), unless it is complete. The connection
    /// continues.
    pub fn shutdown(&mut self) {
        if !self.inner.is_complete() {
            self.inner.reset(Reason::CANCEL);
        }
    }

    /// The facts about the connection.
    pub fn digest(&self) -> Option<&Digest> {
        Some(self.conn.digest())
    }

    /// The facts about the connection, mutable: `None` while others share it, which is nearly
    /// always.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.conn.digest_mut()
    }

    /// The server's address; `None` if the transport has none.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.conn.digest().socket_digest.as_ref()?.peer_addr()
    }

    /// The local address of the connection.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.conn.digest().socket_digest.as_ref()?.local_addr()
    }

    /// The file descriptor of the connection, or an equivalent number.
    pub fn fd(&self) -> UniqueIDType {
        self.conn.id()
    }
}

impl UniqueID for Http2Session {
    fn id(&self) -> UniqueIDType {
        self.conn.id()
    }
}

impl Drop for Http2Session {
    fn drop(&mut self) {
        self.shutdown();
        self.conn.release_stream();
    }
}

impl fmt::Debug for Http2Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Session")
            .field("conn", &self.conn)
            .field(
                "stream",
                &self.inner.stream.as_ref().map(SendStream::stream_id),
            )
            .finish_non_exhaustive()
    }
}
