//! The end of a sub-request that an application serves.

mod connection;
mod read;
mod write;

#[cfg(test)]
mod tests;

use super::tasks::TaskQueue;
use super::{CHANNEL_PIECES, MOST_NESTED};
use crate::protocols::Digest;
use crate::protocols::http::grace::Grace;
use crate::protocols::http::h1::{self, BodyEncoder};
use crate::protocols::http::session_options::SessionOptions;
use crate::protocols::http::timed::Timed;
use crate::protocols::http::{HttpTask, RecycledRequest};
use crate::protocols::l4::socket::SocketAddr;
use crate::timeout::Alarm;
use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_LENGTH, EXPECT, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use pingora_error::{BError, Error};
use pingora_http::{RequestHeader, ResponseHeader};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The caller's end of a sub-request.
///
/// Dropping it aborts the sub-request at any point. The channels may be taken apart: dropping only
/// `rx` has the same effect.
///
/// [`CallerHalf`](super::CallerHalf) waits on all four channels at once.
#[derive(Debug)]
pub struct SubrequestHandle {
    /// Takes the request's body: [`HttpTask::Body`], then trailers or [`HttpTask::Done`] if no piece
    /// was marked as the last. Dropping it before the end cuts the body short, which is an error;
    /// [`HttpTask::Failed`] states the reason. In a tunnel: [`HttpTask::UpgradedBody`], until one that
    /// is the last, or until it is dropped. Bounded: sending waits for the sub-request.
    pub tx: mpsc::Sender<HttpTask>,
    /// Yields the response: its head, its body, its end, like an upstream's. If the channel closes
    /// before a piece that [is the end](HttpTask::is_end), the response is incomplete. Bounded: the
    /// sub-request waits for the reader.
    pub rx: mpsc::Receiver<HttpTask>,
    /// Signals once that the sub-request wants its body: it has been connected to an upstream, or a
    /// phase reads it. Closes without a message if the sub-request ends without having wanted it.
    pub subreq_wants_body: oneshot::Receiver<()>,
    /// Yields the reason if the sub-request failed. Closes without a message otherwise.
    pub subreq_proxy_error: oneshot::Receiver<Box<Error>>,
}

impl SubrequestHandle {
    /// Reads the response to its end and drops it, in a task of its own: for a sub-request whose
    /// response is not needed. No more of the body is sent.
    ///
    /// # Panics
    /// When called outside of a tokio runtime.
    pub fn drain_tasks(self) -> JoinHandle<()> {
        let SubrequestHandle { tx, mut rx, .. } = self;
        drop(tx);
        tokio::spawn(async move { while rx.recv().await.is_some() {} })
    }
}

/// Whether more of the request's body is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// The head has not been examined yet and may still be changed.
    Undecided,
    /// More is to come.
    Open,
    /// There is none, or its end was read.
    Done,
}

/// A request that came from within the process, and its response.
///
/// It is served like the session of a connection: [`read_request`](Self::read_request), which never
/// waits, then the body and the response in any order. There is no connection behind it that could be
/// kept; facts about the client's connection (addresses, TLS) are those of the request that spawned
/// this one.
#[derive(Debug)]
pub struct HttpSession {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    alarm: Alarm,
    digest: Digest,
    nested: u8,

    request: RecycledRequest,
    request_read: bool,
    upgrade: bool,
    /// The client behind the caller waits for a 100 Continue before it sends its body (RFC 9110
    /// section 10.1.1).
    continue_owed: bool,
    /// Whether the caller announced a body; `None`: the head decides.
    expects_body: Option<bool>,
    has_body: bool,
    incoming: Incoming,
    tasks: mpsc::Receiver<HttpTask>,
    wants_body: Option<oneshot::Sender<()>>,
    /// Counts the body against its declared length.
    declared: BodyEncoder,
    /// The end of a body that is otherwise complete.
    grace: Grace,
    body_read: usize,
    trailers: Option<Box<HeaderMap>>,

    response: Option<Box<ResponseHeader>>,
    out: TaskQueue,
    /// Counts the response's body against its declared length.
    encoder: BodyEncoder,
    /// A piece marked as the last was queued.
    ended: bool,
    body_sent: usize,
    upgraded: bool,
    /// The response will not be completed any more.
    broken: bool,
    failure: Option<oneshot::Sender<BError>>,

    options: SessionOptions,
}

/// The state that a sub-request inherits from the request that spawns it.
pub(crate) struct Parent<'a> {
    /// Copied: it becomes the head of the sub-request.
    pub(crate) request: &'a RequestHeader,
    pub(crate) digest: Option<&'a Digest>,
    /// The nesting depth of the parent; 0 for a client's request.
    pub(crate) nested: u8,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) total_drain_timeout: Option<Duration>,
}

