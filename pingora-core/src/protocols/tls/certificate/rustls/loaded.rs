//! A listener's certificate if OpenSSL is not compiled in: read and checked, ready to be shown.

use super::crypto::{recommended_provider, sha256};
use super::pem::{read_chain, refused};
use super::staple::Staple;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::info::{CertificateId, CertificateInfo};
use crate::protocols::tls::certificate::kind::KeyKind;
use crate::protocols::tls::certificate::made::Made;
use crate::protocols::tls::certificate::source::CertificateSource;
use crate::protocols::tls::x509::{Der, Facts, wrapped};
use pingora_error::{OrErr, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::time::SystemTime;

/// The numbers of the curves and algorithms that keys may have, as DER writes them.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0, 0x23];

/// A certificate chain with its key, and what is known of it.
pub(crate) struct LoadedCertificate {
    chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    key: Vec<u8>,
    names: Vec<String>,
    kind: KeyKind,
    serial_number: String,
    fingerprint: [u8; 32],
    not_before: SystemTime,
    not_after: SystemTime,
    staple: Option<Staple>,
    made: Made,
}

impl LoadedCertificate {
    /// Reads and checks all but the dates. Blocks.
    ///
    /// # Errors
    /// One line that names what can't be used, and why.
    pub(crate) fn load(source: &CertificateSource) -> Result<Self> {
        let name = &source.chain;
        let chain = read_chain(name, &name.read()?)?;
        let Some(leaf) = chain.first() else {
            return refused(name, "there is no certificate in it");
        };
        let Some(facts) = Facts::read(leaf) else {
            return refused(name, "the first certificate in it can't be read");
        };
        let key = read_key(&source.key, &source.key.read()?)?;
        let pkcs8 = to_pkcs8(&key)?;
        check_key(source, &chain, key)?;
        let staple = match &source.ocsp {
            Some(ocsp) => {
                let issuer = chain.get(1).and_then(|issuer| Facts::read(issuer));
                Some(Staple::read(ocsp, &facts, issuer.as_ref())?)
            }
            None => None,
        };
        Ok(LoadedCertificate {
            names: facts.hosts(),
            kind: kind(&facts),
            serial_number: facts.serial(),
            fingerprint: sha256(leaf),
            not_before: facts.not_before,
            not_after: facts.not_after,
            key: pkcs8,
            staple,
            made: Made::default(),
            chain,
        })
    }

    /// The names that stand in it, as they are spelled there.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    pub(crate) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.not_after < now
    }

    /// The chain, the leaf first, as DER.
    pub(crate) fn chain_der(&self) -> Vec<Box<[u8]>> {
        self.chain.iter().map(|one| one.as_ref().into()).collect()
    }

    /// The key (PKCS #8), as DER.
    pub(crate) fn key_der(&self) -> Result<Vec<u8>> {
        Ok(self.key.clone())
    }

    /// The OCSP response to staple, if there is one that is up to date.
    pub(crate) fn ocsp_response(&self, now: SystemTime) -> Option<&[u8]> {
        self.staple.as_ref()?.response(now)
    }

    pub(crate) fn any_ocsp_response(&self) -> Option<&[u8]> {
        Some(self.staple.as_ref()?.der())
    }

    /// The value that the backend has made of it.
    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    /// Its public facts. The store adds whose it is, and for which names it is shown.
    pub(crate) fn info(&self, source: String) -> CertificateInfo {
        CertificateInfo {
            id: CertificateId::default(),
            source,
            names: vec![],
            kind: self.kind,
            serial_number: self.serial_number.clone(),
            fingerprint: self.fingerprint,
            not_before: self.not_before,
            not_after: self.not_after,
            is_default: false,
            has_ocsp_response: self.staple.is_some(),
        }
    }
}

impl fmt::Debug for LoadedCertificate {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedCertificate")
            .field("names", &self.names)
            .field("kind", &self.kind)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The first private key in `bytes`, which are those of this PEM file.
///
/// # Errors
/// Naming the file.
pub(super) fn read_key(name: &dyn fmt::Display, bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(_) if memchr::memmem::find(bytes, b"ENCRYPTED").is_some() => {
            refused(name, "the key is encrypted; store it decrypted")
        }
        Err(e) => Err(e).or_err_with(TLS_CONF_ERR, || {
            format!("can't use {name}: no private key in the PEM format")
        }),
    }
}

/// Lets the library say what it thinks of a key, and whether it belongs to the leaf.
fn check_key(
    source: &CertificateSource,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<()> {
    let using = || format!("can't use {}: no key that can sign", source.key);
    let key = recommended_provider().key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain.to_vec(), key.or_err_with(TLS_CONF_ERR, using)?);
    if certified.keys_match().is_err() {
        let chain = &source.chain;
        let reason = format!("it does not belong to the first certificate in {chain}");
        return refused(&source.key, &reason);
    }
    Ok(())
}

/// The key as PKCS #8 (RFC 5958), from any of the formats that wrap it.
///
/// # Errors
/// [`TLS_CONF_ERR`] if it is not what its label says.
pub(super) fn to_pkcs8(key: &PrivateKeyDer<'_>) -> Result<Vec<u8>> {
    const VERSION: &[u8] = &[2, 1, 0];
    let algorithm = match key {
        PrivateKeyDer::Pkcs8(key) => return Ok(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Pkcs1(_) => [&wrapped(6, RSA)[..], &[5, 0]].concat(),
        PrivateKeyDer::Sec1(key) => {
            // Version, the key, and then the curve (RFC 5915 section 3).
            let mut parts = Der(key.secret_sec1_der()).sequence();
            let curve = parts.as_mut().and_then(|parts| {
                let (_version, _key) = (parts.next()?, parts.next()?);
                Der(parts.optional(0xa0)?).expect(6)
            });
            let Some(curve) = curve else {
                return refused(
                    &"the key",
                    "it does not name its curve; write it as PKCS #8",
                );
            };
            [wrapped(6, EC), wrapped(6, curve)].concat()
        }
        _ => {
            return refused(
                &"the key",
                "it is of an unknown format; write it as PKCS #8",
            );
        }
    };
    let parts = [
        VERSION.to_vec(),
        wrapped(0x30, &algorithm),
        wrapped(4, key.secret_der()),
    ];
    Ok(wrapped(0x30, &parts.concat()))
}

fn kind(facts: &Facts<'_>) -> KeyKind {
    match (facts.key_algorithm(), facts.curve()) {
        (RSA, _) => KeyKind::Rsa,
        (ED25519, _) => KeyKind::Ed25519,
        (EC, Some(P256)) => KeyKind::EcdsaP256,
        (EC, Some(P384)) => KeyKind::EcdsaP384,
        (EC, Some(P521)) => KeyKind::EcdsaP521,
        _ => KeyKind::Other,
    }
}
