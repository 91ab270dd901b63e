//! TLS towards clients: certificates, versions, protocols, callbacks.

#[cfg(not(feature = "openssl"))]
mod absent;
#[cfg(feature = "openssl")]
pub mod openssl;

#[cfg(feature = "openssl")]
pub use self::openssl as boringssl_openssl;
#[cfg(feature = "openssl")]
pub use self::openssl::TlsSettings;
#[cfg(not(feature = "openssl"))]
pub use absent::TlsSettings;

pub use crate::protocols::tls::{ALPN, TlsAccept, TlsAcceptCallbacks};

use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::ServerContext;
use pingora_error::{ErrorType, Result};

/// The type of errors in TLS settings: files that can't be read, keys that don't fit.
pub const TLS_CONF_ERR: ErrorType = ErrorType::Custom("TLSConfigError");

/// Does the server's side of handshakes, as [`TlsSettings`] say.
#[derive(Debug)]
pub(crate) struct Acceptor(ServerContext);

impl Acceptor {
    /// The handshake over `stream`. There is no deadline: the caller has one. Dropping the future
    /// closes the connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure`, with the client as its source.
    pub(crate) async fn handshake(&self, stream: L4Stream) -> Result<Stream> {
        self.0.accept(stream).await.map_err(|e| e.into_down())
    }

    /// Reads the certificate's files again; what is returned puts it into force. `None` where the
    /// certificate does not come from files. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be used.
    pub(crate) fn renew(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        self.0.renew()
    }
}

#[cfg(test)]
#[cfg(feature = "openssl")]
mod tests;
