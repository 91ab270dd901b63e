//! Keys for certificates.

#[cfg(not(feature = "openssl"))]
use pingora_error::Error;
use pingora_error::{ErrorType, OrErr, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// The kind of key that certificates are made for; each certificate has a key of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateKey {
    /// ECDSA with the curve P-256.
    #[default]
    EcdsaP256,
    /// ECDSA with the curve P-384.
    EcdsaP384,
    /// RSA with 2048 bits. A handshake costs some ten times the processor time of one with P-256.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits. Making one takes about a second of processor time.
    Rsa4096,
}

/// `ring` makes no RSA keys: the library that speaks TLS does.
pub(crate) const CAN_MAKE_RSA: bool = cfg!(any(feature = "openssl", feature = "rustls"));

impl CertificateKey {
    pub(crate) fn is_rsa(self) -> bool {
        self.bits().is_some()
    }

    fn bits(self) -> Option<u32> {
        match self {
            CertificateKey::EcdsaP256 | CertificateKey::EcdsaP384 => None,
            CertificateKey::Rsa2048 => Some(2048),
            CertificateKey::Rsa3072 => Some(3072),
            CertificateKey::Rsa4096 => Some(4096),
        }
    }

    /// Makes one; of RSA on a thread that may compute for long.
    pub(crate) async fn generate(self) -> Result<KeyPair> {
        let made = match (self, self.bits()) {
            (_, Some(bits)) => {
                let made = tokio::task::spawn_blocking(move || rsa(bits)).await;
                let pkcs8 = made.or_err(ErrorType::InternalError, "making a key")??;
                let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8);
                KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)
            }
            (CertificateKey::EcdsaP384, None) => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            (_, None) => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        };
        made.or_err(ErrorType::InternalError, "making a key")
    }
}

/// As PKCS #8.
#[cfg(feature = "openssl")]
fn rsa(bits: u32) -> Result<Vec<u8>> {
    let key = openssl::rsa::Rsa::generate(bits).and_then(openssl::pkey::PKey::from_rsa);
    let pkcs8 = key.and_then(|key| key.private_key_to_pkcs8());
    pkcs8.or_err(ErrorType::InternalError, "making an RSA key")
}

/// As PKCS #8.
#[cfg(all(feature = "rustls", not(feature = "openssl")))]
fn rsa(bits: u32) -> Result<Vec<u8>> {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    };
    let made = KeyPair::generate(size).ok();
    let pkcs8: Option<Pkcs8V1Der<'static>> = made.and_then(|key| key.as_der().ok());
    match pkcs8 {
        Some(pkcs8) => Ok(pkcs8.as_ref().to_vec()),
        None => Error::e_explain(ErrorType::InternalError, "making an RSA key"),
    }
}

/// As PKCS #8.
#[cfg(not(any(feature = "rustls", feature = "openssl")))]
fn rsa(_bits: u32) -> Result<Vec<u8>> {
    Error::e_explain(ErrorType::InternalError, "nobody here makes RSA keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_signs_what_it_is_for() {
        for (kind, algorithm) in [
            (CertificateKey::EcdsaP256, &PKCS_ECDSA_P256_SHA256),
            (CertificateKey::EcdsaP384, &PKCS_ECDSA_P384_SHA384),
            (CertificateKey::Rsa2048, &PKCS_RSA_SHA256),
            (CertificateKey::Rsa3072, &PKCS_RSA_SHA256),
        ] {
            let key = kind.generate().await.unwrap();
            assert!(key.is_compatible(algorithm), "{kind:?}");
            let again = KeyPair::from_pem_and_sign_algo(&key.serialize_pem(), algorithm);
            assert!(again.is_ok(), "{kind:?}");
        }
    }
}
