//! Certificates, made where they are used.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};
use std::fmt;
use std::path::PathBuf;
use tempfile::TempDir;

/// A certificate authority that only the test trusts, and a directory for what it issues.
pub struct Authority {
    dir: TempDir,
    certificate: X509,
    key: PKey<Private>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("dir", &self.dir.path())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::named("Test Authority")
    }

    /// A new one of this name.
    pub fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let key = new_key();
        let mut builder = unsigned(name, &key);
        builder.set_issuer_name(&subject(name)).expect("a name");
        let constraints = BasicConstraints::new().critical().ca().build();
        builder
            .append_extension(constraints.expect("an extension"))
            .expect("it is ours");
        let usage = KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build();
        builder
            .append_extension(usage.expect("an extension"))
            .expect("it is ours");
        builder
            .sign(&key, MessageDigest::sha256())
            .expect("the key signs");
        let certificate = builder.build();
        let pem = certificate.to_pem().expect("a certificate is PEM");
        std::fs::write(dir.path().join("ca.pem"), pem).expect("the directory is writable");
        Self {
            dir,
            certificate,
            key,
        }
    }

    /// Its certificate, for those who trust it.
    pub fn certificate(&self) -> X509 {
        self.certificate.clone()
    }

    /// The PEM file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The PEM file of its key, for programs that sign in its name.
    pub fn key_file(&self) -> PathBuf {
        let path = self.dir.path().join("ca.key");
        let key = self.key.private_key_to_pem_pkcs8().expect("a key is PEM");
        std::fs::write(&path, key).expect("the directory is writable");
        path
    }

    /// A certificate for these names and addresses: the PEM files of it and of its key.
    pub fn issue(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        let first = names.first().copied().unwrap_or("unnamed");
        self.issue_as(first, names, &new_key(), |_| {})
    }

    /// A certificate in files that begin with `stem`, for this key, with changes before it is signed.
    pub fn issue_as(
        &self,
        stem: &str,
        names: &[&str],
        key: &PKey<Private>,
        change: impl FnOnce(&mut X509Builder),
    ) -> (PathBuf, PathBuf) {
        let first = names.first().copied().unwrap_or("unnamed");
        let mut builder = unsigned(first, key);
        builder
            .set_issuer_name(self.certificate.subject_name())
            .expect("a name");
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternatives.ip(name),
                Err(_) => alternatives.dns(name),
            };
        }
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let alternatives = alternatives.build(&context).expect("names are names");
        builder.append_extension(alternatives).expect("it is ours");
        change(&mut builder);
        builder
            .sign(&self.key, MessageDigest::sha256())
            .expect("the key signs");
        let paths = (
            self.dir.path().join(format!("{stem}.pem")),
            self.dir.path().join(format!("{stem}.key")),
        );
        let certificate = builder.build().to_pem().expect("a certificate is PEM");
        std::fs::write(&paths.0, certificate).expect("the directory is writable");
        let key = key.private_key_to_pem_pkcs8().expect("a key is PEM");
        std::fs::write(&paths.1, key).expect("the directory is writable");
        paths
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a well-known curve");
    let key = EcKey::generate(&group).expect("keys can be made");
    PKey::from_ec_key(key).expect("a key is a key")
}

fn subject(name: &str) -> X509Name {
    let mut subject = X509Name::builder().expect("a name");
    subject
        .append_entry_by_text("CN", name)
        .expect("a common name");
    subject.build()
}

fn unsigned(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut serial = BigNum::new().expect("a number");
    serial
        .rand(63, MsbOption::MAYBE_ZERO, false)
        .expect("randomness");
    let prepare = || -> Result<X509Builder, openssl::error::ErrorStack> {
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_subject_name(&subject(name))?;
        builder.set_pubkey(key)?;
        let (today, later) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(2)?);
        builder.set_not_before(&today)?;
        builder.set_not_after(&later)?;
        let serial = serial.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        Ok(builder)
    };
    prepare().expect("a certificate can be made")
}
