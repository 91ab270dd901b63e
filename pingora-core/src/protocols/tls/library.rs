//! The types of the TLS library that stand in the interface, by names of ours, and the form of a certificate
//! that every library understands (DER).

#[cfg(feature = "openssl")]
mod names {
    /// The library's session object, as callbacks see it.
    pub type TlsRef = openssl::ssl::SslRef;

    /// A certificate.
    pub type Certificate = openssl::x509::X509;

    /// The certificate as DER; `None` if the library can't write it.
    pub(crate) fn to_der(certificate: &Certificate) -> Option<Box<[u8]>> {
        certificate.to_der().ok().map(Vec::into_boxed_slice)
    }

    /// The certificate in these bytes; `None` if they are not one.
    pub(crate) fn from_der(der: &[u8]) -> Option<Certificate> {
        let parsed = Certificate::from_der(der).ok();
        // Some functions of the library take what is left in the queue for their own error.
        crate::sys::tls::forget_errors();
        parsed
    }

    /// A session with an upstream that may be resumed.
    #[derive(Clone)]
    pub(crate) struct ClientSession {
        pub(crate) session: crate::sys::tls::Session,
        /// When the handshake began that verified the upstream's certificate. Resuming a session gives
        /// a new one, but verifies nothing.
        pub(crate) verified: std::time::Instant,
    }
}

#[cfg(not(feature = "openssl"))]
mod names {
    /// The session object of OpenSSL. There is none without that library.
    #[derive(Debug)]
    pub enum TlsRef {}

    /// A session of OpenSSL's with an upstream. Those of the other libraries are kept as a backend's own.
    #[derive(Clone, Debug)]
    pub(crate) enum ClientSession {}

    /// A certificate. There is none without a library.
    #[cfg(not(feature = "rustls"))]
    #[derive(Clone, Debug)]
    pub enum Certificate {}

    #[cfg(not(feature = "rustls"))]
    pub(crate) fn to_der(certificate: &Certificate) -> Option<Box<[u8]>> {
        match *certificate {}
    }

    #[cfg(not(feature = "rustls"))]
    pub(crate) fn from_der(_der: &[u8]) -> Option<Certificate> {
        None
    }

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

    #[cfg(feature = "rustls")]
    pub(crate) fn to_der(certificate: &Certificate) -> Option<Box<[u8]>> {
        Some(certificate.as_der().into())
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn from_der(der: &[u8]) -> Option<Certificate> {
        crate::protocols::tls::x509::Facts::read(der)?;
        Some(Certificate::of(der))
    }
}

pub use names::{Certificate, TlsRef};
pub(crate) use names::{ClientSession, from_der, to_der};

/// Certificates to trust.
pub type CaType = Box<[Certificate]>;
