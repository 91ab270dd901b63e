//! A listener's certificate and key as files, which can be read again while the listener runs.

use super::certificate::CertKey;
use crate::sys::tls as sys;
use openssl::pkey::PKey;
use openssl::ssl::SslRef;
use openssl::x509::X509;
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Where the certificate chain and the key of a listener are, and what was read there since the listener
/// was made.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    renewed: RwLock<Option<Arc<CertKey>>>,
}

impl CertificateFiles {
    /// Paths count from the current working directory, whatever becomes of that.
    pub(crate) fn new(chain: &str, key: &str) -> Self {
        let absolute = |path: &str| std::path::absolute(path).unwrap_or_else(|_| path.into());
        CertificateFiles {
            chain: absolute(chain),
            key: absolute(key),
            renewed: RwLock::new(None),
        }
    }

    /// Reads both files. Blocks.
    ///
    /// # Errors
    /// `InvalidCert`, naming the file that can't be used.
    pub(crate) fn read(&self) -> Result<CertKey> {
        let using = |path: &Path| format!("using {}", path.display());
        let pem =
            |path: &Path| std::fs::read(path).or_err_with(ErrorType::InvalidCert, || using(path));
        let chain = X509::stack_from_pem(&pem(&self.chain)?)
            .or_err_with(ErrorType::InvalidCert, || using(&self.chain))?;
        let key = PKey::private_key_from_pem(&pem(&self.key)?)
            .or_err_with(ErrorType::InvalidCert, || using(&self.key))?;
        let of_leaf = chain.first().and_then(|leaf| leaf.public_key().ok());
        if !of_leaf.is_some_and(|public| public.public_eq(&key)) {
            let (chain, key) = (self.chain.display(), self.key.display());
            let reason = format!("the key {key} does not belong to a certificate in {chain}");
            return Error::e_explain(ErrorType::InvalidCert, reason);
        }
        Ok(CertKey::new(chain, key))
    }

    /// Lets handshakes that begin from now on show this certificate.
    pub(crate) fn put(&self, renewed: CertKey) {
        *self.renewed.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(renewed));
    }

    /// Makes a session that was just begun show what was read last.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` where the library refuses it.
    pub(crate) fn show(&self, ssl: &mut SslRef) -> Result<()> {
        let renewed = self
            .renewed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(renewed) = renewed else {
            return Ok(());
        };
        // The old one may be of another kind, and would then stay beside the new one.
        sys::forget_certificates(ssl);
        let shown = ssl
            .set_certificate(renewed.leaf())
            .and_then(|()| ssl.set_private_key(renewed.key()))
            .and_then(|()| {
                let mut rest = renewed.intermediates().iter();
                rest.try_for_each(|cert| ssl.add_chain_cert(cert.clone()))
            });
        shown.or_err(ErrorType::TLSHandshakeFailure, "showing the certificate")
    }
}
