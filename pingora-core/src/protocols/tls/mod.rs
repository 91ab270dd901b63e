//! TLS, independent of the library that implements it.
//!
//! A library is a backend behind the traits of [`backend`], chosen as a value for each listener and each
//! connector. OpenSSL, if the feature `openssl` compiles it in, is the default. Its names appear only in
//! `openssl`, `certificate/openssl`, `library`, here and in `sys`, and in `listeners/tls/openssl.rs`, which hands its
//! builder to programs (`tests/tls_walls.rs`). All layers above use facts: [`SslDigest`], [`TlsFacts`].
//!
//! rustls, if the feature `rustls` compiles it in, is another one, in `rustls`; without OpenSSL, it is the default.
//! Without any library, the names of its types exist without values, and a listener or connector without another
//! backend gets an error that names the feature to turn on, from `absent`.
//!
//! The modules have an order, in which each uses only earlier ones:
//!
//! - facts about connections, and the types of a library that stand in the interface (`library`);
//! - `certificate`: certificates with their keys, as values of the built-in library's types;
//! - what holds such values: `store`, `verify`, `accept`, `client_handshake`, `hints`, `sessions`, `client_settings`;
//! - [`backend`];
//! - the backends: `openssl`, `rustls`, `absent`.

mod accept;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Some of it is for OpenSSL only.
mod alpn;
pub mod backend;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
pub(crate) mod certificate;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Some of it is for OpenSSL only.
mod client_handshake;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Used by a library only.
mod client_hello;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))]
// Some of it is for OpenSSL only.
mod client_settings;
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
pub(crate) use self::openssl::{BuiltInServer, client::BuiltInClient};
#[cfg(feature = "openssl")]
pub use self::openssl::{SslStream, client, server, stream};

#[cfg(feature = "rustls")]
pub mod rustls;
#[cfg(all(feature = "rustls", not(feature = "openssl")))]
pub(crate) use self::rustls::{BuiltInClient, BuiltInServer};

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
mod absent;
#[cfg(not(any(feature = "openssl", feature = "rustls")))]
pub(crate) use absent::{BuiltInClient, BuiltInServer};

pub use accept::{HandshakeDecisions, TlsAccept, TlsAcceptCallbacks};
pub use alpn::{ALPN, CustomALPN};
pub(crate) use certificate::hash_ca;
pub use certificate::{CertificateDer, CertificateId, CertificateInfo, CertificateSource, KeyKind};
pub use client_handshake::ClientHandshake;
pub use client_hello::ClientHello;
#[cfg(any(feature = "openssl", feature = "rustls"))]
pub(crate) use client_hello::ClientHelloFinder;
pub use client_settings::{ClientSessions, ClientSettings, KeyLog};
pub use digest::{SslDigest, SslDigestExtension};
pub use facts::TlsFacts;
pub use handshakes::{HandshakeCounters, HandshakeFailure};
pub use library::{CaType, Certificate, TlsRef};
pub use offload::Offload;
pub(crate) use plain_http::PlainHttp;
pub use sessions::{SessionKey, TlsHandshakeCounts};
pub use store::{ACME_TLS_ALPN, CertificateProvider, CertificateStore, ChosenCertificate};
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
