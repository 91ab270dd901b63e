//! Where a certificate comes from.

use super::material::Material;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::names::normal;
use pingora_error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// A certificate for a [`CertificateStore`](crate::protocols::tls::CertificateStore): its chain and key, in files or in
/// memory, and for which names it is shown.
///
/// ```
/// use pingora_core::listeners::tls::CertificateSource;
///
/// let source = CertificateSource::files("/etc/ssl/shop.pem", "/etc/ssl/shop.key")
///     .ocsp_file("/etc/ssl/shop.ocsp")
///     .names(["shop.example", "*.shop.example"]);
/// # let _ = source;
/// ```
#[derive(Clone, Debug)]
pub struct CertificateSource {
    pub(crate) chain: Material,
    pub(crate) key: Material,
    pub(crate) ocsp: Option<Material>,
    pub(crate) names: Option<Vec<String>>,
    pub(crate) default: bool,
    pub(crate) allow_expired: bool,
}

impl CertificateSource {
    /// A certificate chain, the leaf first, and the leaf's private key, both PEM files. A reload reads
    /// them again.
    pub fn files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let (chain, key) = (Material::file(chain.as_ref()), Material::file(key.as_ref()));
        CertificateSource::new(chain, key)
    }

    /// A certificate chain, the leaf first, and the leaf's private key, both in the PEM format.
    pub fn pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        CertificateSource::new(Material::memory(chain), Material::memory(key))
    }

    fn new(chain: Material, key: Material) -> Self {
        CertificateSource {
            chain,
            key,
            ocsp: None,
            names: None,
            default: false,
            allow_expired: false,
        }
    }

    /// Staples the OCSP response in this file (DER, RFC 6960) for clients that ask for one. A reload
    /// reads it again. It is not stapled any more once it is out of date.
    pub fn ocsp_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ocsp = Some(Material::file(path.as_ref()));
        self
    }

    /// Staples this OCSP response (DER, RFC 6960) for clients that ask for one, until it is out of date.
    pub fn ocsp_der(mut self, response: impl AsRef<[u8]>) -> Self {
        self.ocsp = Some(Material::memory(response));
        self
    }

    /// Shows the certificate to clients that ask for these names. Without this, for the names that stand
    /// in it. `*.` in front stands for one label.
    pub fn names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Shows the certificate also to clients that ask for an unknown name, or for none. Without
    /// such a certificate in the store, it is the one that was added first.
    pub fn as_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// Accepts the certificate although its time is over.
    pub fn allow_expired(mut self) -> Self {
        self.allow_expired = true;
        self
    }

    pub(crate) fn has_files(&self) -> bool {
        let ocsp = self.ocsp.as_ref();
        self.chain.is_file() || self.key.is_file() || ocsp.is_some_and(Material::is_file)
    }

    /// The names that the certificate is shown for, in their normal form: those that were given, or else
    /// those in the certificate.
    ///
    /// # Errors
    /// For an invalid name.
    pub(crate) fn names_over(&self, in_certificate: &[String]) -> Result<Vec<String>> {
        let Some(given) = &self.names else {
            let names = in_certificate.iter().filter_map(|n| normal(n));
            return Ok(names.map(Cow::into_owned).collect());
        };
        let checked = |name: &String| match normal(name) {
            Some(name) => Ok(name.into_owned()),
            None => Error::e_explain(
                TLS_CONF_ERR,
                format!("`{name}`, given for {}, is no name of a host", self.chain),
            ),
        };
        given.iter().map(checked).collect()
    }
}
