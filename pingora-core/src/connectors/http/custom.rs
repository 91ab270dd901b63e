//! Connections to upstreams over a custom protocol.

use crate::connectors::pool::{IdleEvent, Poolable, RuntimeId};
use crate::protocols::Stream;
pub use crate::protocols::http::custom::ClientSessionCustom as Session;
use crate::upstreams::peer::{ALPN, Peer};
use async_trait::async_trait;
use pingora_error::Result;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// The protocol that a new connection to an upstream speaks.
#[derive(Debug)]
pub enum Connection<S: Session> {
    /// It speaks the custom protocol.
    Session(S),
    /// It does not: HTTP/1 is used.
    Stream(Stream),
}

/// Makes sessions over a custom protocol. The framework does the connecting, TLS and the pool of idle
/// sessions.
///
/// `()` is the connector if there is no custom protocol.
#[async_trait]
pub trait Connector: Send + Sync + Unpin + 'static {
    /// The session type for exchanges over such a connection.
    type Session: Session;

    /// Whether the protocol is used with this peer. By default it is used with peers whose
    /// [`alpn`](crate::upstreams::peer::PeerOptions::alpn) is a [custom one](ALPN::Custom).
    fn speaks<P: Peer>(&self, peer: &P) -> bool {
        matches!(peer.get_alpn(), Some(ALPN::Custom(_)))
    }

    /// Starts the protocol on a new connection, after TLS. The limit of
    /// [`total_connection_timeout`](crate::upstreams::peer::PeerOptions::total_connection_timeout)
    /// covers only the steps before it.
    ///
    /// # Errors
    /// The server violates the protocol.
    async fn open<P: Peer + Send + Sync>(
        &self,
        stream: Stream,
        peer: &P,
    ) -> Result<Connection<Self::Session>>;
}

#[async_trait]
impl Connector for () {
    type Session = ();

    fn speaks<P: Peer>(&self, _peer: &P) -> bool {
        false
    }

    async fn open<P: Peer + Send + Sync>(
        &self,
        stream: Stream,
        _peer: &P,
    ) -> Result<Connection<()>> {
        Ok(Connection::Stream(stream))
    }
}

/// A session that waits for its next exchange.
pub(super) struct IdleSession<S> {
    session: S,
    /// The runtime that the session's socket was registered with.
    runtime: RuntimeId,
    /// The peer that the session was made for.
    pub(super) pool_key: u64,
}

impl<S: Session> IdleSession<S> {
    pub(super) fn new(session: S, pool_key: u64) -> Self {
        IdleSession {
            session,
            runtime: Handle::try_current().ok().map(|handle| handle.id()),
            pool_key,
        }
    }

    pub(super) fn into_session(self) -> S {
        self.session
    }
}

impl<S: Session> Poolable for IdleSession<S> {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleEvent> {
        self.session.poll_idle(cx).map(|()| IdleEvent::Closed)
    }

    fn runtime(&self) -> RuntimeId {
        self.runtime
    }
}
