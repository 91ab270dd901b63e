//! Certificates made on the spot, for tests.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) cert: X509,
    pub(crate) key: PKey<Private>,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
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

    /// The same, with changes before it is signed.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        ips: &[&str],
        change: impl FnOnce(&mut X509Builder),
    ) -> Made {
        let key = new_key();
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
}
