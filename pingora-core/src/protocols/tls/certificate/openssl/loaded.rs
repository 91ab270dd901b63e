//! A listener's certificate, read and checked, ready to be shown.

use super::cert_key::{get_common_name, get_serial, refused};
use super::staple::Staple;
use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::info::{CertificateId, CertificateInfo};
use crate::protocols::tls::certificate::kind::KeyKind;
#[cfg(feature = "rustls")]
use crate::protocols::tls::certificate::made::Made;
use crate::protocols::tls::certificate::material::Material;
use crate::protocols::tls::certificate::source::CertificateSource;
use crate::protocols::tls::library::to_der;
use crate::sys::tls as sys;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslRef};
use openssl::x509::{X509, X509Ref};
use pingora_error::{Error, ErrorType, OrErr, Result};
use std::fmt;
use std::time::{Duration, SystemTime};

/// How the lines around a certificate in a PEM file end; before that, some have more words.
const CERTIFICATE: &[u8] = b"CERTIFICATE-----";

/// A certificate chain with its key, and what is known of it.
pub(crate) struct LoadedCertificate {
    leaf: X509,
    intermediates: Vec<X509>,
    key: PKey<Private>,
    names: Vec<String>,
    kind: KeyKind,
    fingerprint: [u8; 32],
    not_before: SystemTime,
    not_after: SystemTime,
    staple: Option<Staple>,
    #[cfg(feature = "rustls")]
    made: Made,
}

#[cfg(feature = "rustls")]
impl LoadedCertificate {
    /// The value that another backend has made of it.
    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    pub(crate) fn any_ocsp_response(&self) -> Option<&[u8]> {
        Some(self.staple.as_ref()?.der())
    }
}

