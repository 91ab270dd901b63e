//! HTTP/2 sessions with peers: streams of shared connections.

mod flight;
mod handshake;
mod pool;
mod registry;

#[cfg(test)]
mod tests;

pub use crate::protocols::http::v2::client::{ConnectionRef, drive_connection};
pub use handshake::{H2HandshakeSettings, handshake};
pub use pool::InUsePool;

use crate::connectors::error_context::of_upstream;
use crate::connectors::options::DEFAULT_POOL_SIZE;
use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::Stream;
use crate::protocols::http::client::HttpSession;
use crate::protocols::http::v1::client::HttpSession as Http1Session;
use crate::protocols::http::v2::client::{Http2Session, Reserved};
use crate::protocols::tls::ALPN;
use crate::upstreams::peer::Peer;
use flight::Landing;
use handshake::establish;
use pingora_error::{BError, Error, ErrorType, Result};
use pool::Departure;
use registry::{Key, Leader};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The time limit for beginning HTTP/2 on a new connection if the peer sets none.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes HTTP/2 sessions with peers, over shared connections.
///
/// A connection serves the runtime that it was made on. While a connection to a peer is being
/// established, as many requests to the same peer wait for it as will find room on it.
pub struct Connector {
    transport: Arc<TransportConnector>,
    pool: InUsePool,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// A new connection, by the protocol that was negotiated.
enum Connected {
    Http1(Stream),
    Http2(ConnectionRef),
}

impl Connector {
    /// A connector with these options; `None`: with the defaults.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        let pool = Self::pool(options.as_ref());
        Self::over(Arc::new(TransportConnector::new(options)), pool)
    }

    /// A connector over a shared transport.
    pub(super) fn over(transport: Arc<TransportConnector>, pool: InUsePool) -> Self {
        Connector { transport, pool }
    }

    pub(super) fn pool(options: Option<&ConnectorOptions>) -> InUsePool {
        let size = options.map_or(DEFAULT_POOL_SIZE, |o| o.keepalive_pool_size);
        let callback = options.and_then(|o| o.keepalive_pool_callback.clone());
        InUsePool::new(size, callback)
    }

    /// The underlying transport connector.
    pub fn transport(&self) -> &TransportConnector {
        &self.transport
    }

    /// All connections, in use and idle.
    pub fn in_use_pool(&self) -> &InUsePool {
        &self.pool
    }

    /// Whether HTTP/2 may be used with this peer: the peer's options offer or demand it, and the
    /// peer is not known to speak only HTTP/1. An offer needs a TLS handshake; on a plain connection
    /// only the demand counts (RFC 9113 section 3.3).
    pub(super) fn may_speak_http2<P: Peer>(&self, peer: &P) -> bool {
        match peer.get_alpn() {
            Some(ALPN::H2) => true,
            Some(ALPN::H2H1) => peer.tls() && !self.transport.is_http1_only(peer),
            _ => false,
        }
    }

