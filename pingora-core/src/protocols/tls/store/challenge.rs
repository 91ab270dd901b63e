//! Certificates that prove to an authority who answers for a name: the challenge TLS-ALPN-01 (RFC 8737).

use super::{CertificateStore, load};
use crate::protocols::tls::certificate::{CertificateSource, LoadedCertificate};
use crate::protocols::tls::names::normal;
use crate::protocols::tls::{ClientHello, TLS_CONF_ERR};
use pingora_error::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The name of the protocol that an authority offers, alone, when it looks for an answer (RFC 8737 section 6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// By name.
pub(super) type Challenges = HashMap<Box<str>, Arc<LoadedCertificate>>;

impl CertificateStore {
    /// Shows this certificate to clients that ask for `name` and offer no other protocol than
    /// [`acme-tls/1`](ACME_TLS_ALPN), and agrees upon that protocol with them. Everybody else is shown what they
    /// are shown otherwise. Takes the place of what was to be shown for this name until now. Reads
    /// files: blocks.
    ///
    /// Such a client is an authority that looks whether the name is in the hands of this server. OpenSSL's and rustls'
    /// listeners answer it without further ado, unless the program has brought a builder, a configuration or a callback
    /// for ALPN of its own; other backends by [`choose`](Self::choose) and
    /// [`answers_challenge`](Self::answers_challenge).
    ///
    /// There is one certificate for each name; the number of names is what the caller makes it.
    ///
    /// # Errors
    /// [`TLS_CONF_ERR`](crate::listeners::tls::TLS_CONF_ERR) if the name is invalid, or as
    /// [`add`](Self::add).
    pub fn set_challenge(&self, name: &str, source: CertificateSource) -> Result<()> {
        let Some(name) = normal(name).filter(|name| !name.starts_with('*')) else {
            let reason = format!("`{name}`, to be shown in a challenge, is no name of a host");
            return Error::e_explain(TLS_CONF_ERR, reason);
        };
        let (_, loaded) = load(&source)?;
        let mut entries = self.entries();
        entries.challenges.insert(name.into(), loaded);
        self.show(&entries);
        Ok(())
    }

    /// Forgets the certificate of [`set_challenge`](Self::set_challenge); whether there was one.
    pub fn remove_challenge(&self, name: &str) -> bool {
        let Some(name) = normal(name) else {
            return false;
        };
        let mut entries = self.entries();
        let removed = entries.challenges.remove(&*name).is_some();
        self.show(&entries);
        removed
    }

    /// Whether a client that has said `hello` is an authority that looks for the answer to a challenge, and there
    /// is one for the name that it asks for: then [`acme-tls/1`](ACME_TLS_ALPN) is the protocol to agree upon. For
    /// backends.
    pub fn answers_challenge(&self, hello: &ClientHello) -> bool {
        self.challenge(hello.server_name(), hello)
            .flatten()
            .is_some()
    }

    /// Whether it makes sense to look at what a client offers.
    pub(crate) fn has_challenges(&self) -> bool {
        !self.0.set.load().challenges.is_empty()
    }

    /// The certificate for an authority that looks for an answer: `Some(None)` if it looks in vain, `None` for
    /// all other clients.
    pub(crate) fn challenge(
        &self,
        name: Option<&str>,
        hello: &ClientHello,
    ) -> Option<Option<Arc<LoadedCertificate>>> {
        let set = self.0.set.load();
        if set.challenges.is_empty() || !hello.alpn().eq([ACME_TLS_ALPN]) {
            return None;
        }
        let name = name.and_then(normal);
        Some(name.and_then(|name| set.challenges.get(&*name).cloned()))
    }
}
