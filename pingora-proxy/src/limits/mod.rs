//! Limits on requests, for phases to ask: rates by client or by any key, and requests under way.
//!
//! | limit | what it does | who is refused gets |
//! |---|---|---|
//! | [`RateLimit`] | a number of requests per time, for each client or each key of the program | 429 |
//! | [`RateLimitModule`] | the same as a module, by client or by a key from the request's head | 429 |
//! | [`RequestLimit`] | a number of requests at once; others wait in a bounded queue, or not at all | 503 |
//!
//! A 429 has `Retry-After`, and `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-10. Nothing
//! is done if no phase asks. Limits on connections are those of
//! [`ServerBounds`](pingora_core::server::ServerBounds) and
//! [`ListenerConfig`](pingora_core::listeners::ListenerConfig).
//!
//! ```
//! use async_trait::async_trait;
//! use pingora_core::upstreams::peer::HttpPeer;
//! use pingora_error::Result;
//! use pingora_proxy::limits::{Quota, RateLimit};
//! use pingora_proxy::{ProxyHttp, Session};
//! use std::time::Duration;
//!
//! struct Gateway {
//!     limit: RateLimit,
//! }
//!
//! impl Gateway {
//!     fn new() -> Self {
//!         // A hundred requests a minute for each client, and room for 10,000 clients at once.
//!         let quota = Quota::new(100, Duration::from_secs(60));
//!         Gateway { limit: RateLimit::new("client", quota, 10_000) }
//!     }
//! }
//!
//! #[async_trait]
//! impl ProxyHttp for Gateway {
//!     type CTX = ();
//!     fn new_ctx(&self) {}
//!
//!     async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
//!         self.limit.refuse(session).await
//!     }
//! #   async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//! #       Ok(Box::new(HttpPeer::new("192.0.2.1:80", false, String::new())))
//! #   }
//! }
//! ```

mod module;
mod rate;
mod under_way;

pub use module::RateLimitModule;
pub use pingora_limits::quota::{Quota, Verdict};
pub use rate::{ClientNetwork, RateLimit};
pub use under_way::{RequestLimit, UnderWay};
