//! HTTP/1 sessions with peers.

use crate::connectors::options::DEFAULT_POOL_SIZE;
use crate::connectors::pool::{IdleEvent, Pool, Poolable, RuntimeId};
use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::Stream;
use crate::protocols::http::v1::client::{HttpSession, PoolTag};
use crate::upstreams::peer::Peer;
use pingora_error::Result;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;

/// Makes HTTP/1 sessions, over a kept connection if there is one.
///
/// Whole sessions are kept, not only their connections: the state of a connection is not rebuilt
/// for each request.
pub struct Connector {
    transport: Arc<TransportConnector>,
    pool: Pool<HttpSession>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Poolable for HttpSession {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent> {
        self.stream_mut().poll_idle(cx)
    }

    fn is_quiet(&self) -> Option<bool> {
        self.stream().is_quiet()
    }

    fn runtime(&self) -> RuntimeId {
        match self.pool_tag() {
            Some(tag) => tag.runtime,
            None => Handle::try_current().ok().map(|handle| handle.id()),
        }
    }
}

impl Connector {
    /// A connector with these options; `None`: with the defaults.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        let pool = Self::pool(options.as_ref());
        Self::over(Arc::new(TransportConnector::new(options)), pool)
    }

    /// A connector over a shared transport.
    pub(super) fn over(transport: Arc<TransportConnector>, pool: Pool<HttpSession>) -> Self {
        Connector { transport, pool }
    }

    pub(super) fn pool(options: Option<&ConnectorOptions>) -> Pool<HttpSession> {
        let size = options.map_or(DEFAULT_POOL_SIZE, |o| o.keepalive_pool_size);
        let callback = options.and_then(|o| o.keepalive_pool_callback.clone());
        Pool::new(size, callback)
    }

    /// The underlying transport connector.
    pub fn transport(&self) -> &TransportConnector {
        &self.transport
    }

    /// A session with this peer; `true` if its connection has carried an exchange before.
    ///
    /// # Errors
    /// The same as for [`TransportConnector::new_stream`].
    pub async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession, bool)> {
        if let Some(session) = self.take_reused(peer) {
            return Ok((session, true));
        }
        let stream = self.transport.new_http1_stream(peer).await?;
        Ok((Self::session(stream, peer), false))
    }

    pub(super) fn session<P: Peer>(stream: Stream, peer: &P) -> HttpSession {
        let mut session = HttpSession::new_with_options(stream, peer);
        session.set_pool_tag(PoolTag {
            pool_key: peer.reuse_hash(),
            // The runtime that the socket was registered with, on whatever thread this runs.
            runtime: Handle::try_current().ok().map(|handle| handle.id()),
        });
        session
    }

    /// Opens a connection and keeps it for a later exchange; see
    /// [`super::Connector::connect_in_advance`].
    pub(super) async fn connect_in_advance<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<()> {
        let stream = self.transport.new_http1_stream(peer).await?;
        self.keep(stream, peer);
        Ok(())
    }

    /// Keeps a new connection for a later exchange.
    pub(super) fn keep<P: Peer>(&self, stream: Stream, peer: &P) {
        let session = Self::session(stream, peer);
        let idle_timeout = peer.idle_timeout();
        self.pool.put(peer.reuse_hash(), session, idle_timeout);
    }

    /// A session over a kept connection, if there is one.
    pub async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Option<HttpSession> {
        self.take_reused(peer)
    }

    pub(super) fn take_reused<P: Peer>(&self, peer: &P) -> Option<HttpSession> {
        let mut session = self.pool.take(peer.reuse_hash())?;
        session.apply_options(peer);
        Some(session)
    }

    /// Gives a session back; see [`super::Connector::release_http_session`].
    pub async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: HttpSession,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        self.release(session, peer, idle_timeout);
    }

    pub(super) fn release<P: Peer>(
        &self,
        session: HttpSession,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        if let Some(session) = session.renew() {
            // The session is only useful for the peer that it was made for.
            let key = session.pool_tag().map(|tag| tag.pool_key);
            let key = key.unwrap_or_else(|| peer.reuse_hash());
            self.pool.put(key, session, idle_timeout);
        }
    }

    /// The number of idle connections that were closed because they sent unrequested data.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.unexpected_data_connection_counter()
            .load(Ordering::Relaxed)
    }

    /// The counter behind [`Connector::unexpected_data_connection_count`].
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.pool.unexpected_data_counter()
    }
}
