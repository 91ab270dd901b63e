//! TLS towards upstreams.

use super::digest;
use super::handshake_failure;
use super::key_log::Lines;
use super::keys::certified;
use super::session::Session;
use super::sessions::{SessionConfig, SessionsOfConnection};
use super::stream::TlsStream;
use super::suites;
use super::trust::Trust;
use super::verify::{self, UpstreamVerifier, Verification, take_verification};
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::backend::{ClientBackend, TlsConnector};
use crate::protocols::tls::certificate::rustls::recommended_provider;
use crate::protocols::tls::certificate::{self, CertKey, Material};
use crate::protocols::tls::{
    CertificateSource, ChosenCertificate, ClientHandshake, ClientSessions, ClientSettings,
};
use futures::future::BoxFuture;
use pingora_error::{BError, Error, ErrorType, OrErr, Result};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DEFAULT_VERSIONS, HandshakeKind, SupportedProtocolVersion};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

/// rustls as the backend of a connector:
/// [`set_tls_backend`](crate::connectors::TransportConnector::set_tls_backend).
///
/// The options of peers mean the same as with OpenSSL; `docs/tls.md` lists the differences. Clones share the
/// settings.
#[derive(Clone, Debug, Default)]
pub struct RustlsClient {
    provider: Option<Arc<CryptoProvider>>,
    versions: Option<Vec<&'static SupportedProtocolVersion>>,
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    config: Option<Arc<ClientConfig>>,
}

impl RustlsClient {
    /// With the recommended settings: TLS 1.2 and 1.3, X25519MLKEM768 first among the groups, the authorities that
    /// the system trusts.
    pub fn new() -> Self {
        RustlsClient::default()
    }

    /// With a configuration of the program's own, whose verifier decides about upstreams, whose resolver has the
    /// certificate to show and whose store has the sessions. Of the peers' options, those about names to ask for,
    /// time-outs and `alpn` count. Connections to peers that ask for something else of the handshake
    /// fail with `InternalError`: `verify_cert` or `verify_hostname` off, `alternative_cn`, `ca`, `curves`, a
    /// client certificate. A connector with `ca_file`, `cert_key_file` or a key log is refused this backend.
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        RustlsClient {
            config: Some(config),
            ..RustlsClient::default()
        }
    }

    /// Verifies upstreams with this verifier instead. It is given the peer's `sni`, or else its address. Connections
    /// to peers with other options about verification (`verify_cert` or `verify_hostname` off, `alternative_cn`, `ca`) fail
    /// with `InternalError`; a connector with `ca_file` is refused.
    pub fn verifier(mut self, verifier: Arc<dyn ServerCertVerifier>) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Takes cipher suites, groups and algorithms from this provider.
    pub fn provider(mut self, provider: CryptoProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    /// Allows only these versions of TLS.
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = Some(versions.to_vec());
        self
    }

    fn check(&self, settings: &ClientSettings) -> Result<()> {
        let own = self.config.is_some();
        let unusable = [
            (
                "ca_file",
                (own || self.verifier.is_some()) && settings.ca_file.is_some(),
            ),
            ("cert_key_file", own && settings.cert_key_file.is_some()),
            ("a key log", own && settings.keylog_file.is_some()),
        ];
        match unusable.iter().find(|(_, is)| *is) {
            None => Ok(()),
            Some((what, _)) => Error::e_explain(
                ErrorType::InternalError,
                format!(
                    "{what} has no effect beside a configuration or verifier of the program's own"
                ),
            ),
        }
    }
}

impl ClientBackend for RustlsClient {
    fn name(&self) -> &'static str {
        "rustls"
    }

    fn build(&self, settings: &ClientSettings) -> Result<Box<dyn TlsConnector>> {
        self.check(settings)?;
        let provider = self.provider.clone().unwrap_or_else(recommended_provider);
        let versions = self.versions.clone();
        let versions = versions.unwrap_or_else(|| DEFAULT_VERSIONS.to_vec());
        let trust = match (&settings.ca_file, &self.config, &self.verifier) {
            (Some(file), ..) => trust_file(file)?,
            (None, None, None) => Trust::system()?,
            // It is never asked.
            (None, ..) => Trust::of_der([])?,
        };
        let certificate = match &settings.cert_key_file {
            Some((chain, key)) => Some(show_files(&provider, chain, key)?),
            None => None,
        };
        let mut context = ClientContext {
            base: None,
            own: self.config.clone(),
            verifier: self.verifier.clone(),
            provider,
            versions,
            trust: Arc::new(trust),
            certificate,
            key_log: settings.key_log()?.map(|log| Arc::new(Lines(log))),
            sessions: settings.sessions(),
        };
        context.base = Some(context.config(context.provider.clone())?);
        Ok(Box::new(context))
    }
}

