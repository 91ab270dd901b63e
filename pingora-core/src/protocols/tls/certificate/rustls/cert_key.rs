//! Certificates if OpenSSL is not compiled in: what is asked of them, and a chain with its key.

use super::crypto::sha256;
use super::loaded::{read_key, to_pkcs8};
use super::pem::read_chain;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::made::Made;
use crate::protocols::tls::certificate::material::CertificateDer;
use crate::protocols::tls::library::{CaType, Certificate};
use crate::protocols::tls::x509::Facts;
use pingora_error::{Error, ErrorType, Result};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The organisation (O) in the subject of a certificate.
pub fn get_organization(cert: &Certificate) -> Option<String> {
    Facts::read(cert.as_der())?.subject_entry("O")
}

/// The common name (CN) in the subject of a certificate.
pub fn get_common_name(cert: &Certificate) -> Option<String> {
    Facts::read(cert.as_der())?.subject_entry("CN")
}

/// The organisational unit (OU) in the subject of a certificate.
pub fn get_organization_unit(cert: &Certificate) -> Option<String> {
    Facts::read(cert.as_der())?.subject_entry("OU")
}

/// The serial number of a certificate, in hexadecimal.
///
/// # Errors
/// `InvalidCert` if it can't be read.
pub fn get_serial(cert: &Certificate) -> Result<String> {
    match Facts::read(cert.as_der()) {
        Some(facts) => Ok(facts.serial()),
        None => Error::e_explain(
            ErrorType::InvalidCert,
            "reading the serial number of a certificate",
        ),
    }
}

/// A chain, the leaf first, and its key (PKCS #8), as DER.
pub(crate) fn key_to_der(key: &CertKey) -> Result<CertificateDer> {
    let chain = key.certificates.iter().map(|one| one.as_der().into());
    Ok((chain.collect(), key.key.to_vec()))
}

/// Tells sets of trusted certificates apart.
pub(crate) fn hash_ca<H: Hasher>(ca: Option<&CaType>, state: &mut H) {
    let Some(certificates) = ca else {
        return state.write_u8(0);
    };
    // An empty set differs from none: it trusts no certificate.
    state.write_usize(certificates.len() + 1);
    certificates.hash(state);
}

impl Certificate {
    /// A certificate in the DER format.
    ///
    /// # Errors
    /// `InvalidCert` if it is not a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        match Facts::read(der) {
            Some(_) => Ok(Certificate::of(der)),
            None => Error::e_explain(ErrorType::InvalidCert, "no certificate in the DER format"),
        }
    }

    /// The certificates in a text of the PEM format, in their order.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) if not all of them are whole.
    pub fn stack_from_pem(pem: &[u8]) -> Result<Vec<Self>> {
        let chain = read_chain(&"the certificates", pem)?;
        Ok(chain.iter().map(|one| Certificate::of(one)).collect())
    }
}

/// A certificate, the ones between it and its root, and its key.
#[derive(Clone)]
pub struct CertKey {
    certificates: Vec<Certificate>,
    /// PKCS #8.
    key: Arc<[u8]>,
    /// SHA-256 of the chain: made once, because connections are told apart by it.
    fingerprint: [u8; 32],
    made: Arc<Made>,
}

impl CertKey {
    /// A chain, the leaf first, and the leaf's key, both in the PEM format.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) if one of them can't be read.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<CertKey> {
        let certificates = Certificate::stack_from_pem(chain)?;
        if certificates.is_empty() {
            let reason = "a CertKey needs at least one certificate";
            return Error::e_explain(TLS_CONF_ERR, reason);
        }
        let key = to_pkcs8(&read_key(&"the key", key)?)?;
        let all: Vec<u8> = certificates
            .iter()
            .flat_map(|one| sha256(one.as_der()))
            .collect();
        Ok(CertKey {
            fingerprint: sha256(&all),
            certificates,
            key: key.into(),
            made: Arc::default(),
        })
    }

    /// The value that the backend has made of it.
    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    /// The certificate itself; `None` never.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }

    /// The certificates between the leaf and its root.
    pub fn intermediates(&self) -> &[Certificate] {
        self.certificates.get(1..).unwrap_or_default()
    }

    /// The organisation in the subject of the leaf.
    pub fn organization(&self) -> Option<String> {
        get_organization(self.leaf()?)
    }

    /// The serial number of the leaf, in hexadecimal.
    ///
    /// # Errors
    /// As [`get_serial`].
    pub fn serial(&self) -> Result<String> {
        let leaf = self.leaf().map(get_serial);
        leaf.unwrap_or_else(|| Error::e_explain(ErrorType::InvalidCert, "no certificate"))
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
        let name = self
            .leaf()
            .and_then(get_common_name)
            .or_else(|| self.organization());
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
