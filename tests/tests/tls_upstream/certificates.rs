//! Certificates of every shape, good and bad.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Name};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A certificate and its key.
#[derive(Clone)]
pub struct Signed {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What a certificate says.
#[derive(Clone)]
pub struct Shape {
    /// The common name.
    pub name: &'static str,
    /// DNS names that it is for.
    pub names: Vec<&'static str>,
    /// Whether it may sign others, and how many may stand between it and a leaf.
    pub authority: Option<Option<u32>>,
    /// From when and until when, in days from now.
    pub days: (i64, i64),
    /// What it may be used for, as a leaf.
    pub usage: fn(&mut ExtendedKeyUsage),
    /// Whether its key may sign certificates, if it is an authority.
    pub signs: bool,
    /// An RSA key instead of one on a curve.
    pub rsa: bool,
}

impl Shape {
    /// A certificate for this name, as it should be.
    pub fn leaf(name: &'static str) -> Self {
        Shape {
            name,
            names: vec![name],
            authority: None,
            days: (-1, 2),
            usage: |usage| {
                usage.server_auth();
            },
            signs: true,
            rsa: false,
        }
    }

    /// An authority.
    pub fn authority(name: &'static str) -> Self {
        Shape {
            names: vec![],
            authority: Some(None),
            ..Self::leaf(name)
        }
    }

    /// Signed by itself.
    pub fn root(&self) -> Signed {
        self.issued(None)
    }

    /// Signed by this one, whether that is allowed or not.
    pub fn by(&self, issuer: &Signed) -> Signed {
        self.issued(Some(issuer))
    }

    fn issued(&self, issuer: Option<&Signed>) -> Signed {
        let key = if self.rsa {
            PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
        } else {
            new_key()
        };
        let mut builder = X509::builder().unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(63, MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        let subject = subject(self.name);
        builder.set_subject_name(&subject).unwrap();
        let by = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(by).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&day(self.days.0)).unwrap();
        builder.set_not_after(&day(self.days.1)).unwrap();
        let mut constraints = BasicConstraints::new();
        let mut usage = KeyUsage::new();
        match self.authority {
            Some(length) => {
                constraints.ca();
                if let Some(length) = length {
                    constraints.pathlen(length);
                }
                if self.signs {
                    usage.key_cert_sign().crl_sign()
                } else {
                    usage.digital_signature()
                };
            }
            None => {
                usage.digital_signature().key_encipherment();
            }
        }
        builder
            .append_extension(constraints.critical().build().unwrap())
            .unwrap();
        builder
            .append_extension(usage.critical().build().unwrap())
            .unwrap();
        if self.authority.is_none() {
            let mut usage = ExtendedKeyUsage::new();
            (self.usage)(&mut usage);
            builder.append_extension(usage.build().unwrap()).unwrap();
        }
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.names {
                match name.parse::<std::net::IpAddr>() {
                    Ok(_) => names.ip(name),
                    Err(_) => names.dns(name),
                };
            }
            let issuer = issuer.map(|issuer| &*issuer.certificate);
            let names = names.build(&builder.x509v3_context(issuer, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        let signer = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Signed {
            certificate: builder.build(),
            key,
        }
    }
}

/// Puts a chain, the leaf first, and the leaf's key into files.
pub fn write(dir: &Path, name: &str, chain: &[&Signed]) -> (PathBuf, PathBuf) {
    let paths = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key")),
    );
    let pem: Vec<u8> = chain
        .iter()
        .flat_map(|signed| signed.certificate.to_pem().unwrap())
        .collect();
    std::fs::write(&paths.0, pem).unwrap();
    let key = chain[0].key.private_key_to_pem_pkcs8().unwrap();
    std::fs::write(&paths.1, key).unwrap();
    paths
}

pub fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn subject(name: &str) -> X509Name {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    subject.build()
}

fn day(days: i64) -> Asn1Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + days * 24 * 60 * 60;
    Asn1Time::from_unix(seconds).unwrap()
}