/// Trusts the certificates in this file and no others. If there are revocation lists beside them, they are
/// applied: then each authority that signs an upstream's certificate needs one.
fn trust_file(file: &Path) -> Result<Trust> {
    let unusable = || "ca_file, the authorities of upstreams";
    let material = Material::file(file);
    let read = material.read();
    let read = read.and_then(|bytes| Trust::read([(&material, bytes)]));
    read.or_err_with(ErrorType::FileReadError, unusable)
}

/// Presents the certificate in these files to upstreams that ask for one.
fn show_files(provider: &CryptoProvider, chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>> {
    let unusable = || "cert_key_file, the certificate for upstreams";
    let loaded = ChosenCertificate::load(&CertificateSource::files(chain, key));
    let loaded: Result<CertifiedKey> = loaded.and_then(|loaded: ChosenCertificate| {
        certified(provider, loaded.chain_der(), loaded.key_der()?)
    });
    loaded
        .map(Arc::new)
        .or_err_with(ErrorType::FileReadError, unusable)
}

/// The resolver that presents a peer's certificate. Made once for each certificate, because reading a key takes
/// time.
///
/// # Errors
/// If the library can't sign with the key.
fn show_certificate(
    provider: &CryptoProvider,
    cert_key: &CertKey,
) -> Result<Arc<SingleCertAndKey>> {
    if let Some(made) = cert_key.made().get()
        && let Ok(made) = made.clone().downcast::<SingleCertAndKey>()
    {
        return Ok(made);
    }
    let (chain, key) = certificate::key_to_der(cert_key)?;
    let made = Arc::new(SingleCertAndKey::from(certified(provider, chain, key)?));
    let _ = cert_key.made().set(made.clone());
    Ok(made)
}

/// The state that all TLS connections of one connector share: trust, versions, ciphers, sessions to resume.
#[derive(Debug)]
struct ClientContext {
    /// For all peers that want no groups of their own.
    base: Option<ClientConfig>,
    /// The program's own.
    own: Option<Arc<ClientConfig>>,
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    trust: Arc<Trust>,
    certificate: Option<Arc<CertifiedKey>>,
    key_log: Option<Arc<Lines>>,
    sessions: ClientSessions,
}

/// A connection's configuration, and what is asked of it afterwards.
struct Prepared {
    config: ClientConfig,
    sessions: Option<Arc<SessionsOfConnection>>,
}

impl ClientContext {
    /// A configuration that verifies nothing yet: each connection puts its verifier into it.
    fn config(&self, provider: Arc<CryptoProvider>) -> Result<ClientConfig> {
        let algorithms = provider.signature_verification_algorithms;
        let nobody = UpstreamVerifier::refusing(algorithms);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .or_err(ErrorType::InternalError, "making a TLS context")?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(nobody));
        let mut config = match &self.certificate {
            Some(certificate) => {
                let shown = SingleCertAndKey::from(certificate.as_ref().clone());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        if let Some(log) = &self.key_log {
            config.key_log = log.clone();
        }
        Ok(config)
    }

    fn prepare(&self, wanted: &ClientHandshake<'_>) -> Result<Prepared> {
        if self.own.is_some() || self.verifier.is_some() {
            self.check_own(wanted)?;
        }
        let mut prepared = match &self.own {
            Some(own) => Prepared {
                config: own.as_ref().clone(),
                sessions: None,
            },
            None => self.prepare_ours(wanted)?,
        };
        let config = &mut prepared.config;
        if let Some(alpn) = wanted.alpn {
            config.alpn_protocols = alpn.protocols().map(<[u8]>::to_vec).collect();
        }
        config.enable_sni &= !wanted.sni.is_empty();
        Ok(prepared)
    }

    fn prepare_ours(&self, wanted: &ClientHandshake<'_>) -> Result<Prepared> {
        let option = |name: &'static str| move || format!("applying the peer's {name}");
        let mut config = match (wanted.curves, &self.base) {
            (None, Some(base)) => base.clone(),
            (None, None) => self.config(self.provider.clone())?,
            (Some(groups), _) => {
                let provider = suites::with_groups(&self.provider, groups.split(':'));
                let provider = provider.or_err_with(ErrorType::InternalError, option("curves"))?;
                self.config(Arc::new(provider))?
            }
        };
        if let Some(cert_key) = wanted.client_cert {
            let resolver = show_certificate(&self.provider, cert_key)
                .or_err_with(ErrorType::InternalError, option("client_cert_key"))?;
            config.client_auth_cert_resolver = resolver;
        }
        let verifier: Arc<dyn ServerCertVerifier> = match &self.verifier {
            Some(own) => own.clone(),
            None => {
                let trust = match wanted.authorities_der() {
                    Some(authorities) => Arc::new(
                        Trust::of_der(authorities)
                            .or_err_with(ErrorType::InternalError, option("ca"))?,
                    ),
                    None => self.trust.clone(),
                };
                let algorithms = self.provider.signature_verification_algorithms;
                Arc::new(UpstreamVerifier::new(wanted, trust, algorithms)?)
            }
        };
        let mut origin = SessionConfig {
            verifier,
            resolver: config.client_auth_cert_resolver.clone(),
        };
        let mut sessions = None;
        config.resumption = Resumption::disabled();
        if self.sessions.is_on() {
            let (cache, key) = (self.sessions.clone(), wanted.session_key());
            let of_connection = Arc::new(SessionsOfConnection::new(cache, key, origin));
            origin = of_connection.origin();
            config.resumption = Resumption::store(of_connection.clone());
            sessions = Some(of_connection);
        }
        config.client_auth_cert_resolver = origin.resolver;
        config.dangerous().set_certificate_verifier(origin.verifier);
        Ok(Prepared { config, sessions })
    }

    /// # Errors
    /// `InternalError` for an option that the program's own configuration decides about.
    fn check_own(&self, wanted: &ClientHandshake<'_>) -> Result<()> {
        let config = self.own.is_some();
        let unusable = [
            ("verify_cert", !wanted.verify_cert),
            ("verify_hostname", !wanted.verify_hostname),
            ("alternative_cn", wanted.alternative_name.is_some()),
            ("ca", wanted.ca.is_some()),
            ("client_cert_key", config && wanted.client_cert.is_some()),
            ("curves", config && wanted.curves.is_some()),
        ];
        match unusable.iter().find(|(_, is)| *is) {
            None => Ok(()),
            Some((what, _)) => Error::e_explain(
                ErrorType::InternalError,
                format!(
                    "the peer's {what} has no effect beside a configuration or verifier of the \
                     program's own"
                ),
            ),
        }
    }

    async fn handshake(&self, stream: L4Stream, wanted: &ClientHandshake<'_>) -> Result<Stream> {
        let prepared = self.prepare(wanted)?;
        let name = name_of(wanted)?;
        let library = UnbufferedClientConnection::new(Arc::new(prepared.config), name);
        let library = library.or_err(ErrorType::InternalError, "making a TLS session")?;
        let mut stream = TlsStream::new(Session::Client(Box::new(library)), stream, vec![]);
        let sessions = prepared.sessions;
        let mut found = Verification::default();
        let made = poll_fn(|cx| {
            // Drops the result that another connection has left behind.
            drop(take_verification());
            let polled = stream.poll_handshake(cx);
            found = take_verification();
            if let (Some(sessions), Some(ends)) = (&sessions, found.ends) {
                sessions.verified_until(ends);
            }
            polled
        });
        if let Err(e) = made.await {
            // For any reason of failure, the next handshake does not offer the session.
            if let Some(sessions) = &sessions {
                sessions.forget_offered();
            }
            return Err(handshake_failure::of_upstream(
                e,
                wanted,
                found.refusal(wanted),
            ));
        }
        let resumed = stream.state().handshake_kind() == Some(HandshakeKind::Resumed);
        self.sessions.note(resumed);
        let sent = wanted
            .server_name()
            .filter(|name| name.parse::<IpAddr>().is_err());
        let digest = digest::of(stream.state(), sent, wanted.verify_cert, None);
        stream.set_digest(digest);
        Ok(Box::new(stream))
    }
}

/// The name for the library; without one, the address, which it does not send.
fn name_of(wanted: &ClientHandshake<'_>) -> Result<ServerName<'static>, BError> {
    if !wanted.sni.is_empty() {
        return verify::name(wanted.sni);
    }
    let address = wanted.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    Ok(ServerName::IpAddress(address.into()))
}

impl TlsConnector for ClientContext {
    fn connect<'a>(
        &'a self,
        stream: L4Stream,
        wanted: &'a ClientHandshake<'a>,
    ) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(self.handshake(stream, wanted))
    }
}
