//! What happens to a request: phases, one engine, retries.
//!
//! A proxy is a type that implements [`ProxyHttp`]; [`http_proxy_service`] makes a service of it.
//!
//! # Where things are
//! - [`ProxyHttp`]: the phases, in the order of a request.
//! - [`Session`]: what the phases work on.
//! - [`HttpProxy`]: runs the phases. `proxy.rs` reads like the phase chart; `flow/forward.rs` is one
//!   exchange with one upstream.
//! - [`engine`]: waits on both sides at once, whatever flows between them.
//!
//! # What it is not
//! It speaks no protocol and owns no socket: that is `pingora-core`. There is no cache yet; its
//! phases are there and are not called.
//!
//! # Features
//! - `openssl` (default), `openssl-vendored`: as in `pingora-core`.
#![forbid(unsafe_code)]

mod defaults;
pub mod engine;
mod failures;
mod flow;
mod phase;
mod proxy;
mod proxy_trait;
mod purge;
mod range;
mod retry;
mod service;
mod session;
mod status;
pub mod subrequest;

pub use failures::FailureCounts;
pub use proxy::HttpProxy;
pub use proxy_trait::{FailToProxy, ProxyHttp, ProxyWarnLogContext};
pub use purge::PurgeStatus;
pub use range::{MultiRangeInfo, RangeType, range_header_filter};
pub use service::{
    ProcessCustomSession, ProxyServiceBuilder, http_proxy, http_proxy_service,
    http_proxy_service_with_name, http_proxy_service_with_name_custom,
};
pub use session::Session;
pub use subrequest::{PreparedSubrequest, Subrequest, SubrequestSpawner};

/// What a proxy needs.
pub mod prelude {
    pub use crate::{ProxyHttp, ProxyWarnLogContext, Session, http_proxy, http_proxy_service};
}
