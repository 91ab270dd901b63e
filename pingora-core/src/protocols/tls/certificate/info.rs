//! The facts that a certificate states about itself.

use super::kind::KeyKind;
use std::time::SystemTime;

/// Names a certificate within its [`CertificateStore`](crate::protocols::tls::CertificateStore).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CertificateId(pub(crate) u64);

/// A certificate of a [`CertificateStore`](crate::protocols::tls::CertificateStore), as far as it is public.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// Its name within the store.
    pub id: CertificateId,
    /// The file that it was read from.
    pub source: String,
    /// The names that it is shown for.
    pub names: Vec<String>,
    /// The kind of its key.
    pub kind: KeyKind,
    /// Serial number, in hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Whether it is shown if no other fits.
    pub is_default: bool,
    /// Whether it has an OCSP response that is stapled for those who ask.
    pub has_ocsp_response: bool,
}
