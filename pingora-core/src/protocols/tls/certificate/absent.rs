//! The names that stand for a library's types if none is compiled in. They have no values.

use super::info::CertificateInfo;
use super::kind::KeyKind;
use super::material::CertificateDer;
use super::source::CertificateSource;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::library::CaType;
use pingora_error::{Error, Result};
use std::fmt;
use std::hash::Hasher;
use std::time::SystemTime;

pub(crate) const ABSENT: &str =
    "TLS is not compiled in; turn on the feature openssl, or choose a backend";

/// # Errors
/// Always: there is no TLS library.
pub(crate) fn absent<T>() -> Result<T> {
    Error::e_explain(TLS_CONF_ERR, ABSENT)
}

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
