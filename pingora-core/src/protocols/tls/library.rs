//! The types of the TLS library that stand in the interface, by names of ours.

#[cfg(feature = "openssl")]
mod names {
    /// The library's session object, as callbacks see it.
    pub type TlsRef = openssl::ssl::SslRef;

    /// A certificate.
    pub type Certificate = openssl::x509::X509;
}

#[cfg(not(feature = "openssl"))]
mod names {
    /// The session object of OpenSSL. There is none without that library.
    #[derive(Debug)]
    pub enum TlsRef {}

    /// A certificate. There is none without a library.
    #[cfg(not(feature = "rustls"))]
    #[derive(Clone, Debug)]
    pub enum Certificate {}

    /// A certificate, in the DER format.
    #[cfg(feature = "rustls")]
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Certificate(std::sync::Arc<[u8]>);

    #[cfg(feature = "rustls")]
    impl Certificate {
        /// Of bytes that were read as one.
        pub(crate) fn of(der: &[u8]) -> Self {
            Certificate(der.into())
        }

        /// The certificate in the DER format.
        pub fn as_der(&self) -> &[u8] {
            &self.0
        }
    }
}

pub use names::{Certificate, TlsRef};

/// Certificates to trust.
pub type CaType = Box<[Certificate]>;