impl Timed for Inner {
    fn timer(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl HttpSession {
    /// A sub-request of `parent`; see [`HttpSession::new_from_session`].
    pub(crate) fn begin(parent: Parent<'_>) -> (Self, SubrequestHandle) {
        let (body_sender, tasks) = mpsc::channel(CHANNEL_PIECES);
        let (response, response_receiver) = mpsc::channel(CHANNEL_PIECES);
        let (wants_body, subreq_wants_body) = oneshot::channel();
        let (failure, subreq_proxy_error) = oneshot::channel();
        let inner = Inner {
            alarm: Alarm::new(),
            digest: parent.digest.cloned().unwrap_or_default(),
            nested: parent.nested.saturating_add(1),
            request: RecycledRequest::copy_of(parent.request),
            request_read: false,
            upgrade: false,
            continue_owed: false,
            expects_body: None,
            has_body: false,
            incoming: Incoming::Undecided,
            tasks,
            wants_body: Some(wants_body),
            declared: BodyEncoder::default(),
            grace: Grace::default(),
            body_read: 0,
            trailers: None,
            response: None,
            out: TaskQueue::new(response),
            encoder: BodyEncoder::default(),
            ended: false,
            body_sent: 0,
            upgraded: false,
            broken: false,
            failure: Some(failure),
            options: SessionOptions {
                read_timeout: parent.read_timeout,
                write_timeout: parent.write_timeout,
                total_drain_timeout: parent.total_drain_timeout,
                ..SessionOptions::default()
            },
        };
        let handle = SubrequestHandle {
            tx: body_sender,
            rx: response_receiver,
            subreq_wants_body,
            subreq_proxy_error,
        };
        let inner = Box::new(inner);
        (HttpSession { inner }, handle)
    }

    /// The nesting depth of this sub-request: 1 if a client's request has spawned it.
    pub fn nested(&self) -> u8 {
        self.inner.nested
    }

    /// Whether a sub-request of this one would be refused; see [`MOST_NESTED`].
    pub fn is_nested_deepest(&self) -> bool {
        self.inner.nested >= MOST_NESTED
    }

    /// Removes the fields that announce a body from the head: none will be read.
    pub fn clear_request_body_headers(&mut self) {
        self.inner.expects_body = Some(false);
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, TRAILER] {
            self.req_header_mut().remove_header(&name);
        }
    }

    /// Reads a body even if the head does not announce one; its length is unknown in that case. The
    /// caller has to end it.
    pub fn expect_request_body(&mut self) {
        self.inner.expects_body = Some(true);
    }

    /// The request's header.
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
        format!(
            "{} {}, Host: {} (sub-request)",
            request.method,
            String::from_utf8_lossy(request.raw_path()),
            String::from_utf8_lossy(self.get_header_bytes(http::header::HOST))
        )
    }

    /// The head in HTTP/1 syntax.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        h1::encode_request(self.req_header(), &mut out);
        out.into()
    }

    /// Whether the request asks for an upgrade of the protocol, in a well-formed way.
    pub fn is_upgrade_req(&self) -> bool {
        self.inner.upgrade
    }

    /// Whether this response grants the requested upgrade; `None` if none was requested.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req()
            .then(|| header.status == http::StatusCode::SWITCHING_PROTOCOLS)
    }

    /// Whether the sub-request became a tunnel.
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

    /// The facts about the client's connection at the time when this sub-request was created.
    pub fn digest(&self) -> Option<&Digest> {
        Some(&self.inner.digest)
    }

    /// See [`HttpSession::digest`]. Only this sub-request sees what is added.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.inner.digest)
    }

    /// The client's address; `None` if its transport has none.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.peer_addr()
    }

    /// The address that the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.digest.socket_digest.as_ref()?.local_addr()
    }

    /// The timeout between two pieces of the request's body; `None`: no limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.read_timeout = timeout;
    }

    /// See [`HttpSession::set_read_timeout`].
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.options.read_timeout
    }

    /// The time within which the caller has to accept some of the response; `None`: no limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.write_timeout = timeout;
    }

    /// See [`HttpSession::set_write_timeout`].
    pub fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.options.write_timeout
    }

    /// The time limit of [`HttpSession::drain_request_body`]; `None`: no limit.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.options.total_drain_timeout = timeout;
    }

    /// See [`HttpSession::set_total_drain_timeout`].
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.options.total_drain_timeout
    }

    /// Whether informational responses are dropped instead of forwarded. Off by default.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.inner.options.ignore_info_resp = ignore;
    }

    /// Whether dropping the caller's handle aborts the sub-request. On by default. If it is off,
    /// the response is still lost when it is written.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        self.inner.options.abort_on_close = abort;
    }

    /// Whether tasks may be queued with [`HttpSession::send_proxy_task`]. On by default.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.inner.options.proxy_tasks
    }

    /// See [`HttpSession::proxy_tasks_enabled`].
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.inner.options.proxy_tasks = enabled;
    }

    /// The sub-request's timer, for engines that wait on more than this session.
    pub fn alarm(&mut self) -> &mut Alarm {
        &mut self.inner.alarm
    }

    /// Tells the caller why the sub-request fails. Only the first reason counts.
    pub fn on_proxy_failure(&mut self, e: Box<Error>) {
        if let Some(failure) = self.inner.failure.take() {
            // A caller that does not listen is not interested.
            let _ = failure.send(e);
        }
    }
}
