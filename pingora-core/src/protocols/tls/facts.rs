//! Facts about a TLS session, without any library's types.
//!
//! Every layer above uses them: HTTP, the HTTP/2 guard, filters, logs. A backend fills them in once, at the
//! end of its handshake.

use super::alpn::ALPN;
use super::client_hello::ClientHello;
use super::library::{self, Certificate};
use std::borrow::Cow;
use std::sync::OnceLock;

/// The facts about a TLS session besides the public fields of [`SslDigest`](super::SslDigest), which
/// can't gain any. A backend fills one in and hands it over with
/// [`SslDigest::set_facts`](super::SslDigest::set_facts); programs read it by the methods of `SslDigest`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The name that the client asked for (SNI, RFC 6066 section 3).
    pub server_name: Option<Box<str>>,
    /// The application protocol that was agreed upon (RFC 7301).
    pub alpn: Option<ALPN>,
    /// The group of the key exchange, such as `X25519`.
    pub group: Option<Cow<'static, str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The subject of the peer's certificate (RFC 4514), if the certificate was verified.
    pub verified_subject: Option<Box<str>>,
    /// The first message of the client, if the listener keeps it.
    pub client_hello: Option<Box<ClientHello>>,
    pub(super) peer_chain: PeerChain,
}

impl TlsFacts {
    /// Sets the certificates that the peer showed, its own first, each as DER.
    pub fn set_peer_chain_der(&mut self, chain: impl IntoIterator<Item = Vec<u8>>) {
        let chain: Box<[Box<[u8]>]> = chain.into_iter().map(Vec::into_boxed_slice).collect();
        self.peer_chain = PeerChain {
            der: OnceLock::from(chain),
            parsed: OnceLock::new(),
        };
    }

    /// Sets the certificates that the peer showed, as the compiled-in library has parsed them.
    #[cfg_attr(not(feature = "openssl"), allow(dead_code))] // Nothing is parsed without a library.
    pub(crate) fn set_peer_chain(&mut self, chain: Vec<Certificate>) {
        self.peer_chain = PeerChain {
            der: OnceLock::new(),
            parsed: OnceLock::from(chain.into_boxed_slice()),
        };
    }
}

/// A chain of certificates in the backend's form, and in the other form once it is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerChain {
    der: OnceLock<Box<[Box<[u8]>]>>,
    parsed: OnceLock<Box<[Certificate]>>,
}

impl PeerChain {
    pub(super) fn der(&self) -> &[Box<[u8]>] {
        self.der.get_or_init(|| match self.parsed.get() {
            Some(parsed) => parsed.iter().filter_map(library::to_der).collect(),
            None => Box::default(),
        })
    }

    pub(super) fn parsed(&self) -> &[Certificate] {
        self.parsed.get_or_init(|| match self.der.get() {
            Some(der) => der.iter().map_while(|one| library::from_der(one)).collect(),
            None => Box::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_no_backend_gave_is_empty_in_both_forms() {
        let facts = TlsFacts::default();
        assert!(facts.peer_chain.der().is_empty() && facts.peer_chain.parsed().is_empty());
    }

    #[test]
    fn a_chain_given_as_der_is_kept_as_it_is_and_parsed_as_far_as_it_can_be() {
        let mut facts = TlsFacts::default();
        facts.set_peer_chain_der([b"no certificate".to_vec()]);
        assert_eq!(&*facts.peer_chain.der()[0], b"no certificate");
        assert!(facts.peer_chain.parsed().is_empty());
    }

    #[cfg(feature = "openssl")]
    #[test]
    fn a_chain_has_the_same_certificates_in_both_forms() {
        use crate::protocols::tls::openssl::test_certificates::authority;
        let made = authority("the authority");
        let mut parsed = TlsFacts::default();
        parsed.set_peer_chain(vec![made.cert.clone()]);
        let der = parsed.peer_chain.der().to_vec();
        assert_eq!(*der[0], *made.cert.to_der().unwrap());
        let mut given = TlsFacts::default();
        given.set_peer_chain_der(der.into_iter().map(Vec::from));
        assert_eq!(given.peer_chain.parsed(), parsed.peer_chain.parsed());
    }
}
