//! The names that TLS needs, where no TLS library is compiled in. Nobody can make a value of these
//! types; the contexts fail with a sentence that says what to do.

use super::{ClientHandshake, ClientSettings};
use crate::protocols::{IO, Stream};
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::hash::Hasher;

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
    pub(crate) async fn accept<S: IO + 'static>(&self, _stream: S) -> Result<Stream> {
        Self::absent()
    }

    /// # Errors
    /// Always: there is no TLS library.
    pub(crate) fn absent<T>() -> Result<T> {
        Error::e_explain(ErrorType::Custom("TLSConfigError"), ABSENT)
    }
}
