//! Sends the spans of requests to a collector by OTLP, over HTTP or gRPC.
//!
//! [`Otlp`] takes spans from [`pingora_proxy::trace::Tracing`] into a bounded queue, and sends them in batches from a
//! background service. A slow or unreachable collector never delays a request: if the queue is full, spans are dropped
//! and [counted](OtlpCounts).
//!
//! ```no_run
//! # fn main() -> pingora_core::Result<()> {
//! use pingora_core::services::background::background_service;
//! use pingora_otlp::Otlp;
//! use pingora_proxy::trace::Tracing;
//!
//! let otlp = Otlp::http("http://127.0.0.1:4318").service_name("front").build()?;
//! let tracing = Tracing::new(otlp.sink()).sample(0.05);
//! let service = background_service("otlp", otlp);
//! // server.add_service(service);
//! # let _ = (tracing, service);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `encode`: the messages as protobuf. Pure. Written by hand because the published crates bring an SDK; the tests read them
//!   by the published crates.
//! - `queue`: from the workers to the service.
//! - `client`: one request to the collector, and its answer.
//! - `service`: batches and retries.

#![forbid(unsafe_code)]

mod builder;
mod client;
mod encode;
mod queue;
mod service;

pub use builder::OtlpBuilder;
pub use queue::OtlpCounts;
pub use service::Otlp;
