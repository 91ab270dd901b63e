//! Callbacks with which a program decides during a client's handshake.

use super::{ChosenCertificate, ClientHello, SslDigest, TlsRef};
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

    /// The handshake is complete. The returned value is kept in the extension of the connection's
    /// [`SslDigest`](super::SslDigest).
    async fn handshake_complete_callback(&self, _ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>>
    where
        Self: Sync,
    {
        None
    }
}

/// The callbacks of a listener, as it keeps them.
pub type TlsAcceptCallbacks = Box<dyn TlsAccept + Send + Sync>;

/// Decisions of a program during the handshakes of a listener's clients, for every TLS library.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::listeners::tls::{ChosenCertificate, HandshakeDecisions};
/// use pingora_core::protocols::tls::ClientHello;
///
/// /// Turns clients away that ask for no name.
/// struct NamesOnly;
///
/// #[async_trait]
/// impl HandshakeDecisions for NamesOnly {
///     async fn certificate(
///         &self,
///         hello: &ClientHello,
///         stored: Option<ChosenCertificate>,
///     ) -> Option<ChosenCertificate> {
///         stored.filter(|_| hello.server_name().is_some())
///     }
/// }
/// ```
#[async_trait]
pub trait HandshakeDecisions: Send + Sync {
    /// The certificate for a client that has said `hello`; `stored` is the one in the listener's store.
    /// `None` ends the handshake. By default, `stored`.
    ///
    /// May wait, for a database or another process; the handshake's deadline bounds it, and it may be dropped at
    /// any await. Also called for a client that resumes a session, if the library can't tell yet.
    async fn certificate(
        &self,
        _hello: &ClientHello,
        stored: Option<ChosenCertificate>,
    ) -> Option<ChosenCertificate> {
        stored
    }

    /// The handshake is complete, and these are its results. The returned value is kept in the extension of the
    /// connection's [`SslDigest`]. `None` by default.
    async fn complete(&self, _digest: &SslDigest) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}
