//! The names that TLS needs, where no TLS library is compiled in. Nobody can make a value of these
//! types; the contexts fail with a sentence that says what to do.

use super::store::{CertificateInfo, CertificateSource, KeyKind};
use super::{ClientHandshake, ClientSettings, HandshakeFailure, PlainHttp, TLS_CONF_ERR};
use crate::protocols::{IO, Stream};
use pingora_error::{BError, Error, ErrorType, Result};
use std::fmt;
use std::hash::Hasher;
use std::time::SystemTime;

const ABSENT: &str = "TLS is not compiled in; turn on the feature openssl";

/// The TLS library's session object. There is none without a library.
#[derive(Debug)]
pub enum TlsRef {}

/// A certificate. There is none without a library.
#[derive(Clone, Debug)]
pub enum Certificate {}

/// Certificates to trust.
pub type CaType = Box<[Certificate]>;

/// Without a library there are no certificates to tell apart.
pub(crate) fn hash_ca<H: Hasher>(ca: Option<&CaType>, state: &mut H) {
    state.write_u8(ca.is_some().into());
}

/// There is no certificate to be written.
pub(crate) fn to_der(cert: &Certificate) -> Option<Box<[u8]>> {
    match *cert {}
}

/// Nothing can be parsed without a library.
pub(crate) fn from_der(_der: &[u8]) -> Option<Certificate> {
    None
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

/// Takes the place of what connects to upstreams.
#[derive(Debug)]
pub(crate) struct ClientContext;

impl ClientContext {
    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn new(_settings: &ClientSettings) -> Result<Self> {
        Error::e_explain(ErrorType::TLSHandshakeFailure, ABSENT)
    }

    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) async fn connect<S: IO + 'static>(
        &self,
        _stream: S,
        _handshake: &ClientHandshake<'_>,
    ) -> Result<Stream> {
        Error::e_explain(ErrorType::TLSHandshakeFailure, ABSENT)
    }
}

/// Takes the place of what accepts clients.
#[derive(Debug)]
pub(crate) struct ServerContext;

impl ServerContext {
    /// There is no certificate.
    pub(crate) fn renew(&self) -> Result<Option<Box<dyn FnOnce() + Send>>> {
        Ok(None)
    }

    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) async fn accept<S: IO + 'static>(
        &self,
        _stream: S,
    ) -> Result<(Stream, bool), FailedHandshake> {
        Err(FailedHandshake {
            failure: HandshakeFailure::Other,
            error: Error::explain(TLS_CONF_ERR, ABSENT),
            plain_http: None,
        })
    }

    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn absent<T>() -> Result<T> {
        Error::e_explain(TLS_CONF_ERR, ABSENT)
    }
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub(crate) struct FailedHandshake {
    pub(crate) failure: HandshakeFailure,
    pub(crate) error: BError,
    pub(crate) plain_http: Option<PlainClient>,
}

/// A client that speaks plain HTTP. Without a library nobody finds out.
#[derive(Debug)]
pub(crate) enum PlainClient {}

impl PlainClient {
    pub(crate) fn request(&self) -> PlainHttp {
        match *self {}
    }

    pub(crate) async fn turn_away(self, _answer: Vec<u8>) {
        match self {}
    }
}

/// A listener's certificate. There is none without a library.
#[derive(Debug)]
pub(crate) enum LoadedCertificate {}

impl LoadedCertificate {
    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn load(source: &CertificateSource) -> Result<Self> {
        // What can't be read is said first.
        source.chain.read()?;
        source.key.read()?;
        if let Some(ocsp) = &source.ocsp {
            ocsp.read()?;
        }
        ServerContext::absent()
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

    pub(crate) fn info(&self, _source: String) -> CertificateInfo {
        match *self {}
    }
}
