//! OCSP responses that are stapled to a certificate (RFC 6066 section 8, RFC 6960).

use super::cert_key::refused;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::material::Material;
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspBasicResponse, OcspCertId, OcspCertStatus, OcspResponse, OcspResponseStatus,
};
use openssl::x509::{X509, X509Ref};
use pingora_error::{OrErr, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// How far clocks may be apart, in seconds.
const CLOCK_SKEW: u32 = 300;
/// For how long what was found about a response's age holds, in seconds.
const LOOK_AGAIN: u64 = 60;

/// A response as it goes to clients, and when it is out of date.
pub(crate) struct Staple {
    der: Box<[u8]>,
    /// For finding out whether it is out of date; `None` if the certificate's issuer is not known.
    parsed: Option<(OcspBasicResponse, OcspCertId)>,
    /// Until when it is known to be good, in seconds since 1970.
    good_until: AtomicU64,
}

impl Staple {
    /// Reads a response and checks that it says something good about `leaf`. `issuer` is the certificate
    /// after it in the chain. Blocks.
    ///
    /// # Errors
    /// One line that names the file, and what is wrong with it.
    pub(super) fn read(material: &Material, leaf: &X509, issuer: Option<&X509>) -> Result<Self> {
        let der = material.read()?;
        let using = || format!("can't use {material}: no OCSP response in the DER format");
        let response = OcspResponse::from_der(&der).or_err_with(TLS_CONF_ERR, using)?;
        if response.status() != OcspResponseStatus::SUCCESSFUL {
            return refused(material, "it is the responder's word that it can't answer");
        }
        let basic = response.basic().or_err_with(TLS_CONF_ERR, using)?;
        let mut parsed = None;
        if let Some(issuer) = issuer {
            let id = certificate_id(leaf, issuer).or_err_with(TLS_CONF_ERR, using)?;
            match basic.find_status(&id) {
                None => return refused(material, "it is about another certificate"),
                Some(status) if status.status != OcspCertStatus::GOOD => {
                    return refused(material, "the certificate was revoked, or is not known");
                }
                Some(_) => parsed = Some((basic, id)),
            }
        }
        let staple = Staple {
            der: der.into(),
            parsed,
            good_until: AtomicU64::new(0),
        };
        if staple.response(SystemTime::now()).is_none() {
            // Not refused: the certificate is good without it, and its time may be yet to come.
            log::warn!("{material} is out of date and not stapled");
        }
        Ok(staple)
    }

    /// The response, whether it is good or not.
    #[cfg(feature = "rustls")]
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The response, as long as it is good.
    pub(crate) fn response(&self, now: SystemTime) -> Option<&[u8]> {
        let Some((basic, id)) = &self.parsed else {
            return Some(&self.der);
        };
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = since_epoch.map_or(0, |d| d.as_secs());
        if now < self.good_until.load(Ordering::Relaxed) {
            return Some(&self.der);
        }
        basic
            .find_status(id)?
            .check_validity(CLOCK_SKEW, None)
            .ok()?;
        self.good_until.store(now + LOOK_AGAIN, Ordering::Relaxed);
        Some(&self.der)
    }
}

/// How a response names a certificate: by SHA-1 everywhere in practice (RFC 5019 section 2.1.1).
fn certificate_id(
    leaf: &X509Ref,
    issuer: &X509Ref,
) -> Result<OcspCertId, openssl::error::ErrorStack> {
    OcspCertId::from_cert(MessageDigest::sha1(), leaf, issuer)
}
