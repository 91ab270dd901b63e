//! The forms in which certificates and keys come and go: bytes in files or in memory, and DER.

use crate::protocols::tls::TLS_CONF_ERR;
use pingora_error::{OrErr, Result};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate chain, the leaf first, and its key (PKCS #8), all in DER.
pub type CertificateDer = (Vec<Box<[u8]>>, Vec<u8>);

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