impl LoadedCertificate {
    /// Reads and checks all but the dates. Blocks.
    ///
    /// # Errors
    /// One line that names what can't be used, and why.
    pub(crate) fn load(source: &CertificateSource) -> Result<Self> {
        let chain = &source.chain;
        let mut certificates = read_chain(chain, &chain.read()?)?.into_iter();
        let Some(leaf) = certificates.next() else {
            return refused(chain, "there is no certificate in it");
        };
        let intermediates: Vec<X509> = certificates.collect();
        let key = read_key(&source.key)?;
        let unreadable = || format!("using {chain}");
        let public = leaf.public_key().or_err_with(TLS_CONF_ERR, unreadable)?;
        if !public.public_eq(&key) {
            let reason = format!("it does not belong to the first certificate in {chain}");
            return refused(&source.key, &reason);
        }
        try_out(&leaf, &intermediates, &key).or_err_with(TLS_CONF_ERR, unreadable)?;
        let staple = match &source.ocsp {
            Some(ocsp) => Some(Staple::read(ocsp, &leaf, intermediates.first())?),
            None => None,
        };
        let digest = leaf
            .digest(MessageDigest::sha256())
            .or_err_with(TLS_CONF_ERR, unreadable)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&digest);
        Ok(LoadedCertificate {
            names: names(&leaf),
            kind: kind(&key),
            fingerprint,
            not_before: time(leaf.not_before()),
            not_after: time(leaf.not_after()),
            leaf,
            intermediates,
            key,
            staple,
            #[cfg(feature = "rustls")]
            made: Default::default(),
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

    /// Its public facts. The store adds whose it is, and for which names it is shown.
    pub(crate) fn info(&self, source: String) -> CertificateInfo {
        CertificateInfo {
            id: CertificateId::default(),
            source,
            names: vec![],
            kind: self.kind,
            serial_number: get_serial(&self.leaf).unwrap_or_default(),
            fingerprint: self.fingerprint,
            not_before: self.not_before,
            not_after: self.not_after,
            is_default: false,
            has_ocsp_response: self.staple.is_some(),
        }
    }

    /// The chain, the leaf first, as DER.
    pub(crate) fn chain_der(&self) -> Vec<Box<[u8]>> {
        let chain = std::iter::once(&self.leaf).chain(&self.intermediates);
        chain.filter_map(to_der).collect()
    }

    /// The key (PKCS #8), as DER.
    pub(crate) fn key_der(&self) -> Result<Vec<u8>> {
        let key = self.key.private_key_to_pkcs8();
        key.or_err(TLS_CONF_ERR, "writing a key as PKCS #8")
    }

    /// The OCSP response to staple, if there is one that is up to date.
    pub(crate) fn ocsp_response(&self, now: SystemTime) -> Option<&[u8]> {
        self.staple.as_ref()?.response(now)
    }

    /// The OCSP response that may be stapled to it.
    pub(crate) fn staple(&self) -> Option<&Staple> {
        self.staple.as_ref()
    }

    /// Makes a whole listener show it if nothing else is said.
    ///
    /// # Errors
    /// If the library refuses it.
    pub(crate) fn install(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        builder.set_certificate(&self.leaf)?;
        builder.set_private_key(&self.key)?;
        let mut rest = self.intermediates.iter();
        rest.try_for_each(|cert| builder.add_extra_chain_cert(cert.clone()))
    }

    /// Makes one session, whose handshake has not come to its certificate yet, show it.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` if the library refuses it.
    pub(crate) fn show(&self, ssl: &mut SslRef) -> Result<()> {
        // One of another kind would stay beside the new one.
        sys::forget_certificates(ssl);
        let shown = ssl
            .set_certificate(&self.leaf)
            .and_then(|()| ssl.set_private_key(&self.key))
            .and_then(|()| {
                let mut rest = self.intermediates.iter();
                rest.try_for_each(|cert| ssl.add_chain_cert(cert.clone()))
            });
        shown.or_err(ErrorType::TLSHandshakeFailure, "showing the certificate")
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

/// All certificates in `bytes`, which are those of this PEM file.
///
/// # Errors
/// If not all of them can be read: a part of what a file says is never taken for the whole.
pub(crate) fn read_chain(material: &Material, bytes: &[u8]) -> Result<Vec<X509>> {
    let using = || format!("can't use {material}");
    let certificates = X509::stack_from_pem(bytes).or_err_with(TLS_CONF_ERR, using)?;
    // Each has a line at its beginning and one at its end. The library passes over what it does not know, and
    // over one that is cut off.
    let lines = memchr::memmem::find_iter(bytes, CERTIFICATE).count();
    if lines != 2 * certificates.len() {
        return refused(
            material,
            "not all certificates in it are whole, and plain ones (BEGIN CERTIFICATE)",
        );
    }
    Ok(certificates)
}

fn read_key(material: &Material) -> Result<PKey<Private>> {
    let bytes = material.read()?;
    let mut encrypted = false;
    // Without a callback, the library would prompt at the terminal.
    let key = PKey::private_key_from_pem_callback(&bytes, |_| {
        encrypted = true;
        Err(ErrorStack::get())
    });
    match key {
        Ok(key) => Ok(key),
        Err(_) if encrypted => refused(material, "the key is encrypted; store it decrypted"),
        Err(e) => Error::e_because(
            TLS_CONF_ERR,
            format!("can't use {material}: no private key in the PEM format"),
            e,
        ),
    }
}

/// Lets the library say what it thinks of a chain: keys may be too short, signatures too old.
fn try_out(leaf: &X509, intermediates: &[X509], key: &PKeyRef<Private>) -> Result<(), ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_server())?;
    builder.set_certificate(leaf)?;
    builder.set_private_key(key)?;
    let mut rest = intermediates.iter();
    rest.try_for_each(|cert| builder.add_extra_chain_cert(cert.clone()))
}

/// The names of hosts in a certificate: the alternative names, or without any the common name.
fn names(leaf: &X509) -> Vec<String> {
    let alternatives = leaf.subject_alt_names();
    let dns = alternatives.iter().flatten().filter_map(|n| n.dnsname());
    let names: Vec<String> = dns.map(str::to_string).collect();
    if names.is_empty() {
        get_common_name(leaf).into_iter().collect()
    } else {
        names
    }
}

fn kind(key: &PKeyRef<Private>) -> KeyKind {
    let curve = || key.ec_key().ok()?.group().curve_name();
    match key.id() {
        Id::RSA => KeyKind::Rsa,
        Id::ED25519 => KeyKind::Ed25519,
        Id::EC => match curve() {
            Some(Nid::X9_62_PRIME256V1) => KeyKind::EcdsaP256,
            Some(Nid::SECP384R1) => KeyKind::EcdsaP384,
            Some(Nid::SECP521R1) => KeyKind::EcdsaP521,
            _ => KeyKind::Other,
        },
        _ => KeyKind::Other,
    }
}

/// A date in a certificate.
fn time(date: &Asn1TimeRef) -> SystemTime {
    let since_epoch = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(date));
    let Ok(since_epoch) = since_epoch else {
        // A date that can't be read counts as past.
        return SystemTime::UNIX_EPOCH;
    };
    let seconds = i64::from(since_epoch.days) * 86_400 + i64::from(since_epoch.secs);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether the time of a certificate is over.
pub(crate) fn is_over(certificate: &X509Ref, now: SystemTime) -> bool {
    time(certificate.not_after()) < now
}
