//! A connection as every layer above the transport sees it.

use super::digest::{Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest};
use super::tls::{ALPN, SslDigest, TlsRef};
use async_trait::async_trait;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Identifies a connection while it is open: the file descriptor, if there is one.
pub type UniqueIDType = i32;

/// A connection as every layer above sees it: plain, TLS, or in memory.
pub type Stream = Box<dyn IO>;

/// Ends a connection in an orderly way.
#[async_trait]
pub trait Shutdown {
    /// Tells the peer that nothing more will be written (TLS close_notify, TCP FIN). Errors are not
    /// reported: the connection is abandoned either way.
    async fn shutdown(&mut self);
}

/// Identifies a connection among those that are open at the same time.
pub trait UniqueID {
    /// The file descriptor, or an equivalent number.
    fn id(&self) -> UniqueIDType;
}

/// The TLS side of a connection. All defaults say "this is not TLS".
pub trait Ssl {
    /// Whether written data is encrypted, and must end with a close_notify, with any library.
    ///
    /// By default, a stream with the digest of a handshake or with a library's session is encrypted. A
    /// stream that can tell without either should override this.
    fn is_encrypted(&self) -> bool {
        self.get_ssl_digest().is_some() || self.get_ssl().is_some()
    }

    /// OpenSSL's own session object, for programs that need OpenSSL explicitly; `None` if another backend
    /// made the session. [`get_ssl_digest`](Ssl::get_ssl_digest) returns the facts with any backend.
    fn get_ssl(&self) -> Option<&TlsRef> {
        None
    }

    /// The results of the handshake.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    /// The application protocol that the handshake agreed upon.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.get_ssl_digest()?.alpn().cloned()
    }
}

/// Peeking at received bytes without consuming them.
#[async_trait]
pub trait Peek {
    /// Fills `buf` with the next bytes without consuming them. Returns `false` if the transport
    /// can't do that. Waits until all of `buf` is filled.
    async fn try_peek(&mut self, _buf: &mut [u8]) -> std::io::Result<bool>
    where
        Self: Send,
    {
        Ok(false)
    }
}

/// A connection: bytes in both directions, and the facts known about it.
pub trait IO:
    AsyncRead
    + AsyncWrite
    + Shutdown
    + UniqueID
    + Ssl
    + GetTimingDigest
    + GetProxyDigest
    + GetSocketDigest
    + Peek
    + Unpin
    + Debug
    + Send
    + Sync
{
    /// For downcasting to the concrete type.
    fn as_any(&self) -> &dyn Any;
    /// For mutable downcasting to the concrete type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// For moving the concrete type out of the box.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<
    T: AsyncRead
        + AsyncWrite
        + Shutdown
        + UniqueID
        + Ssl
        + GetTimingDigest
        + GetProxyDigest
        + GetSocketDigest
        + Peek
        + Unpin
        + Debug
        + Send
        + Sync
        + 'static,
> IO for T
{
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Digest {
    /// The facts about this connection.
    pub(crate) fn of(io: &Stream) -> Self {
        Digest {
            ssl_digest: io.get_ssl_digest(),
            timing_digest: io.get_timing_digest(),
            proxy_digest: io.get_proxy_digest(),
            socket_digest: io.get_socket_digest(),
        }
    }
}
