//! The suite of `main.rs` over rustls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that can't go on ends by panicking"
)]

mod certificates;
mod failures;
mod programs;
mod routes;
mod tunnels;

use pingora::protocols::tls::backend::ClientBackend;
use pingora::protocols::tls::rustls::RustlsClient;
use std::sync::Arc;

/// Whether this is the suite of `rustls.rs`.
const RUSTLS: bool = true;

/// What speaks TLS with upstreams.
fn backend() -> Option<Arc<dyn ClientBackend>> {
    Some(Arc::new(RustlsClient::new()))
}
