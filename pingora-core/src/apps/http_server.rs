//! Applications that speak HTTP: from a connection to one session per request.

pub use crate::process::is_shutting_down;

use super::{ServerApp, http2_server};
use crate::process::ShutdownWatch;
use crate::process::drain::quiet_time;
use crate::protocols::http::h1::RequestRules;
use crate::protocols::http::v1::server::HttpSession as SessionV1;
use crate::protocols::http::v2::server::{H2Limits, H2Options, PREFACE};
use crate::protocols::http::{ReusableHttpStream, ServerSession};
use crate::protocols::{ALPN, Stream};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection of HTTP/2 without streams stays open, where nobody says otherwise.
const H2_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How an HTTP application treats its connections.
#[derive(Debug, Clone)]
pub struct HttpServerOptions {
    /// Whether HTTP/2 without TLS is spoken with clients that begin with it (RFC 9113 section 3.3), on
    /// the same endpoints as HTTP/1. Off by default. Over TLS, the handshake decides.
    pub h2c: bool,
    /// Whether CONNECT requests are let through; otherwise they are answered with 405. Off by
    /// default.
    pub allow_connect_method_proxying: bool,
    /// How many requests one connection may carry; `None` (the default): any number. A connection of
    /// HTTP/2 is said goodbye to (GOAWAY) then, and streams that the client opens before it knows are
    /// served.
    pub keepalive_request_limit: Option<u32>,
    /// How long a connection of HTTP/2 without streams stays open: that long at least, and closed
    /// before twice that time has passed. One with streams whose client is silent that long is pinged,
    /// and given up after the same time without an answer. 60 s by default; `None`: no limit, no pings.
    pub h2_idle_timeout: Option<Duration>,
    rules: RequestRules,
    header_timeout: Option<Duration>,
    max_body_size: Option<u64>,
    h2_limits: H2Limits,
}

impl Default for HttpServerOptions {
    fn default() -> Self {
        HttpServerOptions {
            h2c: false,
            allow_connect_method_proxying: false,
            keepalive_request_limit: None,
            h2_idle_timeout: Some(H2_IDLE_TIMEOUT),
            rules: RequestRules::default(),
            header_timeout: Some(crate::protocols::http::v1::server::HEADER_TIMEOUT),
            max_body_size: None,
            h2_limits: H2Limits::default(),
        }
    }
}

impl HttpServerOptions {
    /// What request heads must keep to: sizes, and what is tolerated.
    pub fn set_request_rules(&mut self, rules: RequestRules) {
        self.rules = rules;
    }

    /// Time for a request's head, from its first byte to its last; also how long a new connection
    /// may stay silent. 60 s by default; `None`: no limit.
    pub fn set_header_timeout(&mut self, timeout: Option<Duration>) {
        self.header_timeout = timeout;
    }

    /// The most payload that a request may carry, in bytes; more is answered with 413. No limit by
    /// default.
    pub fn set_max_body_size(&mut self, limit: Option<u64>) {
        self.max_body_size = limit;
    }

    /// How much a client may do to a connection of HTTP/2. These limits hold over the options that
    /// [`HttpServerApp::h2_options`] returns.
    pub fn set_h2_limits(&mut self, limits: H2Limits) {
        self.h2_limits = limits;
    }

    pub(super) fn h2_limits(&self) -> &H2Limits {
        &self.h2_limits
    }

    pub(super) fn header_timeout(&self) -> Option<Duration> {
        self.header_timeout
    }

    pub(super) fn max_body_size(&self) -> Option<u64> {
        self.max_body_size
    }

    /// What request heads must keep to.
    pub(super) fn request_rules(&self) -> RequestRules {
        let mut rules = self.rules;
        rules.allow_connect = self.allow_connect_method_proxying;
        rules
    }

    /// Applies these options to the session of a request that is about to be read.
    fn apply(&self, session: &mut SessionV1) {
        session.set_request_rules(self.request_rules());
        session.set_header_timeout(self.header_timeout);
        session.set_max_body_size(self.max_body_size);
    }
}

/// What an HTTP/1 connection carries from one request to the next besides its bytes.
pub struct HttpPersistentSettings {
    keepalive_timeout: Option<u64>,
    reuses_remaining: Option<u32>,
    user_context: Option<Box<dyn Any + Send + Sync>>,
    pipelined_prefix: Option<BytesMut>,
}

impl fmt::Debug for HttpPersistentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPersistentSettings")
            .field("keepalive_timeout", &self.keepalive_timeout)
            .field("reuses_remaining", &self.reuses_remaining)
            .finish_non_exhaustive()
    }
}

impl HttpPersistentSettings {
    /// What this session's connection is to carry over.
    pub fn for_session(session: &ServerSession) -> Self {
        HttpPersistentSettings {
            keepalive_timeout: session.get_keepalive(),
            reuses_remaining: session.get_keepalive_reuses_remaining(),
            user_context: None,
            pipelined_prefix: None,
        }
    }

