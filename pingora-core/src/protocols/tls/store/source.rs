//! Where a certificate comes from.

use pingora_error::{Error, OrErr, Result};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocols::tls::TLS_CONF_ERR;

/// Bytes in a file or in memory.
#[derive(Clone)]
pub(crate) enum Material {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

impl Material {
    /// A relative path is resolved now, against the current working directory, which may change later.
    pub(crate) fn file(path: &Path) -> Self {
        Material::File(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
    }

    pub(crate) fn memory(bytes: impl AsRef<[u8]>) -> Self {
        Material::Memory(bytes.as_ref().into())
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Material::File(_))
    }

    /// The bytes. Blocks.
    ///
    /// # Errors
    /// Naming the file that can't be read.
    pub(crate) fn read(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Material::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Material::File(path) => {
                let read = std::fs::read(path);
                let reading = || format!("reading {}", path.display());
                Ok(Cow::Owned(read.or_err_with(TLS_CONF_ERR, reading)?))
            }
        }
    }
}

impl fmt::Display for Material {
    /// Shows where the bytes are, never what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Material::File(path) => write!(f, "{}", path.display()),
            Material::Memory(_) => f.write_str("what is in memory"),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate for a [`CertificateStore`](super::CertificateStore): its chain and key, in files or in
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
    pub(super) names: Option<Vec<String>>,
    pub(super) default: bool,
    pub(super) allow_expired: bool,
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

    pub(super) fn has_files(&self) -> bool {
        let ocsp = self.ocsp.as_ref();
        self.chain.is_file() || self.key.is_file() || ocsp.is_some_and(Material::is_file)
    }

    /// The names that the certificate is shown for, in their normal form: those that were given, or else
    /// those in the certificate.
    ///
    /// # Errors
    /// For an invalid name.
    pub(super) fn names_over(&self, in_certificate: &[String]) -> Result<Vec<String>> {
        let Some(given) = &self.names else {
            let normal = in_certificate.iter().filter_map(|n| super::normal(n));
            return Ok(normal.map(Cow::into_owned).collect());
        };
        let normal = |name: &String| match super::normal(name) {
            Some(name) => Ok(name.into_owned()),
            None => Error::e_explain(
                TLS_CONF_ERR,
                format!("`{name}`, given for {}, is no name of a host", self.chain),
            ),
        };
        given.iter().map(normal).collect()
    }
}
