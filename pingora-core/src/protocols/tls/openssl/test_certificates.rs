//! Certificates made on the spot, for tests.

use crate::protocols::tls::{CertificateSource, KeyKind};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};
use std::time::SystemTime;

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) cert: X509,
    pub(crate) key: PKey<Private>,
}

fn new_key() -> PKey<Private> {
    ec_key(Nid::X9_62_PRIME256V1)
}

fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn key_of(kind: KeyKind) -> PKey<Private> {
    match kind {
        KeyKind::EcdsaP256 => new_key(),
        KeyKind::EcdsaP384 => ec_key(Nid::SECP384R1),
        KeyKind::Ed25519 => PKey::generate_ed25519().unwrap(),
        KeyKind::Rsa => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        other => panic!("no test needs {other}"),
    }
}

fn subject(name: &str) -> X509Name {
    let mut subject = X509Name::builder().unwrap();
    subject
        .append_entry_by_text("O", "Test Organisation")
        .unwrap();
    subject.append_entry_by_text("OU", "Test Unit").unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    subject.build()
}

fn unsigned(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject(name)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    let serial = BigNum::from_u32(0x00C0_FFEE)
        .unwrap()
        .to_asn1_integer()
        .unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder
}

/// An authority that signs itself.
pub(crate) fn authority(name: &str) -> Made {
    let key = new_key();
    let mut builder = unsigned(name, &key);
    builder.set_issuer_name(&subject(name)).unwrap();
    builder
        .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Made {
        cert: builder.build(),
        key,
    }
}

impl Made {
    /// A certificate for these DNS names and IP addresses, signed by this authority.
    pub(crate) fn issue(&self, names: &[&str], ips: &[&str]) -> Made {
        self.issue_with(names, ips, |_| {})
    }

    /// A certificate for a key of this kind.
    pub(crate) fn issue_kind(&self, kind: KeyKind, names: &[&str]) -> Made {
        self.sign(key_of(kind), names, &[], |_| {})
    }

    /// A certificate whose time is over.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Made {
        self.issue_with(names, &[], |builder| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = i64::try_from(now.unwrap().as_secs()).unwrap();
            let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
            builder.set_not_before(&day(-2)).unwrap();
            builder.set_not_after(&day(-1)).unwrap();
        })
    }

    /// The same, with changes before it is signed.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        ips: &[&str],
        change: impl FnOnce(&mut X509Builder),
    ) -> Made {
        self.sign(new_key(), names, ips, change)
    }

    fn sign(
        &self,
        key: PKey<Private>,
        names: &[&str],
        ips: &[&str],
        change: impl FnOnce(&mut X509Builder),
    ) -> Made {
        let mut builder = unsigned(names.first().unwrap_or(&"unnamed"), &key);
        builder.set_issuer_name(self.cert.subject_name()).unwrap();
        let mut san = SubjectAlternativeName::new();
        for name in names {
            san.dns(name);
        }
        for ip in ips {
            san.ip(ip);
        }
        if !names.is_empty() || !ips.is_empty() {
            let san = san
                .build(&builder.x509v3_context(Some(&self.cert), None))
                .unwrap();
            builder.append_extension(san).unwrap();
        }
        change(&mut builder);
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Made {
            cert: builder.build(),
            key,
        }
    }

    /// The certificate as PEM.
    pub(crate) fn cert_pem(&self) -> Vec<u8> {
        self.cert.to_pem().unwrap()
    }

    /// The key as PEM.
    pub(crate) fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// Both, for a store.
    pub(crate) fn source(&self) -> CertificateSource {
        CertificateSource::pem(self.cert_pem(), self.key_pem())
    }
}
