//! TLS, whichever library speaks it.
//!
//! This module and its neighbours of the same name in `listeners` and `utils` are the only ones
//! that know a library by name; everything else sees the types re-exported here. Without a
//! library the same names exist, so that programs compile; whoever wants TLS gets an error that
//! says what to turn on.

mod accept;
mod alpn;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
mod client_hello;
pub mod digest;
mod facts;
mod handshakes;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
pub(crate) mod names;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
mod offload;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
mod plain_http;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Nobody makes sessions without a library.
pub(crate) mod sessions;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
mod store;
mod tickets;
#[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Used by a library only.
mod verify;

#[cfg(feature = "openssl")]
pub mod openssl;
#[cfg(feature = "openssl")]
pub use self::openssl as boringssl_openssl;
#[cfg(feature = "openssl")]
pub use self::openssl::{CaType, Certificate, SslStream, TlsRef, client, server, stream};
#[cfg(feature = "openssl")]
pub(crate) use self::openssl::{
    client::{ClientContext, ClientSession},
    loaded::LoadedCertificate,
    server::{PlainClient, ServerContext},
};

#[cfg(not(feature = "openssl"))]
mod absent;
#[cfg(not(feature = "openssl"))]
pub use absent::{CaType, Certificate, TlsRef};
#[cfg(not(feature = "openssl"))]
pub(crate) use absent::{
    ClientContext, ClientSession, LoadedCertificate, PlainClient, ServerContext,
};

#[cfg(feature = "openssl")]
pub(crate) use self::openssl::certificate::hash_ca;
#[cfg(not(feature = "openssl"))]
pub(crate) use absent::hash_ca;

/// The certificate types that [`crate::utils::tls`] makes public.
pub(crate) mod certificate {
    #[cfg(not(feature = "openssl"))]
    pub use super::absent::CertKey;
    #[cfg(not(feature = "openssl"))]
    pub(crate) use super::absent::{from_der, to_der};
    #[cfg(feature = "openssl")]
    pub use super::openssl::certificate::*;
}

pub use accept::{TlsAccept, TlsAcceptCallbacks};
pub use alpn::{ALPN, CustomALPN};
pub use client_hello::ClientHello;
#[cfg(feature = "openssl")]
pub(crate) use client_hello::ClientHelloFinder;
pub use digest::{SslDigest, SslDigestExtension};
pub use facts::TlsFacts;
pub use handshakes::{HandshakeCounters, HandshakeFailure};
pub(crate) use offload::Offload;
pub(crate) use plain_http::PlainHttp;
pub use sessions::TlsHandshakeCounts;
pub use store::{CertificateId, CertificateInfo, CertificateSource, CertificateStore, KeyKind};
pub use tickets::{Found, SessionTickets, TicketKey, TicketKeySource};
pub use verify::{ClientCertificates, ClientVerifier};

use certificate::CertKey;
use pingora_error::{Error, ErrorType, Result};
use sessions::SessionCache;
use std::any::Any;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The type of errors in TLS settings: files that can't be read, keys that don't fit.
pub(crate) const TLS_CONF_ERR: ErrorType = ErrorType::Custom("TLSConfigError");

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

impl ClientHandshake<'_> {
    /// Refuses values that mean something else to a library than to whoever set them. An empty `sni` is
    /// none of these: it says that there is no name.
    ///
    /// # Errors
    /// `InternalError` naming the option.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.sni.is_empty() {
            names::check("sni", self.sni)?;
        }
        if let Some(name) = self.alternative_name {
            names::check("alternative_cn", name)?;
        }
        if let Some(ALPN::Custom(custom)) = self.alpn
            && custom.protocol().is_empty()
        {
            return unusable("alpn names a protocol of no bytes");
        }
        match self.curves {
            Some("") => unusable("curves is empty; None stands for the library's own"),
            Some(curves) if curves.bytes().any(|b| b.is_ascii_control()) => {
                unusable("curves holds a control byte")
            }
            _ => Ok(()),
        }
    }
}

fn unusable(what: &'static str) -> Result<()> {
    Error::e_explain(ErrorType::InternalError, what)
}
