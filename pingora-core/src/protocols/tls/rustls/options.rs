//! The options of rustls towards clients, beside the settings that all libraries share.

use super::key_log::Lines;
use super::suites::{with_aes_128_first, with_ciphers, with_groups};
use crate::protocols::tls::backend::ServerSettings;
use crate::protocols::tls::certificate::rustls::recommended_provider;
use crate::protocols::tls::{KeyLog, TLS_CONF_ERR};
use pingora_error::{Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;
use rustls::{DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Sessions in memory, for clients without tickets.
const SESSIONS: usize = 20_480;

/// rustls as the backend of a listener:
/// [`TlsSettings::with_backend`](crate::listeners::tls::TlsSettings::with_backend).
///
/// By default TLS 1.2 and 1.3 with all cipher suites of rustls, X25519MLKEM768 first among the groups, one ticket in each
/// handshake of TLS 1.3, and 20,480 sessions in memory for clients without tickets. Where the processor has instructions
/// for AES, the server's order of cipher suites counts, which begins with AES-128-GCM, unless the client puts ChaCha20
/// first; elsewhere it is the client's order. Clones are the same settings.
#[derive(Clone, Debug, Default)]
pub struct RustlsServer {
    provider: Option<Arc<CryptoProvider>>,
    versions: Option<Vec<&'static SupportedProtocolVersion>>,
    resolver: Option<Arc<dyn ResolvesServerCert>>,
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    config: Option<Arc<ServerConfig>>,
    key_log: Option<Arc<dyn rustls::KeyLog>>,
    sessions: Option<usize>,
    tickets: Option<usize>,
}

impl RustlsServer {
    /// With the recommended settings.
    pub fn new() -> Self {
        RustlsServer::default()
    }

    /// With a configuration of the program's own, which decides about versions, certificates, clients'
    /// certificates, tickets, sessions and the key log. Of the listener's settings, limits, time-outs, threads,
    /// `keep_client_hello` and, if it is set, ALPN count.
    ///
    /// An endpoint does not start if its settings also have a store, decisions about certificates, or demands on
    /// clients' certificates.
    pub fn with_config(config: Arc<ServerConfig>) -> Self {
        RustlsServer {
            config: Some(config),
            ..RustlsServer::default()
        }
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

    /// Allows only these cipher suites, the preferred one first, by OpenSSL's names
    /// (`TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`).
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) naming one that rustls does not have.
    pub fn cipher_suites<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.provider = Some(Arc::new(with_ciphers(&self.provider_or_default(), names)?));
        Ok(self)
    }

    /// Allows only these groups for the key exchange, the preferred one first: `X25519MLKEM768`, `X25519`, `P-256`, `P-384`.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) naming one that rustls does not have.
    pub fn groups<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.provider = Some(Arc::new(with_groups(&self.provider_or_default(), names)?));
        Ok(self)
    }

    /// Takes the certificates from this resolver. It runs within the handshake and must not block. An endpoint
    /// does not start if its settings also have a store, or decisions about certificates.
    pub fn resolver(mut self, resolver: Arc<dyn ResolvesServerCert>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Demands client certificates as this verifier says. Only this listener resumes its sessions. An endpoint does
    /// not start if its settings have demands of their own.
    pub fn client_verifier(mut self, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        self.client_verifier = Some(verifier);
        self
    }

    /// Passes the secrets of sessions to `log`. For debugging only: they decrypt the traffic.
    pub fn key_log(mut self, log: Arc<dyn rustls::KeyLog>) -> Self {
        self.key_log = Some(log);
        self
    }

    /// Appends the secrets of sessions to this file, in the format of NSS. A new file is readable by its owner
    /// alone. For debugging only: they decrypt the traffic. Blocks.
    ///
    /// # Errors
    /// `FileOpenError` naming the file.
    pub fn key_log_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let log = KeyLog::open(path.as_ref())?;
        Ok(self.key_log(Arc::new(Lines(log))))
    }

    /// How many sessions are kept in memory for clients without tickets, 20,480 by default; 0 keeps none.
    pub fn session_cache_size(mut self, sessions: usize) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// How many tickets a handshake of TLS 1.3 brings, 1 by default: a client that opens several connections at once, and
    /// resumes with each ticket only once, wants more.
    pub fn num_tickets(mut self, tickets: usize) -> Self {
        self.tickets = Some(tickets);
        self
    }

    pub(super) fn own_config(&self) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref()
    }

    pub(super) fn own_resolver(&self) -> Option<Arc<dyn ResolvesServerCert>> {
        self.resolver.clone()
    }

    pub(super) fn own_client_verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.client_verifier.clone()
    }

    pub(super) fn own_key_log(&self) -> Option<Arc<dyn rustls::KeyLog>> {
        self.key_log.clone()
    }

    pub(super) fn session_cache(&self) -> usize {
        self.sessions.unwrap_or(SESSIONS)
    }

    pub(super) fn tickets(&self) -> usize {
        self.tickets.unwrap_or(1)
    }

    pub(super) fn versions_or_default(&self) -> Vec<&'static SupportedProtocolVersion> {
        let versions = self.versions.clone();
        versions.unwrap_or_else(|| DEFAULT_VERSIONS.to_vec())
    }

    pub(super) fn provider_or_default(&self) -> Arc<CryptoProvider> {
        static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
        let recommended =
            || PROVIDER.get_or_init(|| Arc::new(with_aes_128_first(&recommended_provider())));
        self.provider
            .as_ref()
            .unwrap_or_else(|| recommended())
            .clone()
    }

    /// # Errors
    /// [`TLS_CONF_ERR`] for settings that exclude each other, or that this library does not support.
    pub(super) fn check(&self, settings: &ServerSettings) -> Result<()> {
        let (config, resolver) = (self.config.is_some(), self.resolver.is_some());
        let other = self.provider.is_some()
            || self.versions.is_some()
            || self.client_verifier.is_some()
            || self.key_log.is_some()
            || self.sessions.is_some()
            || self.tickets.is_some();
        let demands = settings.client_certificates().is_some();
        let impossible = [
            (
                settings.callbacks().is_some(),
                "the callbacks of TlsAccept take a session of OpenSSL: use set_decisions",
            ),
            (
                config && (resolver || other),
                "a ServerConfig of the program's own decides about everything; set it there",
            ),
            (
                (config || resolver) && settings.store().is_some(),
                "the certificates come from the program's own resolver: leave the store out",
            ),
            (
                demands && (config || self.client_verifier.is_some()),
                "the program's own verifier decides about clients: leave set_client_certificates out",
            ),
        ];
        match impossible.iter().find(|(is, _)| *is) {
            None => Ok(()),
            Some((_, why)) => Error::e_explain(TLS_CONF_ERR, format!("rustls: {why}")),
        }
    }
}

