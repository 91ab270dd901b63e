//! Traces: which requests of several programs belong together, and what their time went into.
//!
//! [`Tracing`] takes a trace over from those who are trusted, or begins one (W3C Trace Context), and makes a [`Span`]
//! for each request when it is over, with children for its phases and tries. No SDK is needed; where spans go is the
//! business of a [`SpanSink`], such as the one in the crate `pingora-otlp`.
//!
//! ```
//! # use async_trait::async_trait;
//! # use pingora_core::prelude::*;
//! # use pingora_http::RequestHeader;
//! # use pingora_proxy::{ProxyHttp, Session};
//! use pingora_proxy::trace::{RequestTrace, Tracing};
//!
//! struct Traced {
//!     tracing: Tracing,
//! }
//!
//! #[async_trait]
//! impl ProxyHttp for Traced {
//!     type CTX = Option<RequestTrace>;
//!     fn new_ctx(&self) -> Self::CTX {
//!         None
//!     }
//!
//!     async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
//!         *ctx = Some(self.tracing.begin(session)?);
//!         Ok(())
//!     }
//! #   async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
//! #       Ok(Box::new(HttpPeer::new("127.0.0.1:8080", false, String::new())))
//! #   }
//!
//!     async fn upstream_request_filter(
//!         &self,
//!         session: &mut Session,
//!         request: &mut RequestHeader,
//!         ctx: &mut Self::CTX,
//!     ) -> Result<()> {
//!         ctx.as_ref().map_or(Ok(()), |trace| trace.begin_try(session, request))
//!     }
//!
//!     async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
//!         if let Some(trace) = ctx.take() {
//!             self.tracing.end(trace, session, error);
//!         }
//!     }
//! }
//! ```

mod baggage;
mod context;
mod request;
mod span;
mod spans;
mod state;
mod tracing;

pub use baggage::Baggage;
pub use context::TraceContext;
pub use request::RequestTrace;
pub use span::{Span, SpanKind, SpanSink, SpanValue};
pub use state::TraceState;
pub use tracing::Tracing;
