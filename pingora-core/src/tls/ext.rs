//! Settings of one TLS session: its certificate, whom it trusts, where its handshake pauses.
//!
//! `TlsAccept::certificate_callback` gets the session of a client that has said hello, and chooses what that
//! client is shown:
//!
//! ```
//! use async_trait::async_trait;
//! use pingora_core::listeners::{TlsAccept, TlsSettings};
//! use pingora_core::protocols::tls::TlsRef;
//! use pingora_core::tls::{error::ErrorStack, ext, ssl::NameType};
//! use pingora_core::utils::tls::CertKey;
//! use std::collections::HashMap;
//!
//! struct ByName(HashMap<String, CertKey>);
//!
//! fn show(ssl: &mut TlsRef, chosen: &CertKey) -> Result<(), ErrorStack> {
//!     ext::ssl_use_certificate(ssl, chosen.leaf())?;
//!     ext::ssl_use_private_key(ssl, chosen.key())?;
//!     chosen.intermediates().iter().try_for_each(|cert| ext::ssl_add_chain_cert(ssl, cert))
//! }
//!
//! #[async_trait]
//! impl TlsAccept for ByName {
//!     async fn certificate_callback(&self, ssl: &mut TlsRef) {
//!         let name = ssl.servername(NameType::HOST_NAME).unwrap_or_default();
//!         // A session that is left without a certificate ends the handshake.
//!         if let Some(chosen) = self.0.get(name)
//!             && let Err(e) = show(ssl, chosen)
//!         {
//!             eprintln!("no certificate for this client: {e}");
//!         }
//!     }
//! }
//!
//! let settings = TlsSettings::with_callbacks(Box::new(ByName(HashMap::new())));
//! assert!(settings.is_ok());
//! ```
//!
//! Errors are the library's. Where a value is refused before the library sees it, the stack of errors is empty.

use crate::sys::tls as sys;
use openssl::error::ErrorStack;
use openssl::pkey::{HasPrivate, PKeyRef};
use openssl::ssl::{self, Ssl, SslAcceptor, SslRef};
use openssl::x509::X509Ref;
use openssl::x509::store::X509StoreRef;
use openssl::x509::verify::X509VerifyParamRef;
use std::io;

/// Adds a name to those that the other side's certificate may be for; one of them is enough.
///
/// # Errors
/// Where `host` is empty, contains a NUL, or begins with a dot, which would stand for every host below.
pub fn add_host(verify_param: &mut X509VerifyParamRef, host: &str) -> Result<(), ErrorStack> {
    sys::add_host(verify_param, host).map_err(into_stack)
}

/// Verifies the other side's certificate against this store instead of the one that the session was made with.
///
/// # Errors
/// The library's.
pub fn ssl_set_verify_cert_store(
    ssl: &mut SslRef,
    cert_store: &X509StoreRef,
) -> Result<(), ErrorStack> {
    sys::trust(ssl, cert_store)
}

/// Shows this certificate. Its key follows with [`ssl_use_private_key`], its chain with [`ssl_add_chain_cert`].
///
/// A session has one certificate for each kind of key, and shows one that its client can use. A certificate
/// with the same kind of key as the present one takes its place, and ends its chain; one of another kind stands
/// beside it. The chain that an acceptor gives to all its sessions (`add_extra_chain_cert`) is shown behind
/// every certificate that has none of its own.
///
/// # Errors
/// Where the library refuses the certificate, for example because its key is too short.
pub fn ssl_use_certificate(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    let replaces = ssl
        .certificate()
        .is_some_and(|present| present != cert && has_same_kind(present, cert));
    ssl.set_certificate(cert)?;
    if replaces {
        // The library would show the chain of the one before behind this one.
        sys::forget_chain(ssl)
    } else {
        Ok(())
    }
}

/// Signs with this key. It has to follow its certificate: see [`ssl_use_certificate`].
///
/// # Errors
/// Where the key does not belong to the session's certificate of its kind.
pub fn ssl_use_private_key<T: HasPrivate>(
    ssl: &mut SslRef,
    key: &PKeyRef<T>,
) -> Result<(), ErrorStack> {
    sys::use_private_key(ssl, key)
}

/// Adds a certificate to those that are shown after the one that was set last. The one that signed that
/// certificate comes first, and so on upwards; the root need not be shown.
///
/// # Errors
/// Where the library refuses the certificate.
pub fn ssl_add_chain_cert(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    ssl.add_chain_cert(cert.to_owned())
}

/// Sets the groups ("curves") of the key exchange, separated by colons, best first.
///
/// To be called before the handshake begins: when a certificate is chosen, TLS 1.3 has agreed upon its group.
///
/// # Errors
/// Where the library does not know one of the groups, or none is given.
pub fn ssl_set_groups_list(ssl: &mut SslRef, groups: &str) -> Result<(), ErrorStack> {
    sys::set_groups(ssl, groups).map_err(into_stack)
}

/// Does nothing: a client of OpenSSL renegotiates whenever the server asks for it, unless its options say
/// `NO_RENEGOTIATION`. In TLS 1.3, there is no renegotiation.
pub fn ssl_set_renegotiate_mode_freely(_ssl: &mut SslRef) {}

/// Does nothing: OpenSSL decides by itself how many shares of keys a client sends. They are for the first of the
/// groups of [`ssl_set_groups_list`].
pub fn ssl_use_second_key_share(_ssl: &mut SslRef, _enabled: bool) {}

/// Fills `out` with bytes that only the two sides can derive (RFC 5705). Up to TLS 1.2, an empty context
/// is another one than none.
///
/// # Errors
/// Where the handshake is not complete.
pub fn ssl_export_keying_material(
    ssl: &SslRef,
    out: &mut [u8],
    label: &str,
    context: Option<&[u8]>,
) -> Result<(), ErrorStack> {
    ssl.export_keying_material(out, label, context)
}

/// A session with the settings of this acceptor, for a server's handshake.
///
/// # Errors
/// The library's.
pub fn ssl_from_acceptor(acceptor: &SslAcceptor) -> Result<Ssl, ErrorStack> {
    Ssl::new(acceptor.context())
}

/// Makes a server's handshake pause when it needs a certificate: its call fails with an error for which
/// [`is_suspended_for_cert`] is true, and may be repeated after [`unblock_ssl_cert`]. A session that is resumed
/// does not pause.
///
/// Listeners do this by themselves; it is for programs that drive a handshake by hand.
pub fn suspend_when_need_ssl_cert(ssl: &mut SslRef) {
    sys::suspend_at_certificate(ssl);
}

/// Undoes [`suspend_when_need_ssl_cert`]: the next call goes on with the handshake.
pub fn unblock_ssl_cert(ssl: &mut SslRef) {
    sys::resume_at_certificate(ssl);
}

/// Whether a handshake failed with this error because it waits for its certificate.
pub fn is_suspended_for_cert(error: &ssl::Error) -> bool {
    sys::is_suspended(error)
}

/// Empties the thread's queue of errors. The next call may take leftover errors for its own.
pub fn clear_error_stack() {
    sys::forget_errors();
}

fn has_same_kind(one: &X509Ref, other: &X509Ref) -> bool {
    let kind = |cert: &X509Ref| cert.public_key().map(|key| key.id());
    matches!((kind(one), kind(other)), (Ok(one), Ok(other)) if one == other)
}

/// The library's errors; an empty stack if the value was refused before the library saw it.
fn into_stack(e: io::Error) -> ErrorStack {
    e.downcast().unwrap_or_else(|_| {
        sys::forget_errors();
        ErrorStack::get()
    })
}

#[cfg(test)]
mod tests;
