//! A certificate as it is kept.

use crate::order::Issued;
use instant_acme::CertificateIdentifier;
use pingora_core::listeners::tls::CertificateSource;
use pingora_error::{Error, ErrorType, OrErr, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// A chain with its key, and where it comes from: one value, so that they always belong together.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) names: Vec<String>,
    /// The directory of its issuer.
    pub(crate) issuer: String,
    /// A client has asked for it; it is not configured.
    pub(crate) on_demand: bool,
    pub(crate) chain: String,
    pub(crate) key: String,
    /// It is not to be used for longer than it takes to get another one.
    #[serde(default)]
    pub(crate) revoked: bool,
}

impl Kept {
    pub(crate) fn new(names: &[String], issuer: &str, on_demand: bool, issued: Issued) -> Self {
        Kept {
            names: names.to_vec(),
            issuer: issuer.to_string(),
            on_demand,
            chain: issued.chain,
            key: issued.key,
            revoked: false,
        }
    }

    /// # Errors
    /// For what is no such value.
    pub(crate) fn read(value: &[u8]) -> Result<Self> {
        serde_json::from_slice(value).or_err(ErrorType::InternalError, "reading a certificate")
    }

    pub(crate) fn to_value(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).or_err(ErrorType::InternalError, "writing a certificate")
    }

    /// For a store, under the names that it was ordered for. One that has expired is better than none:
    /// its clients see what is wrong.
    pub(crate) fn source(&self) -> CertificateSource {
        CertificateSource::pem(&self.chain, &self.key)
            .names(self.names.clone())
            .allow_expired()
    }

    /// The certificate itself, without those that lead to it.
    pub(crate) fn leaf(&self) -> Result<CertificateDer<'static>> {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes());
        leaf.or_else(|e| {
            let reason = format!("reading a certificate: {e}");
            Error::e_explain(ErrorType::InternalError, reason)
        })
    }

    /// How authorities call it if they say when to renew it (RFC 9773 section 4.1).
    pub(crate) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let leaf = self.leaf().ok()?;
        let identifier = CertificateIdentifier::try_from(&leaf).ok()?;
        Some(identifier.into_owned())
    }
}
