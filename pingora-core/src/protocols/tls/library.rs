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
    /// The TLS library's session object. There is none without a library.
    #[derive(Debug)]
    pub enum TlsRef {}

    /// A certificate. There is none without a library.
    #[derive(Clone, Debug)]
    pub enum Certificate {}
}

pub use names::{Certificate, TlsRef};

/// Certificates to trust.
pub type CaType = Box<[Certificate]>;
