//! How bytes and processes move: sockets, protocols, connection pools, services, the server.
//!
//! This crate knows nothing of proxying. From bottom to top, each layer uses only those above it in
//! this list:
//!
//! | module | what it is |
//! |---|---|
//! | `sys` | the only place with `unsafe` code |
//! | [`timeout`], [`runtime`] | deadlines; runtimes, and what is local to a worker |
//! | `process` | what lower layers need to know of the process: configuration, passed descriptors, the shutdown watch |
//! | [`protocols`] | what bytes mean: TCP and Unix streams, TLS, HTTP |
//! | [`utils`] | certificates as values, a reader of headers: kept names |
//! | [`upstreams`] | where to connect to, and how |
//! | [`connectors`] | connecting, and keeping connections alive |
//! | [`listeners`] | accepting |
//! | [`modules`], [`apps`] | what happens on a connection |
//! | [`services`], [`server`] | the process that hosts it all |
//!
//! # Features
//! - `openssl` (default): TLS by the system's OpenSSL.
//! - `openssl-vendored`: the same, compiled from source.

mod process;
mod sys;

pub mod apps;
pub mod connectors;
pub mod listeners;
pub mod modules;
pub mod protocols;
pub mod runtime;
pub mod server;
pub mod services;
pub mod timeout;
pub mod upstreams;
pub mod utils;

pub use pingora_error::ErrorType::*;
pub use pingora_error::*;

/// The TLS library in use, as a module: `pingora_core::tls::ssl` and so on.
#[cfg(feature = "openssl")]
pub use openssl as tls;

/// What nearly every program that uses this crate needs.
pub mod prelude {
    pub use crate::server::Server;
    pub use crate::server::configuration::Opt;
    pub use crate::services::background::background_service;
    pub use crate::upstreams::peer::HttpPeer;
    pub use pingora_error::ErrorType::*;
    pub use pingora_error::*;
}
