//! Connecting to servers that speak HTTP, and keeping their connections for the next request.

pub mod custom;
pub mod v1;
pub mod v2;

use super::options::DEFAULT_POOL_SIZE;
use super::pool::Pool;
use super::{ConnectorOptions, TransportConnector};
use crate::protocols::http::client::HttpSession;
use crate::protocols::http::custom::ClientSessionCustom as _;
use crate::upstreams::peer::{ALPN, Peer};
use pingora_error::Result;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Makes HTTP sessions with peers, over a kept connection if there is one.
///
/// The peer's [`alpn`](crate::upstreams::peer::PeerOptions::alpn) determines the version:
///
/// | | over TLS | plain |
/// |---|---|---|
/// | `H1` | HTTP/1.1 | HTTP/1.1 |
/// | `H2H1` | the protocol that the handshake selects; a server without HTTP/2 is remembered | HTTP/1.1 |
/// | `H2` | HTTP/2, or an error | HTTP/2, by prior knowledge (RFC 9113 section 3.3) |
///
/// `C` makes connections over a custom protocol; `()` makes none.
pub struct Connector<C = ()>
where
    C: custom::Connector,
{
    h1: v1::Connector,
    h2: v2::Connector,
    custom: C,
    custom_idle: Pool<custom::IdleSession<C::Session>>,
}

impl<C: custom::Connector> fmt::Debug for Connector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("h1", &self.h1)
            .field("h2", &self.h2)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector with these options; `None`: with the defaults.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        Self::new_custom(options, ())
    }
}

impl<C: custom::Connector> Connector<C> {
    /// A connector that also has `custom` available.
    pub fn new_custom(options: Option<ConnectorOptions>, custom: C) -> Self {
        let idle = v1::Connector::pool(options.as_ref());
        let shared = v2::Connector::pool(options.as_ref());
        let size = options
            .as_ref()
            .map_or(DEFAULT_POOL_SIZE, |o| o.keepalive_pool_size);
        let transport = Arc::new(TransportConnector::new(options));
        Connector {
            h1: v1::Connector::over(transport.clone(), idle),
            h2: v2::Connector::over(transport, shared),
            custom,
            custom_idle: Pool::new(size, None),
        }
    }

    /// The connector for custom protocols.
    pub fn custom(&self) -> &C {
        &self.custom
    }

    /// The underlying transport connector, for any version.
    pub fn transport(&self) -> &TransportConnector {
        self.h1.transport()
    }

    /// A session with this peer; `true` if its connection has carried an exchange before.
    ///
    /// # Errors
    /// Connection errors, with the upstream as their source.
    pub async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        if self.custom.speaks(peer) {
            return Box::pin(self.get_custom_session(peer)).await;
        }
        if self.h2.may_speak_http2(peer) {
            return Box::pin(self.get_http2_session(peer)).await;
        }
        let (session, reused) = self.h1.get_http_session(peer).await?;
        Ok((HttpSession::H1(session), reused))
    }

    /// A session that speaks HTTP/1, whatever the peer's options prefer.
    ///
    /// # Errors
    /// Connection errors, with the upstream as their source.
    pub async fn get_http1_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        let (session, reused) = self.h1.get_http_session(peer).await?;
        Ok((HttpSession::H1(session), reused))
    }

    async fn get_custom_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        if let Some(session) = self.reused_session(peer) {
            return Ok((session, true));
        }
        let stream = self.transport().new_stream(peer).await?;
        let opened = match self.custom.open(stream, peer).await? {
            custom::Connection::Session(session) => HttpSession::Custom(session),
            custom::Connection::Stream(stream) => {
                HttpSession::H1(v1::Connector::session(stream, peer))
            }
        };
        Ok((opened, false))
    }

    /// If the server turns out to speak HTTP/1, the session does too.
    async fn get_http2_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        match self.reused_session(peer) {
            Some(session) => Ok((session, true)),
            None => self.h2.get_http_session(peer).await,
        }
    }

    /// Opens `count` connections to this peer, all at once, and keeps them for later exchanges; an
    /// HTTP/2 connection carries as many at a time as the peer's options allow. They belong to the
    /// current runtime: without work stealing, to the calling thread.
    ///
    /// Dropping the future keeps the connections that are already open.
    ///
    /// # Errors
    /// The first connection error; the other connections are kept.
    pub async fn connect_in_advance<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
        count: usize,
    ) -> Result<()> {
        let opened = (0..count).map(|_| self.connect_one_in_advance(peer));
        let opened = futures::future::join_all(opened).await;
        opened.into_iter().collect()
    }

    async fn connect_one_in_advance<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<()> {
        if !self.h2.may_speak_http2(peer) {
            return self.h1.connect_in_advance(peer).await;
        }
        if let Some(stream) = self.h2.connect_in_advance(peer).await? {
            self.h1.keep(stream, peer);
        }
        Ok(())
    }

    /// A session over a kept connection, if there is one. Never waits.
    pub fn reused_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Option<HttpSession<C::Session>> {
        if self.custom.speaks(peer)
            && let Some(idle) = self.custom_idle.take(peer.reuse_hash())
        {
            return Some(HttpSession::Custom(idle.into_session()));
        }
        if self.h2.may_speak_http2(peer) {
            if let Some(session) = self.h2.take_reused(peer) {
                return Some(HttpSession::H2(session));
            }
            if peer.get_alpn() == Some(&ALPN::H2) {
                // HTTP/1 connections would be of no use.
                return None;
            }
        }
        self.h1.take_reused(peer).map(HttpSession::H1)
    }

    /// Gives back a session whose exchange is complete. It is kept for `idle_timeout` (`None`:
    /// without limit) if its connection is fit for another exchange, and closed otherwise.
    pub async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: HttpSession<C::Session>,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        self.release_session(session, peer, idle_timeout);
    }

    /// [`Connector::release_http_session`] for callers that can't wait; it never waits.
    #[inline]
    pub fn release_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: HttpSession<C::Session>,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        match session {
            HttpSession::H1(session) => self.h1.release(session, peer, idle_timeout),
            HttpSession::H2(session) => self.h2.release_http_session(session, peer, idle_timeout),
            HttpSession::Custom(session) => {
                if let Some(next) = session.into_next() {
                    let idle = custom::IdleSession::new(next, peer.reuse_hash());
                    self.custom_idle.put(idle.pool_key, idle, idle_timeout);
                }
            }
        }
    }

    /// Uses HTTP/1 with this peer from now on, if its options leave the choice.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.h1.transport().prefer_h1(peer);
    }

    /// The number of idle connections that were closed because they sent unrequested data.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.h1.unexpected_data_connection_count()
    }

    /// The counter behind [`Connector::unexpected_data_connection_count`].
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.h1.unexpected_data_connection_counter()
    }
}

#[cfg(test)]
#[cfg(feature = "openssl")]
mod tests;
