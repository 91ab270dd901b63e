//! TLS by rustls: a backend without a library of the system.
//!
//! With the feature `rustls` it is there beside OpenSSL, as a value to choose for each listener and each connector:
//!
//! ```no_run
//! # fn main() -> pingora_core::Result<()> {
//! use pingora_core::connectors::TransportConnector;
//! use pingora_core::listeners::tls::{CertificateSource, CertificateStore, TlsSettings};
//! use pingora_core::protocols::tls::rustls::{RustlsClient, RustlsServer};
//!
//! let store = CertificateStore::new();
//! store.add(CertificateSource::files("/etc/ssl/fullchain.pem", "/etc/ssl/key.pem"))?;
//! let mut tls = TlsSettings::with_backend(RustlsServer::new())?;
//! tls.set_store(store);
//! tls.enable_h2();
//!
//! let connector = TransportConnector::new(None);
//! connector.set_tls_backend(&RustlsClient::new())?;
//! # Ok(())
//! # }
//! ```
//!
//! Without the feature `openssl` it is what listeners and connectors have that were given no backend.
//!
//! The cryptography is aws-lc-rs, which is compiled with the program and needs a C compiler. Key exchange is
//! X25519MLKEM768 by default if the other side supports it: see [`SslDigest::group`](super::SslDigest::group).
//! `docs/tls.md` has a table of the differences from OpenSSL. A program's own `rustls::ServerConfig`, `ClientConfig`,
//! certificate resolver or verifier is given to [`RustlsServer`] and [`RustlsClient`]; [`library`] is the crate
//! that they have to come from.

/// The methods about signatures that the verifiers of both sides share: by the field `algorithms`.
macro_rules! signature_methods {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &::rustls::pki_types::CertificateDer<'_>,
            dss: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            ::rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &::rustls::pki_types::CertificateDer<'_>,
            dss: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            ::rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<::rustls::SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

mod client;
mod demands;
mod digest;
mod handshake_failure;
mod key_log;
mod keys;
mod options;
mod server;
mod session;
mod sessions;
mod stream;
mod suites;
mod tickets;
mod trust;
mod verify;
mod wire;

pub use ::rustls as library;
pub use client::RustlsClient;
pub use options::RustlsServer;

#[cfg(not(feature = "openssl"))]
pub(crate) use {built_in::BuiltInClient, options::RustlsServer as BuiltInServer};

/// In the place of OpenSSL.
#[cfg(not(feature = "openssl"))]
mod built_in {
    use super::RustlsClient;
    use crate::protocols::tls::ClientSettings;
    use crate::protocols::tls::backend::{ClientBackend, TlsConnector};
    use pingora_error::Result;

    /// rustls as the backend of connectors that were given no other.
    #[derive(Debug)]
    pub(crate) struct BuiltInClient;

    impl ClientBackend for BuiltInClient {
        fn name(&self) -> &'static str {
            "rustls"
        }

        fn build(&self, settings: &ClientSettings) -> Result<Box<dyn TlsConnector>> {
            RustlsClient::new().build(settings)
        }
    }
}
