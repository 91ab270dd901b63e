//! The backends if no library is compiled in. They fail with a sentence that says what to do.

use super::backend::{ClientBackend, ServerBackend, ServerSettings, TlsAcceptor, TlsConnector};
use super::certificate::absent::{ABSENT, absent};
use super::{ALPN, CertificateStore, ClientCertificates, ClientSettings};
use pingora_error::{Error, ErrorType, Result};

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
