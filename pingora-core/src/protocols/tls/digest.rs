//! The results of a TLS handshake.

use super::facts::TlsFacts;
use super::{ALPN, Certificate, ClientHello};
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// The results of a TLS handshake, and the identity that the other side claims.
#[derive(Clone, Debug)]
pub struct SslDigest {
    /// Name of the cipher suite, as the TLS library spells it.
    pub cipher: Cow<'static, str>,
    /// Version of the protocol, such as `TLSv1.3`.
    pub version: Cow<'static, str>,
    /// Organisation in the subject of the other side's certificate.
    pub organization: Option<String>,
    /// Serial number of the other side's certificate, in hexadecimal.
    pub serial_number: Option<String>,
    /// SHA-256 of the other side's certificate; empty if it showed none.
    pub cert_digest: Vec<u8>,
    /// The value that the program's callback kept.
    pub extension: SslDigestExtension,
}

impl SslDigest {
    /// A digest of these values, with an empty extension.
    pub fn new<S>(
        cipher: S,
        version: S,
        organization: Option<String>,
        serial_number: Option<String>,
        cert_digest: Vec<u8>,
    ) -> Self
    where
        S: Into<Cow<'static, str>>,
    {
        SslDigest {
            cipher: cipher.into(),
            version: version.into(),
            organization,
            serial_number,
            cert_digest,
            extension: SslDigestExtension::default(),
        }
    }

    /// Adds what the methods of this type tell. For backends of TLS: see
    /// [`backend`](super::backend).
    pub fn set_facts(&mut self, facts: TlsFacts) {
        *self.extension.facts_mut() = facts;
    }

    fn facts(&self) -> Option<&TlsFacts> {
        self.extension.facts.as_deref()
    }

    /// The name that the client asked for (SNI); `None` if it asked for none.
    pub fn server_name(&self) -> Option<&str> {
        self.facts()?.server_name.as_deref()
    }

    /// The application protocol; `None` if there was no word about it.
    pub fn alpn(&self) -> Option<&ALPN> {
        self.facts()?.alpn.as_ref()
    }

    /// Whether an earlier session was resumed, without the costly part of the handshake.
    pub fn is_resumed(&self) -> bool {
        self.facts().is_some_and(|facts| facts.resumed)
    }

    /// The group of the key exchange, such as `X25519` or `X25519MLKEM768`; `None` if the backend
    /// does not know it.
    pub fn group(&self) -> Option<&str> {
        self.facts()?.group.as_deref()
    }

    /// The certificates that the other side showed, its own first, each as DER. After a resumption, its own
    /// is all there is. Whichever library made the session; the form is made when it is first asked for.
    pub fn peer_chain_der(&self) -> &[Box<[u8]>] {
        self.facts().map_or(&[], |facts| facts.peer_chain.der())
    }

    /// [`peer_chain_der`](Self::peer_chain_der) as values of the compiled-in library, as far as it can
    /// parse them.
    pub fn peer_chain(&self) -> &[Certificate] {
        self.facts().map_or(&[], |facts| facts.peer_chain.parsed())
    }

    /// The subject of the other side's certificate as RFC 4514 writes it (`CN=a,O=b`), if the certificate
    /// was verified, or accepted by a verifier of the program's own.
    pub fn verified_subject(&self) -> Option<&str> {
        self.facts()?.verified_subject.as_deref()
    }

    /// The contents of the client's first message. Only towards clients, and only if
    /// `TlsSettings::keep_client_hello` asks for it.
    pub fn client_hello(&self) -> Option<&ClientHello> {
        self.facts()?.client_hello.as_deref()
    }
}

/// One value of any type that a user's handshake callback made.
#[derive(Clone, Debug, Default)]
pub struct SslDigestExtension {
    value: Option<Arc<dyn Any + Send + Sync>>,
    /// The facts behind the methods of [`SslDigest`], whose fields are all public and can't become more.
    facts: Option<Box<TlsFacts>>,
}

impl SslDigestExtension {
    /// The value, if there is one and it is a `T`.
    pub fn get<T>(&self) -> Option<&T>
    where
        T: Send + Sync + 'static,
    {
        self.value.as_ref()?.downcast_ref()
    }

    /// Keeps this value, replacing an earlier one.
    pub fn set(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.value = Some(value);
    }

    pub(crate) fn facts_mut(&mut self) -> &mut TlsFacts {
        self.facts.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_keeps_one_value() {
        let mut digest = SslDigest::new("AES", "TLSv1.3", None, None, vec![]);
        assert_eq!(digest.extension.get::<u32>(), None);
        digest.extension.set(Arc::new(7u32));
        assert_eq!(digest.extension.get::<u32>(), Some(&7));
        assert_eq!(digest.extension.get::<String>(), None);
    }

    #[test]
    fn a_digest_that_somebody_else_made_knows_nothing_more() {
        let mut digest = SslDigest::new("AES", "TLSv1.3", None, None, vec![]);
        assert!(digest.server_name().is_none() && digest.alpn().is_none());
        assert!(digest.client_hello().is_none() && digest.verified_subject().is_none());
        assert!(!digest.is_resumed() && digest.peer_chain().is_empty());
        digest.extension.facts_mut().resumed = true;
        digest.extension.facts_mut().alpn = Some(ALPN::H1);
        assert!(digest.is_resumed());
        assert_eq!(digest.clone().alpn(), Some(&ALPN::H1));
    }
}
