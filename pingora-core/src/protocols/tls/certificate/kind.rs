//! The kinds of keys that certificates are for.

use std::fmt;

/// The kind of key that a certificate is for.
///
/// The order is that of preference: what costs a server least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA with the curve P-256.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
    /// ECDSA with the curve P-384.
    EcdsaP384,
    /// ECDSA with the curve P-521.
    EcdsaP521,
    /// RSA.
    Rsa,
    /// Something else.
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyKind::EcdsaP256 => "ECDSA P-256",
            KeyKind::Ed25519 => "Ed25519",
            KeyKind::EcdsaP384 => "ECDSA P-384",
            KeyKind::EcdsaP521 => "ECDSA P-521",
            KeyKind::Rsa => "RSA",
            KeyKind::Other => "another kind of key",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::KeyKind::*;

    #[test]
    fn what_costs_a_server_least_comes_first() {
        let mut kinds = [Rsa, EcdsaP384, EcdsaP256];
        kinds.sort();
        assert_eq!(kinds, [EcdsaP256, EcdsaP384, Rsa]);
    }
}
