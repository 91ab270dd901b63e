//! Certificates in the PEM format.

use crate::protocols::tls::TLS_CONF_ERR;
use crate::protocols::tls::x509::Facts;
use pingora_error::{Error, OrErr, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;

/// How the lines around a certificate in a PEM file end; before that, some have more words.
const CERTIFICATE: &[u8] = b"CERTIFICATE-----";

/// All certificates in `bytes`, which are those of this PEM file.
///
/// # Errors
/// If not all of them can be read: a part of what a file says is never taken for the whole.
pub(crate) fn read_chain(
    name: &dyn fmt::Display,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = read.or_err_with(TLS_CONF_ERR, || format!("can't use {name}"))?;
    // Each has a line at its beginning and one at its end.
    let lines = memchr::memmem::find_iter(bytes, CERTIFICATE).count();
    let readable = certificates.iter().all(|one| Facts::read(one).is_some());
    if lines != 2 * certificates.len() || !readable {
        return refused(
            name,
            "not all certificates in it are whole, and plain ones (BEGIN CERTIFICATE)",
        );
    }
    Ok(certificates)
}

/// # Errors
/// Always: one line that names the file.
pub(crate) fn refused<T>(name: &dyn fmt::Display, reason: &str) -> Result<T> {
    Error::e_explain(TLS_CONF_ERR, format!("can't use {name}: {reason}"))
}
