//! The TLS side of connecting to a peer.

use super::error_context::of_upstream;
use super::options::ConnectorOptions;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{ClientBackend, TlsConnector};
use crate::protocols::tls::sessions::KeptSession;
use crate::protocols::tls::sessions::SessionCache;
use crate::protocols::tls::{ALPN, BuiltInClient, ClientHandshake, ClientSettings};
use crate::protocols::{GetSocketDigest, Stream};
use crate::upstreams::peer::Peer;
use pingora_error::{Error, ErrorType, Result};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The time limit for a handshake if the peer sets none.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes TLS connections that share trust and settings.
#[derive(Debug)]
pub(super) struct Connector {
    settings: ClientSettings,
    /// Created on first use, because reading the system's certificates takes a tenth of a second
    /// and some megabytes. An error is kept as text: every connection fails with it.
    context: OnceCell<Result<Box<dyn TlsConnector>, String>>,
    /// The backend that was chosen instead.
    other: OnceLock<Result<Box<dyn TlsConnector>, String>>,
}

impl Connector {
    /// Unusable files in the options are logged here and make every TLS connection fail.
    pub(super) fn new(options: Option<&ConnectorOptions>) -> Self {
        Self::with_settings(Self::settings(options, |name| std::env::var_os(name)))
    }

    /// The settings of the options; `variable` is the environment.
    fn settings(
        options: Option<&ConnectorOptions>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> ClientSettings {
        let mut settings = ClientSettings::default();
        if let Some(options) = options {
            settings.ca_file = options.ca_file.as_ref().map(PathBuf::from);
            settings.cert_key_file = options
                .cert_key_file
                .as_ref()
                .map(|(cert, key)| (cert.into(), key.into()));
            if options.debug_ssl_keylog {
                settings.keylog_file = variable("SSLKEYLOGFILE").map(PathBuf::from);
            }
        }
        settings
    }

    fn with_settings(settings: ClientSettings) -> Self {
        let has_files = settings.ca_file.is_some()
            || settings.cert_key_file.is_some()
            || settings.keylog_file.is_some();
        // If files are named, their errors are reported at once.
        let context = has_files.then(|| make_context(&settings));
        if let Some(Err(e)) = &context {
            log::error!("TLS connections to upstreams will fail: {e}");
        }
        Connector {
            settings,
            context: OnceCell::new_with(context),
            other: OnceLock::new(),
        }
    }

    /// Uses this backend for TLS from now on. Blocks.
    ///
    /// # Errors
    /// The backend's errors, and then every TLS connection fails; `InternalError` if one was chosen before,
    /// which stays.
    pub(super) fn set_backend(&self, backend: &dyn ClientBackend) -> Result<()> {
        let name = backend.name();
        let (chosen, outcome) = match backend.build(&self.settings) {
            Ok(made) => (Ok(made), Ok(())),
            Err(e) => (Err(format!("the TLS backend {name}: {e}")), Err(e)),
        };
        if self.other.set(chosen).is_err() {
            let reason = format!("a TLS backend was chosen before {name}");
            return Error::e_explain(ErrorType::InternalError, reason);
        }
        outcome
    }

    async fn context(&self) -> Result<&dyn TlsConnector, &str> {
        if let Some(other) = self.other.get() {
            return other.as_deref().map_err(String::as_str);
        }
        let made = self.context.get_or_init(|| async {
            let settings = self.settings.clone();
            let made = tokio::task::spawn_blocking(move || make_context(&settings)).await;
            made.unwrap_or_else(|e| Err(format!("making the TLS context: {e}")))
        });
        made.await.as_deref().map_err(String::as_str)
    }

    /// Sessions with upstreams that may be resumed.
    pub(super) fn sessions(&self) -> &SessionCache<KeptSession> {
        &self.settings.sessions
    }

    /// The handshake with `peer`, as `wanted` describes it, over `stream`, within the peer's connection
    /// timeout.
    ///
    /// # Errors
    /// `InvalidCert`, `TLSHandshakeFailure`, `TLSHandshakeTimedout`, or `InternalError` for
    /// unusable settings, with the upstream as their source and the peer in their context.
    pub(super) async fn connect<P: Peer + Send + Sync>(
        &self,
        peer: &P,
        wanted: &ClientHandshake<'_>,
        stream: L4Stream,
    ) -> Result<Stream> {
        let context = self.context().await.map_err(|reason| {
            let e = Error::explain(ErrorType::TLSHandshakeFailure, reason.to_string());
            of_upstream(e, peer)
        })?;
        let limit = peer
            .connection_timeout()
            .unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT);
        match tokio::time::timeout(limit, context.connect(stream, wanted)).await {
            Ok(result) => result,
            Err(_) => Error::e_explain(
                ErrorType::TLSHandshakeTimedout,
                format!(
                    "no TLS session within {limit:?} (hint: an upstream that speaks plain text on this \
                     port may wait like that)"
                ),
            ),
        }
        .map_err(|e| of_upstream(e, peer))
    }
}

/// The one of several addresses that has answered: if the peer has no name, the certificate has to be
/// for that address.
pub(super) fn answered<P: Peer>(peer: &P, stream: &L4Stream) -> Option<IpAddr> {
    let several = peer.get_peer_options()?.addresses(peer.address());
    if several.is_empty() || peer.get_proxy().is_some() {
        return None;
    }
    let digest = stream.get_socket_digest()?;
    digest.peer_addr()?.as_inet().map(|addr| addr.ip())
}

/// The handshake that this peer asks for. `alpn` is offered instead of the peer's own preference.
pub(super) fn wanted_of<'a, P: Peer>(peer: &'a P, alpn: Option<&'a ALPN>) -> ClientHandshake<'a> {
    ClientHandshake {
        reuse_hash: peer.reuse_hash(),
        sni: peer.sni(),
        address: peer.address().as_inet().map(|addr| addr.ip()),
        verify_cert: peer.verify_cert(),
        verify_hostname: peer.verify_hostname(),
        alternative_name: peer.alternative_cn().map(String::as_str),
        ca: peer.get_ca().map(|ca| &**ca),
        client_cert: peer.get_client_cert_key().map(|cert_key| &**cert_key),
        alpn: alpn.or(peer.get_alpn()),
        curves: peer.get_peer_options().and_then(|o| o.curves.as_deref()),
        complete_hook: peer.upstream_tls_handshake_complete_hook(),
    }
}

fn make_context(settings: &ClientSettings) -> Result<Box<dyn TlsConnector>, String> {
    BuiltInClient.build(settings).map_err(|e| e.to_string())
}

#[cfg(test)]
#[cfg(feature = "openssl")]
mod tests;
