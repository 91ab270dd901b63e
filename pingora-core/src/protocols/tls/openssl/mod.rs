//! TLS by OpenSSL, 1.1.1 or later.

pub(crate) mod certificate;
pub(crate) mod certificate_files;
pub mod client;
mod digest;
mod resumption;
pub mod server;
pub mod stream;
#[cfg(test)]
pub(crate) mod test_certificates;
mod transport;

pub use stream::SslStream;

use ::openssl::ssl::SslRef;
use ::openssl::x509::X509;

/// The library's session object, as callbacks see it.
pub type TlsRef = SslRef;

/// Certificates to trust.
pub type CaType = Box<[X509]>;
