//! Connecting by other means than a TCP or Unix socket, and what a connection begins with.

use super::socket::SocketAddr;
use super::stream::Stream;
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::net::SocketAddr as InetSocketAddr;
use std::sync::Arc;

/// A user's own way to reach an address: through a tunnel, a virtual socket, a namespace.
#[async_trait]
pub trait Connect: std::fmt::Debug {
    /// Connects to `addr`. The caller applies the peer's connection timeout, so the future may be
    /// dropped at any await.
    ///
    /// # Errors
    /// Any type that fits; the caller sets the source to upstream.
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream>;

    /// The addresses that lead to the same server, best first, where this is no way of connecting but
    /// a list of them: then connectors connect as they do otherwise, to the first that answers, and
    /// don't call [`connect`](Connect::connect). Empty by default.
    ///
    /// Heeded for a peer whose own address is one of them.
    fn addresses(&self) -> &[InetSocketAddr] {
        &[]
    }

    /// What each connection begins with, where there is something; then connectors send it, and connect as
    /// [`Announcement::way`] says, not by [`connect`](Connect::connect). `None` by default.
    fn announcement(&self) -> Option<&Announcement> {
        None
    }
}

/// Bytes that each connection to a peer begins with, such as a header of the PROXY protocol, and the peer's
/// own way to connect, if it has one.
///
/// It stands in the place of that way in the options of a peer, because what these consist of is a kept
/// interface.
#[derive(Debug)]
pub struct Announcement {
    bytes: Box<[u8]>,
    way: Option<Arc<dyn Connect + Send + Sync>>,
}

impl Announcement {
    /// Of these bytes.
    pub(crate) fn new(bytes: Vec<u8>, way: Option<Arc<dyn Connect + Send + Sync>>) -> Self {
        Announcement {
            bytes: bytes.into(),
            way,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The peer's own way to connect, or the addresses that it has.
    pub fn way(&self) -> Option<&Arc<dyn Connect + Send + Sync>> {
        self.way.as_ref()
    }
}

#[async_trait]
impl Connect for Announcement {
    /// Never called by a connector, which knows the way.
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream> {
        match &self.way {
            Some(way) => way.connect(addr).await,
            None => Error::e_explain(
                ErrorType::ConnectError,
                "an announcement is no way to connect",
            ),
        }
    }

    fn addresses(&self) -> &[InetSocketAddr] {
        self.way.as_ref().map_or(&[], |way| way.addresses())
    }

    fn announcement(&self) -> Option<&Announcement> {
        Some(self)
    }
}
