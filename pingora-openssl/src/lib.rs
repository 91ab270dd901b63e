//! OpenSSL as the framework uses it: the modules of `pingora_core::tls` under a name of their own.
//!
//! A program that builds certificates, keys or contexts for the framework takes the types from here, so that they are
//! those of the version that the framework was compiled with. Two modules are the framework's own: [`ext`], with which
//! a session's certificate is chosen, and [`tokio_ssl`], a TLS stream.
//!
//! # Example
//! ```
//! use pingora_openssl::ssl::{SslFiletype, SslMethod};
//! use pingora_openssl::{pkey::PKey, x509::X509};
//!
//! assert!(X509::from_pem(b"no certificate").is_err());
//! assert!(PKey::private_key_from_pem(b"no key").is_err());
//! let (_, _) = (SslMethod::tls(), SslFiletype::PEM);
//! ```
//!
//! Page in the repository: `docs/migrating.md`, for differences from the crate of the same name.
#![forbid(unsafe_code)]
// All modules of the library under its own names: listing them would mean to follow each of its versions.
pub use pingora_core::tls::*;
