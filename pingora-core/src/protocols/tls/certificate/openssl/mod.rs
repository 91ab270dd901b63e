//! Certificates by OpenSSL.

mod cert_key;
mod loaded;
mod staple;

pub use cert_key::{CertKey, get_common_name, get_organization, get_organization_unit, get_serial};
pub(crate) use cert_key::{hash_ca, key_to_der, refused};
pub(crate) use loaded::{LoadedCertificate, is_over, read_chain};
