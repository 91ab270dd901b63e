//! HTTP/1 sessions with peers.

use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::http::v1::client::HttpSession;
use crate::upstreams::peer::Peer;
use pingora_error::Result;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Makes HTTP/1 sessions, over a kept connection where there is one.
#[derive(Debug)]
pub struct Connector {
    transport: TransportConnector,
}

impl Connector {
    /// A connector with these options; `None`: with the defaults.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        Connector { transport: TransportConnector::new(options) }
    }

    /// What connects below.
    pub fn transport(&self) -> &TransportConnector {
        &self.transport
    }

    /// A session with this peer; `true` if its connection has carried an exchange before.
    pub async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession, bool)> {
        if let Some(session) = self.take_reused(peer) {
            return Ok((session, true));
        }
        let stream = self.transport.new_stream(peer).await?;
        Ok((HttpSession::new_with_options(stream, peer), false))
    }

    /// A session over a kept connection, if there is one.
    pub async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Option<HttpSession> {
        self.take_reused(peer)
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

    /// How many idle connections sent something nobody asked for, and were closed for it.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.transport.unexpected_data_connection_count()
    }

    /// The counter behind [`Connector::unexpected_data_connection_count`].
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.transport.unexpected_data_connection_counter()
    }
}
