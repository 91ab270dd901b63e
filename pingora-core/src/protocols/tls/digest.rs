//! What a TLS handshake agreed upon.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// What a TLS handshake agreed upon, and whom the other side claims to be.
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
    /// SHA-256 of the other side's certificate; empty where it showed none.
    pub cert_digest: Vec<u8>,
    /// What the user's callback kept.
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
}

/// One value of any type that a user's handshake callback made.
#[derive(Clone, Debug, Default)]
pub struct SslDigestExtension {
    value: Option<Arc<dyn Any + Send + Sync>>,
}

impl SslDigestExtension {
    /// The value, if there is one and it is a `T`.
    pub fn get<T>(&self) -> Option<&T>
    where
        T: Send + Sync + 'static,
    {
        self.value.as_ref()?.downcast_ref()
    }

    #[cfg_attr(not(feature = "openssl"), allow(dead_code))]
    pub(crate) fn set(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.value = Some(value);
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
}
