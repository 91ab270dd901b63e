//! Automatic certificates: ACME (RFC 8555) for listeners of this framework.
//!
//! [`Acme`] is a background service. It obtains certificates, puts them into a
//! [`CertificateStore`](pingora_core::listeners::tls::CertificateStore) while the listeners run, and renews them:
//! when the authority suggests it (RFC 9773), or else after two thirds of their lifetime. The proxy itself answers the
//! authority's challenges: over HTTP ([`Http01`]), in the TLS handshake (through the store), or by a record in
//! the DNS ([`DnsProvider`]).
//!
//! ```no_run
//! # fn main() -> pingora_core::Result<()> {
//! use pingora_acme::{Acme, DiskStorage, Issuer};
//! use pingora_core::listeners::tls::{CertificateStore, TlsSettings};
//! use pingora_core::services::background::background_service;
//! use pingora_core::services::listening::Service;
//!
//! let store = CertificateStore::new();
//! let acme = Acme::builder(store.clone(), DiskStorage::open("/var/lib/proxy/acme")?)
//!     .issuer(Issuer::lets_encrypt().agree_to_terms().contact("mailto:admin@one.example"))
//!     .certificate(["one.example", "www.one.example"])
//!     .build()?;
//! let mut challenges = Service::new("http-01".to_string(), acme.http01());
//! challenges.add_tcp("0.0.0.0:80");
//! let certificates = background_service("acme", acme);
//! let tls = TlsSettings::with_store(store)?;
//! // proxy.add_tls_with_settings("0.0.0.0:443", None, tls);
//! // server.add_service(challenges);
//! // let certificates = server.add_service(certificates);
//! // server.add_service(proxy).add_dependency(&certificates);
//! # let _ = (tls, certificates);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `plan`: when to renew, how long to wait after a failure, which challenge to use, which names are worth an
//!   order. Pure: no I/O, no clock.
//! - `storage`: accounts, keys and certificates on disk, or wherever a [`Storage`] puts them.
//! - `client`, `issuer`, `nonces`, `order`: the conversation with an authority, by the crate `instant-acme` over this
//!   framework's connector.
//! - `answers`: the answers to challenges.
//! - `service`, `managed`, `on_demand`: the loop that drives all of it; `revocation`: what interrupts it.
//!
//! # Not supported
//! Certificates for IP addresses.

#![forbid(unsafe_code)]

mod answers;
mod builder;
mod client;
mod issuer;
mod kept;
mod keys;
mod managed;
mod names;
mod nonces;
mod on_demand;
mod order;
mod plan;
mod revocation;
mod service;
mod storage;

pub use answers::{DnsProvider, Http01};
pub use builder::AcmeBuilder;
pub use issuer::Issuer;
pub use keys::CertificateKey;
pub use names::ACME_CONF_ERR;
pub use on_demand::{AllowRule, OnDemand};
pub use plan::Challenge;
pub use revocation::RevocationReason;
pub use service::Acme;
pub use storage::{DiskStorage, Storage, StorageLock};
