//! Callbacks with which a program decides during a client's handshake.

use super::TlsRef;
use async_trait::async_trait;
use std::any::Any;
use std::sync::Arc;

/// Callbacks of a TLS listener.
#[async_trait]
pub trait TlsAccept {
    /// The client said hello and waits for a certificate: put certificate and key into `ssl`, by
    /// the name that the client asked for or by any other rule. Does nothing by default.
    ///
    /// Not called when a session is resumed. The handshake's deadline bounds it; it may be dropped
    /// at any await.
    async fn certificate_callback(&self, _ssl: &mut TlsRef) -> ()
    where
        Self: Sync,
    {
    }

    /// The handshake is complete. What is returned is kept in the connection's
    /// [`SslDigest`](super::SslDigest), in its extension.
    async fn handshake_complete_callback(&self, _ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>>
    where
        Self: Sync,
    {
        None
    }
}

/// The callbacks of a listener, as it keeps them.
pub type TlsAcceptCallbacks = Box<dyn TlsAccept + Send + Sync>;
