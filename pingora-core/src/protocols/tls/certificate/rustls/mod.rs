//! Certificates by rustls. Its backend reads PEM and computes digests by this module also if another library is
//! the built-in one.

#[cfg(not(feature = "openssl"))]
mod cert_key;
mod crypto;
#[cfg(not(feature = "openssl"))]
mod loaded;
mod pem;
#[cfg(not(feature = "openssl"))]
mod staple;

#[cfg(not(feature = "openssl"))]
pub use cert_key::{CertKey, get_common_name, get_organization, get_organization_unit, get_serial};
#[cfg(not(feature = "openssl"))]
pub(crate) use cert_key::{hash_ca, key_to_der};
pub(crate) use crypto::{recommended_provider, sha256};
#[cfg(not(feature = "openssl"))]
pub(crate) use loaded::LoadedCertificate;
pub(crate) use pem::{read_chain, refused};
