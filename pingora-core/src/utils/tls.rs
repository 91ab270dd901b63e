//! Certificates: queries about them, and a chain with its key.

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
pub use crate::protocols::tls::certificate::CertKey;
#[cfg(any(feature = "openssl", feature = "rustls"))]
pub use crate::protocols::tls::certificate::{
    CertKey, get_common_name, get_organization, get_organization_unit, get_serial,
};

/// The same names at the path of the library that they belong to.
#[cfg(feature = "openssl")]
pub mod boringssl_openssl {
    pub use super::{
        CertKey, get_common_name, get_organization, get_organization_unit, get_serial,
    };
}
