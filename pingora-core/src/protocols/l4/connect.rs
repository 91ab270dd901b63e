//! Connecting by other means than a TCP or Unix socket.

use super::socket::SocketAddr;
use super::stream::Stream;
use async_trait::async_trait;
use pingora_error::Result;
use std::net::SocketAddr as InetSocketAddr;

/// A user's own way to reach an address: through a tunnel, a virtual socket, a namespace.
#[async_trait]
pub trait Connect: std::fmt::Debug {
    /// Connects to `addr`. The caller applies the peer's connection timeout, so the future may be
    /// dropped at any await.
    ///
    /// # Errors
    /// Whatever type fits; the source is set to upstream by the caller.
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream>;

    /// The addresses that lead to the same server, best first, where this is no way of connecting but
    /// a list of them: then connectors connect as they do otherwise, to the first that answers, and
    /// don't call [`connect`](Connect::connect). Empty by default.
    ///
    /// Heeded for a peer whose own address is one of them.
    fn addresses(&self) -> &[InetSocketAddr] {
        &[]
    }
}
