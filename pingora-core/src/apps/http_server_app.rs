//! The trait of applications that speak HTTP, with clients of any version.

use super::options::HttpServerOptions;
use super::reused::ReusedHttpStream;
use crate::process::ShutdownWatch;
use crate::protocols::Stream;
use crate::protocols::http::ServerSession;
use crate::protocols::http::v2::server::H2Options;
use async_trait::async_trait;
use std::sync::Arc;

/// An application that speaks HTTP.
#[async_trait]
pub trait HttpServerApp {
    /// Serves one request. Called when its first byte has arrived; [`ServerSession::read_request`]
    /// reads its head. Returns the connection if it may carry another request, as determined by
    /// [`ServerSession::finish`].
    ///
    /// `shutdown` turns `true` when the process begins to shut down.
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream>;

    /// Serves a connection whose TLS handshake chose a protocol other than HTTP. A connection that is
    /// returned is passed in again, as a new one; `None` closes it, which is the default.
    /// [`serve_custom`](super::serve_custom) serves a connection whose requests are turned into
    /// sessions.
    async fn process_custom_session(
        self: &Arc<Self>,
        _stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream>
    where
        Self: Send + Sync,
    {
        log::debug!("no application here speaks the protocol that a client chose in TLS");
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

    /// See [`ServerApp::drained`](super::ServerApp::drained).
    async fn http_drained(&self)
    where
        Self: Sync,
    {
    }
}
