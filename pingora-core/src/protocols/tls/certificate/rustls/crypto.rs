//! The cryptography of rustls: aws-lc-rs.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use std::sync::{Arc, OnceLock};

/// The provider of cryptography if no other was chosen. It does not depend on the process's default, which
/// another part of the program may have installed.
pub(crate) fn recommended_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(default_provider()))
        .clone()
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut made = [0; 32];
    made.copy_from_slice(digest(&SHA256, bytes).as_ref());
    made
}