/// In the place of OpenSSL, for settings that were given no backend.
#[cfg(not(feature = "openssl"))]
mod built_in {
    use super::super::demands::Demands;
    use super::{RustlsServer, recommended_provider};
    use crate::protocols::tls::{ALPN, CertificateStore, ClientCertificates};
    use pingora_error::Result;

    impl RustlsServer {
        pub(crate) fn recommended() -> Result<Self> {
            Ok(RustlsServer::new())
        }

        /// For settings that are another backend's.
        pub(crate) fn unused() -> Result<Self> {
            Ok(RustlsServer::new())
        }

        pub(crate) fn set_store(&mut self, _store: &CertificateStore) {}

        pub(crate) fn set_alpn(&mut self, _alpn: ALPN) {}

        pub(crate) fn install(&mut self, _store: &CertificateStore) -> Result<()> {
            Ok(())
        }

        /// Whether these demands can be made. Blocks.
        ///
        /// # Errors
        /// [`TLS_CONF_ERR`](super::TLS_CONF_ERR) naming the file that can't be used.
        pub(crate) fn check_clients(wanted: &ClientCertificates) -> Result<()> {
            let algorithms = recommended_provider().signature_verification_algorithms;
            Demands::read(wanted, algorithms).map(drop)
        }
    }
}
