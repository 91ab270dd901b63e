//! TLS, independent of the library that implements it.
//!
//! A library is a backend behind the traits of [`backend`], chosen as a value for each listener and each
//! connector. OpenSSL, if the feature `openssl` compiles it in, is the default. Its names appear only in
//! `openssl`, here and in `sys`, and in `listeners/tls/openssl.rs`, which hands its builder to programs
//! (`tests/tls_walls.rs`). All layers above use facts: [`SslDigest`], [`TlsFacts`].
//!
//! rustls, if the feature `rustls` compiles it in, is another one, in `rustls`; without OpenSSL, it is the default.
//! Without any library, the names of its types exist without values, in `absent`, and a listener or connector
//! without another backend gets an error that names the feature to turn on.

mod accept;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Some of it is for OpenSSL only.
mod alpn;
pub mod backend;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Some of it is for OpenSSL only.
mod client_handshake;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod client_hello;
pub mod digest;
mod facts;
mod handshakes;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod hints;
mod library;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
pub(crate) mod names;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod offload;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod plain_http;
#[cfg(any(feature = "openssl", feature = "rustls"))]
mod preference;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Without a library there are no sessions.
pub(crate) mod sessions;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod store;
mod tickets;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod verify;
#[cfg(any(feature = "openssl", feature = "rustls"))]
mod writing;
#[cfg(feature = "rustls")]
mod x509;

#[cfg(feature = "openssl")]
pub mod openssl;
#[cfg(feature = "openssl")]
pub use self::openssl as boringssl_openssl;
#[cfg(feature = "openssl")]
pub(crate) use self::openssl::{
    BuiltInServer,
    client::{BuiltInClient, ClientSession},
    loaded::LoadedCertificate,
};
#[cfg(feature = "openssl")]
pub use self::openssl::{SslStream, client, server, stream};

#[cfg(feature = "rustls")]
pub mod rustls;
#[cfg(all(feature = "rustls", not(feature = "openssl")))]
pub(crate) use self::rustls::{
    BuiltInClient, BuiltInServer, ClientSession, LoadedCertificate, certificate::hash_ca,
};

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
mod absent;
#[cfg(not(any(feature = "openssl", feature = "rustls")))]
pub(crate) use absent::{BuiltInClient, BuiltInServer, ClientSession, LoadedCertificate, hash_ca};

#[cfg(feature = "openssl")]
pub(crate) use self::openssl::certificate::hash_ca;

/// The certificate types that [`crate::utils::tls`] makes public.
pub(crate) mod certificate {
    #[cfg(not(any(feature = "openssl", feature = "rustls")))]
    pub use super::absent::CertKey;
    #[cfg(not(any(feature = "openssl", feature = "rustls")))]
    pub(crate) use super::absent::key_to_der;
    #[cfg(feature = "openssl")]
    pub use super::openssl::certificate::*;
    #[cfg(all(feature = "rustls", not(feature = "openssl")))]
    pub use super::rustls::certificate::*;
}

pub use accept::{HandshakeDecisions, TlsAccept, TlsAcceptCallbacks};
pub use alpn::{ALPN, CustomALPN};
pub use client_handshake::{
    CertificateDer, ClientHandshake, ClientSessions, ClientSettings, KeyLog,
};
pub use client_hello::ClientHello;
#[cfg(any(feature = "openssl", feature = "rustls"))]
pub(crate) use client_hello::ClientHelloFinder;
pub use digest::{SslDigest, SslDigestExtension};
pub use facts::TlsFacts;
pub use handshakes::{HandshakeCounters, HandshakeFailure};
pub use library::{CaType, Certificate, TlsRef};
pub use offload::Offload;
pub(crate) use plain_http::PlainHttp;
pub use sessions::{SessionKey, TlsHandshakeCounts};
pub use store::{
    ACME_TLS_ALPN, CertificateId, CertificateInfo, CertificateProvider, CertificateSource,
    CertificateStore, ChosenCertificate, KeyKind,
};
pub use tickets::{Found, SessionTickets, TicketKey, TicketKeySource};
pub use verify::{ClientCertificates, ClientVerifier};

use pingora_error::ErrorType;
use std::any::Any;
use std::sync::Arc;

/// The type of errors in TLS settings: files that can't be read, keys that don't fit.
pub(crate) const TLS_CONF_ERR: ErrorType = ErrorType::Custom("TLSConfigError");

/// Called when a handshake with an upstream is complete. Its return value is kept in the
/// connection's [`SslDigest`], in [`SslDigest::extension`].
pub type HandshakeCompleteHook =
    Arc<dyn Fn(&TlsRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>;
