//! Turns connections away before much is spent on them.

use async_trait::async_trait;
use std::fmt::Debug;
use std::net::SocketAddr;

/// Decides about a connection right after it was accepted, by its peer's address: before a handshake, and before
/// a byte is read. On an endpoint that expects the [PROXY protocol](super::ProxyProtocol), after the header was
/// read, by the address of the client that it names.
///
/// Called in the connection's own task, so a filter may perform look-ups: other connections do not wait for
/// it. It has 60 s to answer; after that, or if it panics, the connection is closed. On Unix sockets it is
/// called with `None`.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::listeners::ConnectionFilter;
/// use std::net::SocketAddr;
///
/// #[derive(Debug)]
/// struct LocalOnly;
///
/// #[async_trait]
/// impl ConnectionFilter for LocalOnly {
///     async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
///         addr.is_none_or(|addr| addr.ip().is_loopback())
///     }
/// }
/// ```
#[async_trait]
pub trait ConnectionFilter: Debug + Send + Sync {
    /// Whether the connection may stay. `false` closes it without sending a byte. By default all
    /// may.
    async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
        true
    }
}

/// Accepts every connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptAllFilter;

#[async_trait]
impl ConnectionFilter for AcceptAllFilter {}
