//! Authorities to trust: their certificates, and their lists of what they have revoked.

use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::certificate::Material;
use crate::protocols::tls::certificate::openssl::{read_chain, refused};
use crate::sys::tls as sys;
use openssl::error::ErrorStack;
use openssl::sha::Sha256;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Crl};
use pingora_error::{OrErr, Result};

/// How a revocation list begins in a PEM file.
const LIST: &[u8] = b"-----BEGIN X509 CRL-----";

/// Certificates of authorities, and revocation lists that stood beside them.
pub(super) struct Authorities {
    certificates: Vec<X509>,
    revoked: Vec<X509Crl>,
}

impl Authorities {
    /// Reads all of these. Blocks.
    ///
    /// # Errors
    /// `TLS_CONF_ERR` naming what can't be used: it is missing, or unreadable, or holds no certificate, or one
    /// of its blocks is broken. A part of what a file says is never taken for the whole.
    pub(super) fn read(materials: &[Material]) -> Result<Self> {
        let mut all = Authorities {
            certificates: vec![],
            revoked: vec![],
        };
        for material in materials {
            let bytes = material.read()?;
            let certificates = read_chain(material, &bytes)?;
            if certificates.is_empty() {
                return refused(material, "there is no certificate in it");
            }
            all.certificates.extend(certificates);
            for at in memchr::memmem::find_iter(&bytes, LIST) {
                let list = X509Crl::from_pem(bytes.get(at..).unwrap_or_default());
                let using = || format!("can't use {material}: a revocation list in it is broken");
                all.revoked.push(list.or_err_with(TLS_CONF_ERR, using)?);
            }
        }
        Ok(all)
    }

    pub(super) fn certificates(&self) -> &[X509] {
        &self.certificates
    }

    /// A store that trusts them. If there are revocation lists, they are applied, and each authority that
    /// signs a peer's own certificate needs one.
    ///
    /// # Errors
    /// If the library refuses one.
    pub(super) fn store(&self) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for certificate in &self.certificates {
            store.add_cert(certificate.clone())?;
        }
        for list in &self.revoked {
            sys::add_revocation_list(&mut store, list)?;
        }
        if !self.revoked.is_empty() {
            store.set_flags(X509VerifyFlags::CRL_CHECK)?;
        }
        Ok(store.build())
    }

    /// Adds what tells these authorities from others to `hash`.
    ///
    /// # Errors
    /// If the library can't write one out.
    pub(super) fn identify(&self, hash: &mut Sha256) -> Result<(), ErrorStack> {
        let certificates = self.certificates.iter().map(|one| one.to_der());
        let lists = self.revoked.iter().map(|list| list.to_der());
        for der in certificates.chain(lists) {
            let der = der?;
            hash.update(&u64::try_from(der.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(&der);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::tls::openssl::test_certificates::authority;

    /// The word of the error that reading these bytes gives.
    fn reason(bytes: &[u8]) -> Option<String> {
        let read = Authorities::read(&[Material::memory(bytes)]);
        read.err().map(|e| e.to_string())
    }

    #[test]
    fn a_part_is_never_taken_for_the_whole() {
        let (one, other) = (authority("one").cert_pem(), authority("other").cert_pem());
        let both = [&one[..], b"# a comment\n", &other].concat();
        assert_eq!(reason(&both), None);
        let cut_off = &both[..both.len() - 200];
        let without_end = &both[..both.len() - 10];
        let text = String::from_utf8(both.clone()).unwrap();
        let trusted = text.replacen("CERTIFICATE", "TRUSTED CERTIFICATE", 2);
        let (head, tail) = text.split_at(text.len() - 300);
        let damaged = format!("{head}????{tail}");
        let broken_list = format!("{text}-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n");
        for (bytes, wanted) in [
            (&b""[..], "no certificate"),
            (b"garbage", "no certificate"),
            (&[0; 1000], "no certificate"),
            (b"-----BEGIN CERTIFICATE-----\n", "can't use"),
            (cut_off, "can't use"),
            (without_end, "can't use"),
            (trusted.as_bytes(), "can't use"),
            (damaged.as_bytes(), "can't use"),
            (broken_list.as_bytes(), "revocation list"),
        ] {
            let reason = reason(bytes).unwrap_or_else(|| panic!("{}", bytes.escape_ascii()));
            assert!(reason.contains(wanted), "{wanted}: {reason}");
        }
    }

    #[test]
    fn authorities_are_told_apart() {
        let of = |pem: &[&[u8]]| {
            let materials: Vec<_> = pem.iter().map(Material::memory).collect();
            let mut hash = Sha256::new();
            let read = Authorities::read(&materials).unwrap();
            read.identify(&mut hash).unwrap();
            hash.finish()
        };
        let (one, other) = (authority("one").cert_pem(), authority("other").cert_pem());
        assert_eq!(of(&[&one]), of(&[&one]));
        assert_ne!(of(&[&one]), of(&[&other]));
        assert_ne!(of(&[&one]), of(&[&one, &other]));
        assert_eq!(of(&[&one, &other]), of(&[&[&one[..], &other].concat()]));
    }
}
