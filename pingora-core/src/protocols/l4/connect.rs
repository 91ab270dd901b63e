//! Connecting by means other than a TCP or Unix socket, and bytes that a connection begins with.

use super::socket::SocketAddr;
use super::stream::Stream;
use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use std::net::SocketAddr as InetSocketAddr;
use std::sync::Arc;

/// A custom way to reach an address: through a tunnel, a virtual socket, a namespace.
#[async_trait]
pub trait Connect: std::fmt::Debug {
    /// Connects to `addr`. The caller applies the peer's connection timeout, so the future may be
    /// dropped at any await.
    ///
    /// # Errors
    /// Any suitable type; the caller sets the source to upstream.
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream>;

    /// The addresses that lead to the same server, best first, if this type is not a way to connect
    /// but a list of addresses. In that case connectors connect as usual, to the first one that
    /// answers, and don't call [`connect`](Connect::connect). Empty by default.
    ///
    /// Used for a peer whose own address is one of them.
    fn addresses(&self) -> &[InetSocketAddr] {
        &[]
    }

    /// The bytes that each connection begins with, if any. In that case connectors send them, and connect
    /// as [`Announcement::way`] says, not with [`connect`](Connect::connect). `None` by default.
    fn announcement(&self) -> Option<&Announcement> {
        None
    }
}

/// Bytes that each connection to a peer begins with, such as a PROXY protocol header, and the peer's own
/// way to connect, if it has one.
///
/// It is stored in place of that way in the options of a peer, because their fields are a kept
/// interface.
#[derive(Debug)]
pub struct Announcement {
    bytes: Box<[u8]>,
    way: Option<Arc<dyn Connect + Send + Sync>>,
}

impl Announcement {
    /// Creates an announcement of these bytes.
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

    /// The peer's own way to connect, or its list of addresses.
    pub fn way(&self) -> Option<&Arc<dyn Connect + Send + Sync>> {
        self.way.as_ref()
    }
}

#[async_trait]
impl Connect for Announcement {
    /// Never called by a connector, which uses the way.
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
