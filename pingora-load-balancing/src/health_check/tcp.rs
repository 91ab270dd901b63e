//! A health check that only connects.

use super::{HealthCheck, HealthObserveCallback, longer_than};
use crate::Backend;
use async_trait::async_trait;
use pingora_core::connectors::TransportConnector;
use pingora_core::upstreams::peer::BasicPeer;
use pingora_error::Result;
use std::fmt;
use std::time::Duration;

/// A backend that does not accept a connection within this time is unhealthy.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A backend is healthy if it accepts a connection (TCP, or a Unix socket) and, if so configured,
/// finishes a TLS handshake on it. Each check makes its own connection and closes it.
///
/// Does not test whether the backend answers requests.
pub struct TcpHealthCheck {
    /// How many checks in a row must succeed before a backend counts as healthy again; 1 by
    /// default.
    pub consecutive_success: usize,
    /// How many checks in a row must fail before a backend counts as unhealthy; 1 by default.
    pub consecutive_failure: usize,
    /// How to connect. Its address is replaced by the backend's; its connection timeout is 1
    /// second by default.
    pub peer_template: BasicPeer,
    /// Called when a backend's health changes.
    pub health_changed_callback: Option<HealthObserveCallback>,
    connector: TransportConnector,
}

impl Default for TcpHealthCheck {
    fn default() -> Self {
        // A placeholder, which the backend's address replaces.
        let mut peer_template = BasicPeer::new("0.0.0.0:1");
        peer_template.options.connection_timeout = Some(CONNECT_TIMEOUT);
        TcpHealthCheck {
            consecutive_success: 1,
            consecutive_failure: 1,
            peer_template,
            health_changed_callback: None,
            connector: TransportConnector::new(None),
        }
    }
}

impl TcpHealthCheck {
    /// Only connects.
    pub fn new() -> Box<Self> {
        Box::<TcpHealthCheck>::default()
    }

    /// Connects and does a TLS handshake for the name `sni`, whose certificate is verified unless
    /// the options of [`peer_template`](Self::peer_template) say otherwise.
    pub fn new_tls(sni: &str) -> Box<Self> {
        let mut check = TcpHealthCheck::default();
        check.peer_template.sni = sni.to_string();
        // The time for the handshake is added to that for connecting.
        check.peer_template.options.total_connection_timeout = Some(2 * CONNECT_TIMEOUT);
        Box::new(check)
    }

    /// Connects through `connector`, for its options.
    pub fn set_connector(&mut self, connector: TransportConnector) {
        self.connector = connector;
    }
}

#[async_trait]
impl HealthCheck for TcpHealthCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut peer = self.peer_template.clone();
        peer._address = target.addr.clone();
        self.connector.new_stream(&peer).await.map(drop)
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(callback) = &self.health_changed_callback {
            callback.observe(target, healthy).await;
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success {
            self.consecutive_success
        } else {
            self.consecutive_failure
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let options = &self.peer_template.options;
        longer_than([options.connection_timeout, options.total_connection_timeout])
    }
}

impl fmt::Debug for TcpHealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpHealthCheck")
            .field("consecutive_success", &self.consecutive_success)
            .field("consecutive_failure", &self.consecutive_failure)
            .field("peer_template", &self.peer_template.to_string())
            .finish_non_exhaustive()
    }
}
