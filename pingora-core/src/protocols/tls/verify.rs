//! Certificates that clients present: the demands on them, for every library.

use super::TLS_CONF_ERR;
use super::certificate::Material;
use super::library::{self, Certificate};
use pingora_error::{Error, Result};
use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Decides about client certificates, after the TLS library has.
pub trait ClientVerifier: Send + Sync {
    /// Whether the handshake continues.
    ///
    /// `chain` has the client's certificate first, followed by those that the library found for it up to
    /// the authority, as far as it came. `verdict` is the library's result: an error says what is
    /// wrong, such as "certificate has expired". This function has the last word: it may accept what the library
    /// rejected, and reject what it accepted.
    ///
    /// Runs within the handshake and must not block. Not called when a client resumes a session, whose
    /// certificate was accepted before. A panic refuses the client.
    fn verify(&self, chain: &[Certificate], verdict: Result<(), String>) -> bool;

    /// [`verify`](Self::verify) for a backend that has the chain as DER. By default it is parsed by the
    /// compiled-in library and given to `verify`; a chain that this library can't parse is refused.
    fn verify_der(&self, chain: &[&[u8]], verdict: Result<(), String>) -> bool {
        let parsed = chain.iter().map(|one| library::from_der(one));
        let parsed: Option<Vec<Certificate>> = parsed.collect();
        parsed.is_some_and(|parsed| self.verify(&parsed, verdict))
    }
}

/// The answer of a verifier; a panic in it refuses the client.
pub(crate) fn ask(verifier: impl FnOnce() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(verifier)).unwrap_or_else(|_| {
        log::error!("the verifier of client certificates panicked; a client was turned away");
        false
    })
}

/// Whether clients of a TLS listener have to present a certificate, and which authorities may have issued it.
///
/// A client is turned away in its handshake if it shows no certificate although one is required, one that has
/// expired, or one of another authority. The certificates of an accepted client are in its session's digest:
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
    /// Clients have to present a certificate.
    pub fn required() -> Self {
        ClientCertificates {
            required: true,
            authorities: vec![],
            depth: None,
            verifier: None,
        }
    }

    /// Clients may present a certificate. If one does, it is checked like a required one.
    pub fn optional() -> Self {
        ClientCertificates {
            required: false,
            ..ClientCertificates::required()
        }
    }

    /// Trusts the authorities in this PEM file, too. Their names are sent to clients. Revocation lists in it
    /// are applied; each authority that issues clients' certificates then needs one. A reload reads it again;
    /// if that changes anything, sessions that began before are not resumed.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities.push(Material::file(path.as_ref()));
        self
    }

    /// Trusts these authorities, too, in the PEM format.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities.push(Material::memory(pem));
        self
    }

    /// Limits the number of certificates between a client's and the authority.
    pub fn verify_depth(mut self, depth: u32) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Asks `verifier` about each certificate that a client shows.
    pub fn verifier<V: ClientVerifier + 'static>(mut self, verifier: V) -> Self {
        self.verifier = Some((type_name::<V>(), Arc::new(verifier)));
        self
    }

    /// Whether clients have to show a certificate.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The most certificates between a client's and the authority, if limited.
    pub fn depth(&self) -> Option<u32> {
        self.depth
    }

    /// The authorities and revocation lists to trust, each as the bytes of a PEM file. Reads files: blocks.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) naming the file that can't be read.
    pub fn read_authorities(&self) -> Result<Vec<Vec<u8>>> {
        let read = |authority: &Material| authority.read().map(Cow::into_owned);
        self.authorities.iter().map(read).collect()
    }

    /// Asks the verifier that was set, if there is one, about a chain as DER, the client's certificate first.
    /// Without a verifier the `verdict` of the library counts. A panic in the verifier refuses the client.
    pub fn judge(&self, chain: &[&[u8]], verdict: Result<(), String>) -> bool {
        match &self.verifier {
            Some((_, verifier)) => ask(|| verifier.verify_der(chain, verdict)),
            None => verdict.is_ok(),
        }
    }

    /// # Errors
    /// If no client could ever be accepted.
    pub(crate) fn check(&self) -> Result<()> {
        if self.authorities.is_empty() && self.verifier.is_none() {
            let reason = "client certificates need an authority to trust, or a verifier";
            return Error::e_explain(TLS_CONF_ERR, reason);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    struct ByLength(usize);

    impl ClientVerifier for ByLength {
        fn verify(&self, _chain: &[Certificate], _verdict: Result<(), String>) -> bool {
            panic!("it was asked with DER");
        }

        fn verify_der(&self, chain: &[&[u8]], _verdict: Result<(), String>) -> bool {
            chain[0].len() == self.0
        }
    }

    struct Parsing;

    impl ClientVerifier for Parsing {
        fn verify(&self, _chain: &[Certificate], _verdict: Result<(), String>) -> bool {
            true
        }
    }

    #[test]
    fn the_verifier_has_the_last_word_about_der_and_a_panic_in_it_refuses() {
        let wanted = ClientCertificates::required().ca_pem("an authority");
        assert!(wanted.judge(&[b"abc"], Ok(())));
        assert!(!wanted.judge(&[b"abc"], Err("expired".to_string())));
        let own = wanted.clone().verifier(ByLength(3));
        assert!(own.judge(&[b"abc"], Err("expired".to_string())));
        assert!(!own.judge(&[b"ab"], Ok(())));
        assert!(!own.judge(&[], Ok(())), "it panics");
        // A certificate that can't be parsed is not shown to a verifier that wants it parsed.
        let parsing = wanted.verifier(Parsing);
        assert!(!parsing.judge(&[b"no certificate"], Ok(())));
    }

    #[test]
    fn authorities_are_read_as_they_are() {
        let wanted = ClientCertificates::optional().ca_pem("one").ca_pem("two");
        assert_eq!(wanted.read_authorities().unwrap(), [b"one", b"two"]);
        let missing = wanted.ca_file("/there/is/no/such/file");
        assert!(missing.read_authorities().is_err());
        assert!(!missing.is_required() && missing.depth().is_none());
    }
}
