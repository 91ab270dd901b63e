//! A framework for programmable network proxies.
//!
//! Write a type, implement [`ProxyHttp`](proxy::ProxyHttp) — the phases of a proxied request — and
//! put it into a [`Server`](server::Server): listeners, TLS, HTTP, connection reuse, load balancing
//! and health checks stand around it.
//!
#![cfg_attr(feature = "proxy", doc = "```no_run")]
#![cfg_attr(not(feature = "proxy"), doc = "```ignore")]
//! use async_trait::async_trait;
//! use pingora::prelude::*;
//!
//! struct ToOne;
//!
//! #[async_trait]
//! impl ProxyHttp for ToOne {
//!     type CTX = ();
//!     fn new_ctx(&self) {}
//!
//!     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//!         Ok(Box::new(HttpPeer::new("127.0.0.1:8000", false, String::new())))
//!     }
//! }
//!
//! let mut server = Server::new(Some(Opt::parse_args()))?;
//! server.bootstrap();
//! let mut proxy = http_proxy_service(&server.configuration, ToOne);
//! proxy.add_tcp("0.0.0.0:6188");
//! server.add_service(proxy);
//! server.run_forever();
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<Error>>(())
//! ```
//!
//! # Pages
//! They are in the repository:
//!
//! | page | what it tells |
//! |---|---|
//! | `docs/quick_start.md` | a load balancer, step by step |
//! | `docs/configuration.md`, `docs/operation.md` | keys, options, limits; starting, reloading, upgrading, stopping |
//! | `docs/metrics.md`, `docs/admin.md` | what is counted, and what each figure means; a page that shows it |
//! | `docs/access_log.md` | a line for each request: formats, rotation, what is redacted |
//! | `docs/tls.md`, `docs/upstream_tls.md` | TLS towards clients and towards upstreams |
//! | `docs/tracing.md` | traces: fields, spans, which requests are kept, collectors |
//! | `docs/acme.md` | certificates that come by themselves |
//! | `docs/grpc.md`, `docs/subrequests.md`, `docs/custom_protocols.md` | gRPC, sub-requests, protocols of your own |
//! | `docs/migrating.md` | what existing programs will notice |
//! | `docs/architecture.md` | how it is built, and where to find the code |
//!
//! # Crates
//! This crate holds no code of its own. It gathers the others under one name:
//!
//! | here | there | what |
//! |---|---|---|
//! | the root | `pingora-core` | sockets, protocols, services, the server |
//! | [`http`] | `pingora-http` | request and response headers |
//! | [`proxy`] | `pingora-proxy` | phases, engine, retries |
//! | [`lb`] | `pingora-load-balancing` | discovery, health, selection |
//! | `acme` | `pingora-acme` | certificates that come by themselves (with the feature `acme`) |
//! | `admin` | `pingora-admin` | a page for operators (with the feature `admin`) |
//! | [`cache`] | `pingora-cache` | the HTTP cache |
//! | [`time`] | `pingora-timeout` | deadlines for futures |
//!
//! # Features
//! - `proxy`: the proxy.
//! - `lb`: load balancing; brings `proxy`.
//! - `cache`: the HTTP cache's types.
//! - `acme`: certificates that come by themselves. `admin`: the page for operators.
//! - `time`: `timeout` and `sleep`, also in the prelude.
//! - `openssl` (default): TLS by the system's OpenSSL, whose development files are needed to build.
//! - `openssl-vendored`: OpenSSL compiled from source instead.
//!
//! Further names exist for manifests of existing programs; `docs/migrating.md` says what each of them does.
#![forbid(unsafe_code)]
// The modules and names of `pingora-core` are offered as this crate's own, and its users expect to
// find all of them here: listing them would mean to list them twice.
pub use pingora_core::*;

/// Request and response headers that keep the case of their names.
pub mod http {
    pub use pingora_http::*;
}

/// The proxy: phases, engine, retries.
#[cfg(feature = "proxy")]
pub mod proxy {
    pub use pingora_proxy::*;
}

/// Load balancing: discovery, health, selection.
#[cfg(feature = "lb")]
pub mod lb {
    pub use pingora_load_balancing::*;
}

/// Certificates that come by themselves.
#[cfg(feature = "acme")]
pub mod acme {
    pub use pingora_acme::*;
}

/// A page for operators.
#[cfg(feature = "admin")]
pub mod admin {
    pub use pingora_admin::*;
}

/// The HTTP cache.
#[cfg(feature = "cache")]
pub mod cache {
    pub use pingora_cache::*;
}

/// Deadlines for futures.
#[cfg(feature = "time")]
pub mod time {
    pub use pingora_timeout::*;
}

/// The items that most programs need, for `use pingora::prelude::*`.
pub mod prelude {
    #[cfg(feature = "cache")]
    #[allow(unused_imports, unreachable_pub, reason = "it is empty so far")]
    pub use pingora_cache::prelude::*;
    pub use pingora_core::prelude::*;
    pub use pingora_http::prelude::*;
    #[cfg(feature = "lb")]
    pub use pingora_load_balancing::prelude::*;
    #[cfg(feature = "proxy")]
    pub use pingora_proxy::prelude::*;
    // All of its names belong to the kept interface.
    #[cfg(feature = "time")]
    pub use pingora_timeout::*;
}
