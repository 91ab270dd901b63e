//! How bytes and processes move: sockets, protocols, connection pools, services, the server.
//!
//! This crate knows nothing of proxying. From bottom to top, each layer uses only those above it in
//! this list:
//!
//! | module | what it is |
//! |---|---|
//! | `sys` | the only place with `unsafe` code |
//! | [`metrics`] | what is counted, and how it is read |
//! | [`timeout`], [`runtime`] | deadlines; runtimes, and what is local to a worker |
//! | `process` | what lower layers need to know of the process: configuration, passed descriptors, the shutdown watch |
//! | [`protocols`] | what bytes mean: TCP and Unix streams, TLS, HTTP |
//! | `tls` | OpenSSL as programs use it (with the feature `openssl`) |
//! | [`utils`] | certificates as values, a reader of headers: kept names |
//! | [`upstreams`] | where to connect to, and how |
//! | [`connectors`] | connecting, and keeping connections alive |
//! | [`listeners`] | accepting |
//! | [`modules`], [`apps`] | what happens on a connection |
//! | [`services`], [`server`] | the process that hosts it all |
//!
//! # Example
//! A service that greets over HTTP. (Proxies are in the crate `pingora-proxy`.)
//!
//! ```no_run
//! use async_trait::async_trait;
//! use pingora_core::apps::http_app::ServeHttp;
//! use pingora_core::prelude::*;
//! use pingora_core::protocols::http::ServerSession;
//! use pingora_core::services::listening::Service;
//!
//! struct Greeting;
//!
//! #[async_trait]
//! impl ServeHttp for Greeting {
//!     async fn response(&self, _session: &mut ServerSession) -> http::Response<Vec<u8>> {
//!         http::Response::new(b"hello\n".to_vec())
//!     }
//! }
//!
//! let mut server = Server::new(Some(Opt::parse_args()))?;
//! server.bootstrap();
//! let mut service = Service::new("greeting".to_string(), Greeting);
//! service.add_tcp("0.0.0.0:6188");
//! server.add_service(service);
//! server.run_forever();
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<Error>>(())
//! ```
//!
//! Pages in the repository: `docs/configuration.md`, `docs/operation.md`, `docs/tls.md`, `docs/upstream_tls.md`,
//! `docs/architecture.md`.
//!
//! # Features
//! - `openssl` (default): TLS by the system's OpenSSL.
//! - `openssl-vendored`: the same, compiled from source.
//! - `rustls`: TLS by rustls, beside OpenSSL as a value to choose, or without it
//!   (`protocols::tls::rustls`).
//!
//! The other features are names that manifests of existing programs contain: `connection_filter` and
//! `patched_http1` are always there, `any_tls` and `openssl_derived` follow from `openssl`, and `boringssl`,
//! `s2n` and `sentry` stop the build with a line that says what to write instead.

// Each such feature resolves, and is refused here rather than ignored: the program would do without what it asks for.
#[cfg(feature = "boringssl")]
compile_error!(
    "the feature `boringssl` is not available; write `openssl`, `openssl-vendored` or `rustls` instead"
);
#[cfg(feature = "s2n")]
compile_error!(
    "the feature `s2n` is not available; write `openssl`, `openssl-vendored` or `rustls` instead"
);
#[cfg(feature = "sentry")]
compile_error!(
    "the feature `sentry` is not available; call `sentry::init` where `main` begins, keep its guard, and \
     remove the feature"
);

mod process;
mod sys;

pub mod apps;
pub mod connectors;
pub mod listeners;
pub mod metrics;
pub mod modules;
pub mod protocols;
pub mod runtime;
pub mod server;
pub mod services;
pub mod timeout;
#[cfg(feature = "openssl")]
pub mod tls;
pub mod upstreams;
pub mod utils;

pub use pingora_error::ErrorType::*;
pub use pingora_error::*;

/// The items that nearly every program that uses this crate needs.
pub mod prelude {
    pub use crate::server::Server;
    pub use crate::server::configuration::Opt;
    pub use crate::services::background::background_service;
    pub use crate::upstreams::peer::HttpPeer;
    pub use pingora_error::ErrorType::*;
    pub use pingora_error::*;
}
