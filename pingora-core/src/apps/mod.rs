//! Applications: the code that handles a connection.

mod custom;
mod http2_server;
pub mod http_app;
mod http_server;
mod http_server_app;
mod options;
mod pace;
mod reused;
mod shutdown;

pub use custom::serve_custom;
pub use http_server_app::HttpServerApp;
pub use options::HttpServerOptions;
pub use reused::{HttpPersistentSettings, ReusedHttpStream};

pub use crate::process::is_shutting_down;

use crate::process::ShutdownWatch;
use crate::protocols::Stream;
use async_trait::async_trait;
use std::sync::Arc;

/// An application that receives connections: plain or TLS, over TCP or a Unix socket.
///
/// Most programs implement `HttpServerApp` or a trait above it; this one is for other protocols.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::apps::ServerApp;
/// use pingora_core::protocols::Stream;
/// use pingora_core::server::ShutdownWatch;
/// use std::sync::Arc;
///
/// /// Sends back what it is sent.
/// struct Echo;
///
/// #[async_trait]
/// impl ServerApp for Echo {
///     async fn process_new(
///         self: &Arc<Self>,
///         session: Stream,
///         _shutdown: &ShutdownWatch,
///     ) -> Option<Stream> {
///         let (mut reader, mut writer) = tokio::io::split(session);
///         let _ = tokio::io::copy(&mut reader, &mut writer).await;
///         None
///     }
/// }
/// ```
#[async_trait]
pub trait ServerApp {
    /// Serves a connection. A connection that is returned is passed in again at once, as a new one:
    /// that is how it is reused. `None` closes it.
    ///
    /// `shutdown` turns `true` when the server begins to stop; exchanges in progress should then
    /// come to an end, and idle connections should be closed. A panic ends only this connection.
    async fn process_new(
        self: &Arc<Self>,
        session: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream>;

    /// Whether a client of this protocol always speaks first. In that case a connection need not be
    /// accepted before it has brought data: see
    /// [`ListenerConfig::defer_accept`](crate::listeners::ListenerConfig::defer_accept). `false` by
    /// default; `true` for HTTP.
    fn client_speaks_first(&self) -> bool {
        false
    }

    /// Called once, when the service has stopped accepting connections. Connections may still be
    /// active.
    async fn cleanup(&self)
    where
        Self: Sync,
    {
    }

    /// Called once, when the last connection has ended: returns when everything they have left
    /// behind, such as background tasks, has ended too. A stop waits for it, within its limits.
    async fn drained(&self)
    where
        Self: Sync,
    {
    }
}
