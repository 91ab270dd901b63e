//! Certificates that clients show.

use super::store::Material;
use super::{Certificate, TLS_CONF_ERR};
use pingora_error::{Error, Result};
use std::any::type_name;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Decides about the certificates that clients show, after the TLS library has.
pub trait ClientVerifier: Send + Sync {
    /// Whether the handshake goes on.
    ///
    /// `chain` has the client's certificate first, followed by those that the library found for it up to
    /// the authority, as far as it came. `verdict` is what the library thinks: an error says what is
    /// wrong, such as "certificate has expired". To accept what it does not is as much this function's
    /// right as to refuse what it accepts.
    ///
    /// Runs within the handshake: must not block. Not called when a client resumes a session, whose
    /// certificate was accepted before. A panic refuses the client.
    fn verify(&self, chain: &[Certificate], verdict: Result<(), String>) -> bool;
}

/// Whether clients of a TLS listener have to show a certificate, and who has to have issued it.
///
/// Who shows none where it is required, one that has expired, or one of another authority, is turned away
/// in its handshake. What an accepted client has shown is in its session's digest:
/// [`SslDigest::peer_chain`](super::SslDigest::peer_chain),
/// [`SslDigest::verified_subject`](super::SslDigest::verified_subject).
///
/// ```no_run
/// # fn main() -> pingora_core::Result<()> {
/// use pingora_core::listeners::tls::{ClientCertificates, TlsSettings};
///
/// let mut tls = TlsSettings::intermediate("/etc/ssl/fullchain.pem", "/etc/ssl/key.pem")?;
/// tls.set_client_certificates(ClientCertificates::required().ca_file("/etc/ssl/clients.pem"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientCertificates {
    pub(crate) required: bool,
    pub(crate) authorities: Vec<Material>,
    pub(crate) depth: Option<u32>,
    pub(crate) verifier: Option<(&'static str, Arc<dyn ClientVerifier>)>,
}

impl ClientCertificates {
    /// Clients have to show a certificate.
    pub fn required() -> Self {
        ClientCertificates {
            required: true,
            authorities: vec![],
            depth: None,
            verifier: None,
        }
    }

    /// Clients may show a certificate. One that is shown has to be as good as where one is required.
    pub fn optional() -> Self {
        ClientCertificates {
            required: false,
            ..ClientCertificates::required()
        }
    }

    /// Trusts the authorities in this PEM file, too. Their names are told to clients. Revocation lists in it
    /// are heeded; each authority that issues clients' certificates then needs one. A reload reads it again;
    /// where that changes anything, sessions that began before are not resumed.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities.push(Material::file(path.as_ref()));
        self
    }

    /// Trusts these authorities, too, in the PEM format.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities.push(Material::memory(pem));
        self
    }

    /// Accepts at most so many certificates between a client's and the authority.
    pub fn verify_depth(mut self, depth: u32) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Asks `verifier` about each certificate that a client shows.
    pub fn verifier<V: ClientVerifier + 'static>(mut self, verifier: V) -> Self {
        self.verifier = Some((type_name::<V>(), Arc::new(verifier)));
        self
    }

    /// # Errors
    /// Where nobody could ever be accepted.
    pub(crate) fn check(&self) -> Result<()> {
        match self.authorities.is_empty() && self.verifier.is_none() {
            true => Error::e_explain(
                TLS_CONF_ERR,
                "client certificates need an authority to trust, or a verifier",
            ),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates")
            .field("required", &self.required)
            .field("authorities", &self.authorities)
            .field("depth", &self.depth)
            .field("verifier", &self.verifier.as_ref().map(|(name, _)| name))
            .finish()
    }
}