    /// Leaves something for the connection's next request.
    pub fn set_user_context(&mut self, ctx: Box<dyn Any + Send + Sync>) {
        self.user_context = Some(ctx);
    }

    /// Takes what the request before has left.
    pub fn take_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        self.user_context.take()
    }

    /// Bytes that were read ahead of the next request.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        self.pipelined_prefix = Some(prefix);
    }

    /// Hands all of it to the session of the next request.
    pub fn apply_to_session(self, session: &mut ServerSession) {
        session.set_keepalive(self.keepalive_timeout);
        session.set_keepalive_reuses_remaining(self.reuses_remaining);
        if self.user_context.is_some() {
            session.set_connection_user_context(self.user_context);
        }
        if let Some(prefix) = self.pipelined_prefix {
            session.set_pipelined_prefix(prefix);
        }
    }
}

enum Kept {
    Stream(Stream),
    Session(ReusableHttpStream),
}

/// A connection that an application gives back for the next request.
pub struct ReusedHttpStream {
    kept: Kept,
    settings: Option<HttpPersistentSettings>,
}

impl fmt::Debug for ReusedHttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReusedHttpStream")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ReusedHttpStream {
    /// A connection as such.
    pub fn new(stream: Stream, persistent_settings: Option<HttpPersistentSettings>) -> Self {
        ReusedHttpStream {
            kept: Kept::Stream(stream),
            settings: persistent_settings,
        }
    }

    /// What [`ServerSession::finish`] returned: also keeps what was read ahead, and the session's
    /// memory.
    pub fn from_reusable_stream(
        reusable: ReusableHttpStream,
        persistent_settings: HttpPersistentSettings,
    ) -> Self {
        let kept = Kept::Session(reusable);
        ReusedHttpStream {
            kept,
            settings: Some(persistent_settings),
        }
    }

    /// The connection and its settings.
    pub fn consume(self) -> (Stream, Option<HttpPersistentSettings>) {
        match self.kept {
            Kept::Stream(stream) => (stream, self.settings),
            Kept::Session(reusable) => {
                let (stream, ahead) = reusable.into_parts();
                let mut settings = self.settings;
                if let (Some(ahead), Some(settings)) = (ahead, &mut settings) {
                    settings.set_pipelined_prefix(ahead);
                }
                (stream, settings)
            }
        }
    }

    pub(super) fn into_session(self) -> ServerSession {
        let mut session = match self.kept {
            Kept::Stream(stream) => ServerSession::new_http1(stream),
            Kept::Session(reusable) => reusable.into_session(),
        };
        if let Some(settings) = self.settings {
            // A session that was kept has counted this request already; the settings have not.
            let reuses = session
                .get_keepalive_reuses_remaining()
                .or(settings.reuses_remaining.map(|n| n.saturating_sub(1)));
            settings.apply_to_session(&mut session);
            session.set_keepalive_reuses_remaining(reuses);
        }
        session
    }
}

/// An application that speaks HTTP.
#[async_trait]
pub trait HttpServerApp {
    /// Serves one request. Called when the first byte of it has arrived; its head is read with
    /// [`ServerSession::read_request`]. Returns the connection if it may carry another request,
    /// as [`ServerSession::finish`] tells.
    ///
    /// `shutdown` turns `true` when the process begins to shut down.
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream>;

    /// Serves a connection whose TLS handshake chose a protocol that is none of HTTP. A connection
    /// that is returned is passed in again, as a new one; `None` closes it, which is what happens by
    /// default. [`serve_custom`](super::serve_custom) serves one whose requests are made into sessions.
    async fn process_custom_session(
        self: &Arc<Self>,
        _stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream>
    where
        Self: Send + Sync,
    {
        log::debug!("a client chose a protocol of TLS that nobody here speaks");
        None
    }

    /// How HTTP/2 connections are set up; `None`: with the defaults.
    fn h2_options(&self) -> Option<H2Options> {
        None
    }

    /// How connections are treated; `None`: with the defaults of [`HttpServerOptions`].
    fn server_options(&self) -> Option<&HttpServerOptions> {
        None
    }

    /// Called once, when the service has stopped.
    async fn http_cleanup(&self)
    where
        Self: Sync,
    {
    }

    /// See [`ServerApp::drained`].
    async fn http_drained(&self)
    where
        Self: Sync,
    {
    }
}

/// Wakes a connection that is idle when the process begins to shut down.
///
/// Asking for that anew at each request would take a lock each time. The future is therefore kept
/// for the connection's life and polled again only when the task's waker changed.
#[derive(Default)]
pub(super) struct ShutdownNotice {
    changed: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    waker: Option<Waker>,
}

impl ShutdownNotice {
    async fn wait(mut shutdown: ShutdownWatch) {
        // An error says that nobody is left who could tell: nothing to wait for either.
        if shutdown.wait_for(|down| *down).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ready at least once after the shutdown began.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shutdown: &ShutdownWatch) -> Poll<()> {
        if self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        let wait = || Box::pin(Self::wait(shutdown.clone())) as Pin<Box<_>>;
        let waited = self.changed.get_or_insert_with(wait).as_mut().poll(cx);
        if waited.is_ready() {
            *self = ShutdownNotice::default();
        }
        waited
    }
}

/// A connection between two requests.
pub(super) trait Awaited {
    /// Ready once something of the next request is there, or the connection has ended without
    /// (`false`).
    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool>;

