//! TLS, whichever library speaks it.
//!
//! This module and its neighbours of the same name in `listeners` and `utils` are the only ones
//! that know a library by name; everything else sees the types re-exported here. Without a
//! library the same names exist, so that programs compile; whoever wants TLS gets an error that
//! says what to turn on.

mod accept;
mod alpn;
pub mod digest;
pub(crate) mod sessions;

#[cfg(feature = "openssl")]
pub mod openssl;
#[cfg(feature = "openssl")]
pub use self::openssl as boringssl_openssl;
#[cfg(feature = "openssl")]
pub use self::openssl::{CaType, SslStream, TlsRef, client, server, stream};
#[cfg(feature = "openssl")]
pub(crate) use self::openssl::{
    client::{ClientContext, ClientSession},
    server::ServerContext,
};

#[cfg(not(feature = "openssl"))]
mod absent;
#[cfg(not(feature = "openssl"))]
pub use absent::{CaType, TlsRef};
#[cfg(not(feature = "openssl"))]
pub(crate) use absent::{ClientContext, ClientSession, ServerContext};

#[cfg(feature = "openssl")]
pub(crate) use self::openssl::certificate::hash_ca;
#[cfg(not(feature = "openssl"))]
pub(crate) use absent::hash_ca;

/// The certificate types that [`crate::utils::tls`] makes public.
pub(crate) mod certificate {
    #[cfg(not(feature = "openssl"))]
    pub use super::absent::CertKey;
    #[cfg(feature = "openssl")]
    pub use super::openssl::certificate::*;
}

pub use accept::{TlsAccept, TlsAcceptCallbacks};
pub use alpn::{ALPN, CustomALPN};
pub use digest::{SslDigest, SslDigestExtension};
pub use sessions::TlsHandshakeCounts;

use certificate::CertKey;
use sessions::SessionCache;
use std::any::Any;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Called when a handshake with an upstream is complete. What it returns is kept in the
/// connection's [`SslDigest`], in [`SslDigest::extension`].
pub type HandshakeCompleteHook =
    Arc<dyn Fn(&TlsRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>;

/// What all TLS connections of one connector to its upstreams have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSettings {
    /// Certificates to trust, a PEM file, instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate chain and key to show to upstreams that ask, PEM files.
    pub(crate) cert_key_file: Option<(PathBuf, PathBuf)>,
    /// Where to write the secrets of each session for a debugger, in the format of NSS.
    pub(crate) keylog_file: Option<PathBuf>,
    /// Sessions to resume.
    pub(crate) sessions: Arc<SessionCache<ClientSession>>,
}

/// What one TLS connection to an upstream asks for.
#[derive(Clone)]
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Nobody reads them without a library.
pub(crate) struct ClientHandshake<'a> {
    /// What tells the upstream from others, by its own idea.
    pub(crate) reuse_hash: u64,
    /// Name to ask for; empty sends none.
    pub(crate) sni: &'a str,
    /// The upstream's address, which its certificate must name where there is no other name.
    pub(crate) address: Option<IpAddr>,
    /// Verify the chain of certificates.
    pub(crate) verify_cert: bool,
    /// Verify that the certificate is for the upstream's name. Means nothing without
    /// `verify_cert`.
    pub(crate) verify_hostname: bool,
    /// Another name that the certificate may have.
    pub(crate) alternative_name: Option<&'a str>,
    /// Certificates to trust instead of the connector's.
    pub(crate) ca: Option<&'a CaType>,
    /// Certificate to show instead of the connector's.
    pub(crate) client_cert: Option<&'a CertKey>,
    /// Protocols to offer.
    pub(crate) alpn: Option<&'a ALPN>,
    /// Groups to offer, colon separated.
    pub(crate) curves: Option<&'a str>,
    /// Called when the handshake is complete.
    pub(crate) complete_hook: Option<&'a HandshakeCompleteHook>,
}
