//! The names that stand for OpenSSL's types if it is not compiled in. Its types have no values here; its
//! backends fail with a sentence that says what to do.

use super::backend::{ClientBackend, ServerBackend, ServerSettings, TlsAcceptor, TlsConnector};
use super::client_handshake::CertificateDer;
use super::library::CaType;
use super::store::{CertificateInfo, CertificateSource, KeyKind};
use super::{ALPN, CertificateStore, ClientCertificates, ClientSettings, TLS_CONF_ERR};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::hash::Hasher;
use std::time::SystemTime;

const ABSENT: &str = "TLS is not compiled in; turn on the feature openssl, or choose a backend";

/// Without a library there are no certificates to tell apart.
pub(crate) fn hash_ca<H: Hasher>(ca: Option<&CaType>, state: &mut H) {
    state.write_u8(ca.is_some().into());
}

/// There is no key to be written.
pub(crate) fn key_to_der(key: &CertKey) -> Result<CertificateDer> {
    match *key {}
}

/// A certificate chain and its key. There is none without a library.
#[derive(Clone, Debug, Hash)]
pub enum CertKey {}

impl fmt::Display for CertKey {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// A session that may be resumed. There is none without a library.
#[derive(Clone, Debug)]
pub(crate) enum ClientSession {}

/// Takes the place of the library that connects to upstreams if no other backend was chosen.
#[derive(Debug)]
pub(crate) struct BuiltInClient;

impl ClientBackend for BuiltInClient {
    fn name(&self) -> &'static str {
        "none"
    }

    fn build(&self, _settings: &ClientSettings) -> Result<Box<dyn TlsConnector>> {
        Error::e_explain(ErrorType::TLSHandshakeFailure, ABSENT)
    }
}

/// Takes the place of the library that accepts clients if no other backend was chosen.
#[derive(Debug)]
pub(crate) struct BuiltInServer;

impl BuiltInServer {
    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn recommended() -> Result<Self> {
        absent()
    }

    /// For settings that are another backend's.
    pub(crate) fn unused() -> Result<Self> {
        Ok(BuiltInServer)
    }

    pub(crate) fn set_store(&mut self, _store: &CertificateStore) {}

    pub(crate) fn set_alpn(&mut self, _alpn: ALPN) {}

    pub(crate) fn install(&mut self, _store: &CertificateStore) -> Result<()> {
        Ok(())
    }

    pub(crate) fn check_clients(_wanted: &ClientCertificates) -> Result<()> {
        absent()
    }
}

impl ServerBackend for BuiltInServer {
    fn name(&self) -> &'static str {
        "none"
    }

    fn build(self: Box<Self>, _settings: ServerSettings) -> Result<Box<dyn TlsAcceptor>> {
        absent()
    }
}

/// # Errors
/// Always: there is no TLS library.
fn absent<T>() -> Result<T> {
    Error::e_explain(TLS_CONF_ERR, ABSENT)
}

/// A listener's certificate. There is none without a library.
#[derive(Debug)]
pub(crate) enum LoadedCertificate {}

impl LoadedCertificate {
    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn load(source: &CertificateSource) -> Result<Self> {
        // A file that can't be read is reported first.
        source.chain.read()?;
        source.key.read()?;
        if let Some(ocsp) = &source.ocsp {
            ocsp.read()?;
        }
        absent()
    }

    pub(crate) fn names(&self) -> &[String] {
        match *self {}
    }

    pub(crate) fn kind(&self) -> KeyKind {
        match *self {}
    }

    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        match *self {}
    }

    pub(crate) fn not_after(&self) -> SystemTime {
        match *self {}
    }

    pub(crate) fn has_expired(&self, _now: SystemTime) -> bool {
        match *self {}
    }

    pub(crate) fn chain_der(&self) -> Vec<Box<[u8]>> {
        match *self {}
    }

    pub(crate) fn key_der(&self) -> Result<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn ocsp_response(&self, _now: SystemTime) -> Option<&[u8]> {
        match *self {}
    }

    pub(crate) fn info(&self, _source: String) -> CertificateInfo {
        match *self {}
    }
}