    /// Ready when this instant has passed.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()>;
}

impl Awaited for SessionV1 {
    fn poll_request_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        SessionV1::poll_request_begins(self, cx)
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>, at: Instant, now: Instant) -> Poll<()> {
        SessionV1::poll_keepalive(self, cx, at, now)
    }
}

/// Waits for the first byte of a request; `false` if the connection is to be closed instead.
///
/// When the process begins to shut down, a request that is on its way already is still waited for: a
/// client can't know that the connection is about to be closed. That is a short time, and longer when
/// another server has taken over (see [`quiet_time`]).
pub(super) async fn request_begins(
    session: &mut impl Awaited,
    patience: Option<Duration>,
    shutdown: &ShutdownWatch,
    notice: &mut ShutdownNotice,
) -> bool {
    let (mut deadline, mut closing) = (None, false);
    poll_fn(|cx| {
        if let Poll::Ready(begun) = session.poll_request_begins(cx) {
            return Poll::Ready(begun);
        }
        let now = Instant::now();
        let patience = patience.and_then(|patience| now.checked_add(patience));
        deadline = deadline.or(patience);
        if !closing && (notice.poll(cx, shutdown).is_ready() || is_shutting_down(shutdown)) {
            closing = true;
            let quiet = now + quiet_time(shutdown);
            deadline = Some(deadline.map_or(quiet, |at| at.min(quiet)));
        }
        match deadline {
            Some(at) => session.poll_keepalive(cx, at, now).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}

/// Whether a connection on which something has arrived begins with these bytes. Reads until that is
/// decided, which takes no more than they are; what was read stays.
async fn begins_with(session: &mut SessionV1, expected: &[u8], patience: Option<Duration>) -> bool {
    let mut deadline = None;
    poll_fn(|cx| {
        if let Poll::Ready(decided) = session.poll_begins_with(cx, expected) {
            return Poll::Ready(decided);
        }
        let now = Instant::now();
        deadline = deadline.or(patience.and_then(|patience| now.checked_add(patience)));
        match deadline {
            // Whatever it is, it is not that; reading the head finds out that it is late.
            Some(at) => session.poll_keepalive(cx, at, now).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}

#[async_trait]
impl<SV> ServerApp for SV
where
    SV: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        match io.selected_alpn_proto() {
            Some(ALPN::H2) => {
                Box::pin(http2_server::serve(self, io, Bytes::new(), shutdown)).await;
                return None;
            }
            Some(ALPN::Custom(_)) => return self.process_custom_session(io, shutdown).await,
            _ => {}
        }
        let mut session = SessionV1::new(io);
        if let Some(options) = self.server_options() {
            let limit = options.keepalive_request_limit;
            session.set_keepalive_reuses_remaining(limit.map(|n| n.saturating_sub(1)));
        }
        let defaults = crate::protocols::http::v1::server::HEADER_TIMEOUT;
        let mut patience = self
            .server_options()
            .map_or(Some(defaults), |o| o.header_timeout);
        // A connection that was accepted while the process was shutting down is served once.
        let late = *shutdown.borrow();
        let mut notice = ShutdownNotice::default();
        let mut may_be_http2 = self.server_options().is_some_and(|o| o.h2c)
            && session.stream().selected_alpn_proto().is_none();
        loop {
            if !request_begins(&mut session, patience, shutdown, &mut notice).await {
                return None;
            }
            if std::mem::take(&mut may_be_http2)
                && begins_with(&mut session, &PREFACE, patience).await
            {
                let (io, ahead) = session.into_parts();
                Box::pin(http2_server::serve(self, io, ahead, shutdown)).await;
                return None;
            }
            if let Some(options) = self.server_options() {
                options.apply(&mut session);
            }
            if late {
                session.set_keepalive_reuses_remaining(Some(0));
            }
            session.heed_shutdown(shutdown);
            let reused = self
                .process_new_http(ServerSession::H1(session), shutdown)
                .await?;
            let ServerSession::H1(next) = reused.into_session() else {
                return None;
            };
            session = next;
            patience = match session.get_keepalive_timeout() {
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => return None,
            };
        }
    }

    fn client_speaks_first(&self) -> bool {
        true
    }

    async fn cleanup(&self) {
        self.http_cleanup().await;
    }

    async fn drained(&self) {
        self.http_drained().await;
    }
}

#[cfg(test)]
mod tests;
