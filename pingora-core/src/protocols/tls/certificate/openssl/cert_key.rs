//! Certificates: what is asked of them, and a chain with its key.

use crate::protocols::tls::TLS_CONF_ERR;
#[cfg(feature = "rustls")]
use crate::protocols::tls::certificate::made::Made;
use crate::protocols::tls::certificate::material::{CertificateDer, Material};
use crate::protocols::tls::library::{CaType, to_der};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use std::hash::{Hash, Hasher};

/// The first entry of one kind in the subject of a certificate.
fn subject_entry(cert: &X509Ref, nid: Nid) -> Option<String> {
    let entry = cert.subject_name().entries_by_nid(nid).next()?;
    entry.data().to_string().ok()
}

/// The organisation (O) in the subject of a certificate.
pub fn get_organization(cert: &X509) -> Option<String> {
    subject_entry(cert, Nid::ORGANIZATIONNAME)
}

/// The common name (CN) in the subject of a certificate.
pub fn get_common_name(cert: &X509) -> Option<String> {
    subject_entry(cert, Nid::COMMONNAME)
}

/// The organisational unit (OU) in the subject of a certificate.
pub fn get_organization_unit(cert: &X509) -> Option<String> {
    subject_entry(cert, Nid::ORGANIZATIONALUNITNAME)
}

/// The serial number of a certificate, in hexadecimal.
///
/// # Errors
/// `InvalidCert` if the library can't convert it.
pub fn get_serial(cert: &X509) -> Result<String> {
    let number = cert.serial_number().to_bn().or_err(
        ErrorType::InvalidCert,
        "reading the serial number of a certificate",
    )?;
    let text = number.to_hex_str().or_err(
        ErrorType::InvalidCert,
        "reading the serial number of a certificate",
    )?;
    Ok(text.to_string())
}

/// A chain, the leaf first, and its key (PKCS #8), as DER.
pub(crate) fn key_to_der(key: &CertKey) -> Result<CertificateDer> {
    let chain = std::iter::once(&key.leaf).chain(&key.intermediates);
    let chain = chain.filter_map(to_der).collect();
    let key = key.key.private_key_to_pkcs8();
    let key = key.or_err(ErrorType::InternalError, "writing a key as PKCS #8")?;
    Ok((chain, key))
}

/// # Errors
/// Always: one line that names the file.
pub(crate) fn refused<T>(what: &Material, reason: &str) -> Result<T> {
    Error::e_explain(TLS_CONF_ERR, format!("can't use {what}: {reason}"))
}

/// Tells sets of trusted certificates apart. SHA-1, because the library keeps that one computed;
/// both sides of the comparison are the user's own certificates.
pub(crate) fn hash_ca<H: Hasher>(ca: Option<&CaType>, state: &mut H) {
    let Some(certificates) = ca else {
        return state.write_u8(0);
    };
    // An empty set differs from none: it trusts no certificate.
    state.write_usize(certificates.len() + 1);
    for cert in certificates {
        match cert.digest(MessageDigest::sha1()) {
            Ok(digest) => state.write(&digest),
            // Better no reuse than a wrong one.
            Err(_) => state.write_u64(fastrand::u64(..)),
        }
    }
}

/// A certificate, the ones between it and its root, and its key.
#[derive(Clone)]
pub struct CertKey {
    leaf: X509,
    intermediates: Vec<X509>,
    key: PKey<Private>,
    /// SHA-256 of the chain: made once, because connections are told apart by it.
    fingerprint: Vec<u8>,
    #[cfg(feature = "rustls")]
    made: std::sync::Arc<Made>,
}

impl CertKey {
    /// A chain, the leaf first, and the leaf's key.
    ///
    /// # Panics
    /// If `certificates` is empty.
    pub fn new(certificates: Vec<X509>, key: PKey<Private>) -> CertKey {
        let fingerprint = certificates
            .iter()
            .filter_map(|c| c.digest(MessageDigest::sha256()).ok())
            .flat_map(|digest| digest.to_vec())
            .collect();
        let mut chain = certificates.into_iter();
        let leaf = chain.next();
        assert!(leaf.is_some(), "a CertKey needs at least one certificate");
        #[allow(clippy::unwrap_used)] // Documented, and said better by the line above.
        let leaf = leaf.unwrap();
        CertKey {
            leaf,
            intermediates: chain.collect(),
            key,
            fingerprint,
            #[cfg(feature = "rustls")]
            made: Default::default(),
        }
    }

    /// The value that another backend has made of it.
    #[cfg(feature = "rustls")]
    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    /// The certificate itself.
    pub fn leaf(&self) -> &X509 {
        &self.leaf
    }

    /// The key of the leaf.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The certificates between the leaf and its root.
    pub fn intermediates(&self) -> &[X509] {
        &self.intermediates
    }

    /// The organisation in the subject of the leaf.
    pub fn organization(&self) -> Option<String> {
        get_organization(&self.leaf)
    }

    /// The serial number of the leaf, in hexadecimal.
    ///
    /// # Errors
    /// As [`get_serial`].
    pub fn serial(&self) -> Result<String> {
        get_serial(&self.leaf)
    }
}

impl Hash for CertKey {
    /// By the certificates: the key follows from them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Display for CertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = get_common_name(&self.leaf).or_else(|| self.organization());
        write!(
            f,
            "{} (serial {})",
            name.as_deref().unwrap_or("unnamed"),
            self.serial().as_deref().unwrap_or("unknown")
        )
    }
}

impl fmt::Debug for CertKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertKey({self})")
    }
}
