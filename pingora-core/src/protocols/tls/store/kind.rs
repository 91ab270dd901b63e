//! Which of several certificates for one name a client can use. No I/O.

use crate::protocols::tls::{ClientHello, KeyKind};

/// A client's statements about the certificates that it can use.
#[derive(Clone, Debug)]
pub(crate) struct ClientAbilities {
    /// Its signature algorithms (RFC 8446 section 4.2.3), best first; none if it sent no list.
    pub(crate) signature_algorithms: Vec<u16>,
    /// Whether the version agreed upon is TLS 1.3 or later, whose cipher suites say nothing of keys.
    pub(crate) tls13: bool,
    /// Whether it offers a cipher suite of TLS 1.2 for ECDSA (which EdDSA shares, RFC 8422 section 5.10).
    pub(crate) ecdsa_ciphers: bool,
}

impl ClientAbilities {
    /// From a client's first message; without one, those of a TLS 1.3 client that can use anything.
    pub(crate) fn of(hello: Option<&ClientHello>) -> Self {
        let Some(hello) = hello else {
            return ClientAbilities {
                signature_algorithms: vec![],
                tls13: true,
                ecdsa_ciphers: true,
            };
        };
        // The suites of TLS 1.2 for ECDSA with GCM, CCM, ChaCha20 and CBC.
        let for_ecdsa = |suite: &u16| {
            matches!(
                suite,
                0xc009 | 0xc00a | 0xc023 | 0xc024 | 0xc02b | 0xc02c | 0xc0ac..=0xc0af | 0xcca9
            )
        };
        ClientAbilities {
            signature_algorithms: hello.signature_algorithms().to_vec(),
            tls13: hello.highest_version() >= 0x0304,
            ecdsa_ciphers: hello.cipher_suites().iter().any(for_ecdsa),
        }
    }

    fn can_use(&self, kind: KeyKind) -> bool {
        let schemes: &[u16] = match kind {
            KeyKind::EcdsaP256 => &[0x0403],
            KeyKind::EcdsaP384 => &[0x0503],
            KeyKind::EcdsaP521 => &[0x0603],
            KeyKind::Ed25519 => &[0x0807],
            // PSS with the key of a common certificate, and PKCS #1 for TLS 1.2.
            KeyKind::Rsa if self.tls13 => &[0x0804, 0x0805, 0x0806],
            KeyKind::Rsa => &[0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601],
            KeyKind::Other => return true,
        };
        let offered = |scheme| self.signature_algorithms.contains(scheme);
        schemes.iter().any(offered) && (self.tls13 || self.ecdsa_ciphers || kind == KeyKind::Rsa)
    }
}

/// The first of these kinds, which stand in order of preference, that the client can use. Where it can use
/// none of them or sent no list, RSA, which the oldest clients know, or else the first.
pub(crate) fn choose(
    kinds: impl Iterator<Item = KeyKind> + Clone,
    client: &ClientAbilities,
) -> usize {
    let mut usable = kinds.clone();
    if let Some(index) = usable.position(|kind| client.can_use(kind)) {
        return index;
    }
    let mut oldest = kinds;
    oldest.position(|kind| kind == KeyKind::Rsa).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::KeyKind::*;
    use super::*;

    #[test]
    fn the_best_that_the_client_can_use_is_chosen() {
        let everything: &[u16] = &[0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0401];
        let rsa: &[u16] = &[0x0804, 0x0401];
        let pkcs1: &[u16] = &[0x0401];
        for (kinds, signature_algorithms, tls13, ecdsa_ciphers, chosen) in [
            (&[EcdsaP256, Rsa][..], everything, true, false, 0),
            (&[EcdsaP256, Rsa], everything, false, true, 0),
            // Of TLS 1.2, a client that offers no suite for ECDSA.
            (&[EcdsaP256, Rsa], everything, false, false, 1),
            (&[EcdsaP256, Rsa], rsa, true, true, 1),
            (&[EcdsaP256, Rsa], rsa, false, true, 1),
            (&[EcdsaP256, Rsa], pkcs1, false, true, 1),
            (&[EcdsaP384, Rsa], &[0x0403, 0x0804], true, true, 1),
            (&[Ed25519, EcdsaP384, Rsa], &[0x0503, 0x0804], true, true, 1),
            (&[Ed25519, Rsa], everything, false, true, 0),
            // No list at all: what TLS 1.2 had before there were lists.
            (&[EcdsaP256, Rsa], &[], false, true, 1),
            (&[EcdsaP256, EcdsaP384], &[], false, true, 0),
            // Nothing fits: the handshake says so.
            (&[EcdsaP256], rsa, true, false, 0),
            (&[Other, Rsa], rsa, true, false, 0),
        ] {
            let client = ClientAbilities {
                signature_algorithms: signature_algorithms.to_vec(),
                tls13,
                ecdsa_ciphers,
            };
            let index = choose(kinds.iter().copied(), &client);
            assert_eq!(index, chosen, "{kinds:?} for {client:?}");
        }
    }
}
