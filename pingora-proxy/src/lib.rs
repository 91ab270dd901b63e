//! The phases, the engine and the retries of a proxied request.
//!
//! A proxy is a type that implements [`ProxyHttp`]; [`http_proxy_service`] turns it into a service.
//!
//! # Example
//! ```
//! use async_trait::async_trait;
//! use pingora_core::prelude::*;
//! use pingora_http::ResponseHeader;
//! use pingora_proxy::prelude::*;
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
//!
//!     async fn response_filter(
//!         &self,
//!         _session: &mut Session,
//!         upstream_response: &mut ResponseHeader,
//!         _ctx: &mut Self::CTX,
//!     ) -> Result<()> {
//!         upstream_response.insert_header("X-Served-By", "example")
//!     }
//! }
//!
//! let mut server = Server::new(None)?;
//! server.bootstrap();
//! let mut proxy = http_proxy_service(&server.configuration, ToOne);
//! proxy.add_tcp("127.0.0.1:0");
//! server.add_service(proxy);
//! # Ok::<(), Box<Error>>(())
//! ```
//!
//! Pages in the repository: `docs/quick_start.md`, `docs/subrequests.md`, `docs/custom_protocols.md`, `docs/grpc.md`.
//!
//! # Where things are
//! - [`ProxyHttp`]: the phases, in the order of a request.
//! - [`Session`]: the request that the phases work on.
//! - [`HttpProxy`]: runs the phases. `proxy.rs` reads like the phase chart; `flow/forward.rs` is one
//!   exchange with one upstream.
//! - [`limits`]: rates and requests under way, for phases to ask.
//! - [`modules`]: what many proxies need, ready-made.
//! - [`engine`]: waits on both sides at once, independent of what flows between them.
//!
//! # What it is not
//! It speaks no protocol and owns no socket: those are in `pingora-core`. The rules and the storage of the cache are in
//! `pingora-cache`.
//!
//! # Features
//! - `openssl` (default), `openssl-vendored`: as in `pingora-core`.
#![forbid(unsafe_code)]

mod buffering;
mod cache;
mod defaults;
pub mod engine;
mod error_page;
mod failures;
mod figures;
mod flow;
mod hedge;
pub mod limits;
pub mod modules;
mod phase;
mod phase_types;
mod proxy;
mod proxy_trait;
mod purge;
mod range;
mod retry;
mod service;
mod session;
mod status;
pub mod subrequest;
mod times;
pub mod trace;
mod tries;

pub use cache::ReadyCache;
pub use failures::FailureCounts;
pub use phase_types::{FailToProxy, ProxyWarnLogContext};
pub use proxy::HttpProxy;
pub use proxy_trait::ProxyHttp;
pub use purge::PurgeStatus;
pub use range::{MultiRangeInfo, RangeType, range_header_filter};
pub use retry::{Backoff, FailedTry, RetryBudget, RetryPolicy};
pub use service::{
    ProcessCustomSession, ProxyServiceBuilder, http_proxy, http_proxy_service,
    http_proxy_service_with_name, http_proxy_service_with_name_custom,
};
pub use session::Session;
pub use subrequest::{PreparedSubrequest, Subrequest, SubrequestSpawner};
pub use times::{RequestTimes, TryTimes};

pub use pingora_core::protocols::http::spool::{SpooledBody, Spooling};

/// The items that every proxy needs.
pub mod prelude {
    pub use crate::{ProxyHttp, ProxyWarnLogContext, Session, http_proxy, http_proxy_service};
}
