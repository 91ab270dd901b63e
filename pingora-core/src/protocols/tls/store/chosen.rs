//! A certificate as a backend is given it that parses it itself.

#[cfg(feature = "rustls")]
use crate::protocols::tls::certificate::Made;
use crate::protocols::tls::certificate::{CertificateSource, LoadedCertificate};
use pingora_error::Result;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The certificate that a [`CertificateStore`](super::CertificateStore) has for a client. Cheap to clone; its
/// [`fingerprint`](Self::fingerprint) is a key for what a backend has made of it before.
#[derive(Clone)]
pub struct ChosenCertificate(pub(in crate::protocols::tls) Arc<LoadedCertificate>);

impl ChosenCertificate {
    /// A certificate that is in no store, for callbacks that choose by their own rules. Names and dates are not
    /// looked at. Reads files: blocks; a source in memory does not, but for the arithmetic that checks the key.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR), naming the file and the reason.
    pub fn load(source: &CertificateSource) -> Result<Self> {
        Ok(ChosenCertificate(Arc::new(LoadedCertificate::load(
            source,
        )?)))
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> &[u8; 32] {
        self.0.fingerprint()
    }

    /// The chain, the leaf first, each certificate as DER.
    pub fn chain_der(&self) -> Vec<Box<[u8]>> {
        self.0.chain_der()
    }

    /// The key as DER (PKCS #8). A secret: not for logs.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) if the library can't write it.
    pub fn key_der(&self) -> Result<Vec<u8>> {
        self.0.key_der()
    }

    /// The OCSP response to staple, as DER, if there is one that is up to date.
    pub fn ocsp_response(&self) -> Option<&[u8]> {
        self.0.ocsp_response(SystemTime::now())
    }
}

#[cfg(feature = "rustls")]
impl ChosenCertificate {
    pub(crate) fn made(&self) -> &Made {
        self.0.made()
    }

    /// The OCSP response, whether it is up to date or not.
    pub(crate) fn any_ocsp_response(&self) -> Option<&[u8]> {
        self.0.any_ocsp_response()
    }
}

impl fmt::Debug for ChosenCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
