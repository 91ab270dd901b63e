//! What the library knows after a handshake.

use super::certificate::{get_organization, get_serial};
use crate::protocols::tls::SslDigest;
use openssl::hash::MessageDigest;
use openssl::ssl::SslRef;

impl SslDigest {
    /// What the handshake of this session agreed upon.
    pub fn from_ssl(ssl: &SslRef) -> Self {
        let cipher = ssl.current_cipher().map_or("", |cipher| cipher.name());
        let (mut organization, mut serial_number, mut cert_digest) = (None, None, Vec::new());
        if let Some(cert) = ssl.peer_certificate() {
            organization = get_organization(&cert);
            serial_number = get_serial(&cert).ok();
            cert_digest = cert
                .digest(MessageDigest::sha256())
                .map(|d| d.to_vec())
                .unwrap_or_default();
        }
        SslDigest::new(
            cipher,
            ssl.version_str(),
            organization,
            serial_number,
            cert_digest,
        )
    }
}
