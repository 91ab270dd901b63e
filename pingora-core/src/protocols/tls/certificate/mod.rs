//! Certificates without a handshake: where they come from, what is known of them, and the types of the built-in
//! library that hold one with its key.
//!
//! The store, the cache of sessions and the settings of handshakes hold values of these types; the backends, which
//! are above all of them, do the handshakes with them.

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
pub(crate) mod absent;
mod info;
mod kind;
#[cfg(feature = "rustls")]
mod made;
mod material;
#[cfg(feature = "openssl")]
pub(crate) mod openssl;
#[cfg(feature = "rustls")]
pub(crate) mod rustls;
mod source;

#[cfg(not(any(feature = "openssl", feature = "rustls")))]
use self::absent as built_in;
#[cfg(feature = "openssl")]
use self::openssl as built_in;
#[cfg(all(feature = "rustls", not(feature = "openssl")))]
use self::rustls as built_in;

pub use self::built_in::CertKey;
pub(crate) use self::built_in::{LoadedCertificate, hash_ca, key_to_der};
#[cfg(any(feature = "openssl", feature = "rustls"))]
pub use self::built_in::{get_common_name, get_organization, get_organization_unit, get_serial};
pub use info::{CertificateId, CertificateInfo};
pub use kind::KeyKind;
#[cfg(feature = "rustls")]
pub(crate) use made::Made;
pub use material::CertificateDer;
pub(crate) use material::Material;
pub use source::CertificateSource;