    /// A session over a new connection: an HTTP/1 session if the peer speaks only that.
    ///
    /// # Errors
    /// The same as for [`TransportConnector::new_stream`]; [`ErrorType::HandshakeError`] if the
    /// peer's options demand HTTP/2 and the peer does not speak it.
    pub async fn new_http_session<P: Peer + Send + Sync + 'static, C>(
        &self,
        peer: &P,
    ) -> Result<HttpSession<C>> {
        let key = Key::of(peer.reuse_hash());
        match self.connect(peer, key).await? {
            Connected::Http1(stream) => {
                let session = Http1Session::new_with_options(stream, peer);
                Ok(HttpSession::H1(session))
            }
            Connected::Http2(conn) => {
                let session = first_session(&conn)?;
                self.pool.put(key, conn);
                Ok(HttpSession::H2(self.prepare(session, peer)))
            }
        }
    }

    /// A session over an existing connection, if there is one with room.
    ///
    /// # Errors
    /// None at present.
    pub async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<Option<Http2Session>> {
        Ok(self.take_reused(peer))
    }

    pub(super) fn take_reused<P: Peer>(&self, peer: &P) -> Option<Http2Session> {
        let conn = self.pool.reserve(Key::of(peer.reuse_hash()))?;
        Some(self.prepare(conn.open(), peer))
    }

    /// A session over a connection with room, or over a new one; `true` if others have used it
    /// before, or are using it.
    ///
    /// # Errors
    /// The same as for [`new_http_session`](Self::new_http_session). Requests that wait for the
    /// same connection get the same error.
    pub(super) async fn get_http_session<P: Peer + Send + Sync + 'static, C>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C>, bool)> {
        let key = Key::of(peer.reuse_hash());
        loop {
            let leader = match self.pool.depart(key, max_streams(peer)) {
                Departure::Reserved(conn) => {
                    let session = self.prepare(conn.open(), peer);
                    return Ok((HttpSession::H2(session), true));
                }
                Departure::Lead(leader) => leader,
                Departure::Wait(wait) => match within_total(peer, wait.landed()).await? {
                    Landing::Failed(etype, why) => {
                        let error = Error::explain(etype, why);
                        return Err(of_upstream(error, peer));
                    }
                    Landing::Http1 if !self.may_speak_http2(peer) => {
                        let stream = Box::pin(self.transport.new_http1_stream(peer)).await?;
                        let session = Http1Session::new_with_options(stream, peer);
                        return Ok((HttpSession::H1(session), false));
                    }
                    _ => continue,
                },
            };
            // Of the requests that come at once, one connects and the others wait: these stay small.
            return Box::pin(self.lead(leader, key, peer)).await;
        }
    }

    /// Establishes the connection that other requests may be waiting for.
    async fn lead<P: Peer + Send + Sync + 'static, C>(
        &self,
        leader: Leader,
        key: Key,
        peer: &P,
    ) -> Result<(HttpSession<C>, bool)> {
        match self.connect(peer, key).await {
            Ok(Connected::Http1(stream)) => {
                leader.land(Landing::Http1);
                let session = Http1Session::new_with_options(stream, peer);
                Ok((HttpSession::H1(session), false))
            }
            Ok(Connected::Http2(conn)) => {
                let session = first_session(&conn)?;
                self.pool.put(key, conn);
                leader.land(Landing::Http2);
                Ok((HttpSession::H2(self.prepare(session, peer)), false))
            }
            Err(error) => {
                leader.land(Landing::failed(&error));
                Err(error)
            }
        }
    }

    /// Opens a connection and keeps it for later exchanges. Returns the stream if it turned out to
    /// speak HTTP/1.
    pub(super) async fn connect_in_advance<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<Option<Stream>> {
        let key = Key::of(peer.reuse_hash());
        match self.connect(peer, key).await? {
            Connected::Http1(stream) => Ok(Some(stream)),
            Connected::Http2(conn) => {
                self.pool.put(key, conn);
                Ok(None)
            }
        }
    }

    async fn connect<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
        key: Key,
    ) -> Result<Connected> {
        let stream = self.transport.new_stream(peer).await?;
        if peer.tls() && stream.selected_alpn_proto() != Some(ALPN::H2) {
            if peer.get_alpn() == Some(&ALPN::H2) {
                let context = "the server does not speak HTTP/2, which the peer's options demand";
                let error = Error::explain(ErrorType::HandshakeError, context);
                return Err(of_upstream(error, peer));
            }
            self.transport.prefer_h1(peer);
            return Ok(Connected::Http1(stream));
        }
        let settings = H2HandshakeSettings::of(peer);
        let begun = establish(stream, settings, self.pool.departing(key));
        let limit = peer
            .connection_timeout()
            .unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT);
        let begun = match tokio::time::timeout(limit, begun).await {
            Ok(begun) => begun,
            Err(_) => {
                let context = format!("HTTP/2 did not begin within {limit:?}");
                Error::e_explain(ErrorType::ConnectTimedout, context)
            }
        };
        let conn = begun.map_err(|error| of_upstream(error, peer))?;
        conn.activity().set_idle_timeout(peer.idle_timeout());
        Ok(Connected::Http2(conn))
    }

    fn prepare<P: Peer>(&self, mut session: Http2Session, peer: &P) -> Http2Session {
        session.read_timeout = peer.read_limit();
        if let Some(options) = peer.get_peer_options() {
            session.write_timeout = options.write_timeout;
        }
        session
    }

    /// Gives a session back. Its connection is kept for `idle_timeout` once no exchange is active
    /// on it; `None`: without limit. An incomplete exchange is aborted.
    pub fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: Http2Session,
        _peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        let conn = session.conn.clone();
        conn.activity().set_idle_timeout(idle_timeout);
        drop(session);
        self.pool.released(conn, idle_timeout);
    }

    /// Uses HTTP/1 with this peer from now on, if its options leave the choice.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.transport.prefer_h1(peer);
    }
}

/// The first stream of a new connection.
fn first_session(conn: &ConnectionRef) -> Result<Http2Session> {
    match conn.reserve() {
        Reserved::Slot(_) => Ok(conn.clone().open()),
        Reserved::Full | Reserved::Unfit => Err(closed_at_once()),
    }
}

#[cold]
fn closed_at_once() -> BError {
    let context = "the server closed a new connection, or takes no streams on it";
    let mut error = Error::explain(ErrorType::ConnectionClosed, context).into_up();
    error.set_retry(true);
    error
}

fn max_streams<P: Peer>(peer: &P) -> usize {
    peer.get_peer_options()
        .map_or(1, |options| options.max_h2_streams.max(1))
}

/// Waits at most as long as this peer's connection may take in total.
async fn within_total<P: Peer>(peer: &P, landed: impl Future<Output = Landing>) -> Result<Landing> {
    let Some(limit) = peer.total_connection_timeout() else {
        return Ok(landed.await);
    };
    match tokio::time::timeout(limit, landed).await {
        Ok(landing) => Ok(landing),
        Err(_) => {
            let context = format!("not connected within {limit:?} in total");
            let error = Error::explain(ErrorType::ConnectTimedout, context);
            Err(of_upstream(error, peer))
        }
    }
}
